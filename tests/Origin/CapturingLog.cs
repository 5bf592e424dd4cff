using System.Text;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Tests;

/// <summary>Keeps what is logged, and shows it with the test that is running.</summary>
internal sealed class CapturingLog(LogLevel least = LogLevel.Trace) : ILoggerFactory, ILogger
{
    private readonly ITestOutputHelper? _output = TestContext.Current.TestOutputHelper;
    private readonly StringBuilder _text = new();

    public string Text
    {
        get
        {
            lock (_text)
                return _text.ToString();
        }
    }

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public void Dispose()
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= least;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel))
            return;
        lock (_text)
            _text.AppendLine(formatter(state, exception)).AppendLine(exception?.ToString());
        _output?.WriteLine($"{eventId.Id} {formatter(state, exception)} {exception}");
    }
}
