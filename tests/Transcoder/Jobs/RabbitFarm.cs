using System.Collections.Concurrent;
using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging;

namespace Delivery.Transcoder.Tests.Jobs;

/// <summary>One broker for every test that needs one: starting it takes 3 s. One after the other, as some of them stop it.</summary>
[CollectionDefinition(nameof(SharedBroker))]
public sealed class SharedBroker : ICollectionFixture<SharedBroker>, IAsyncLifetime
{
    public RabbitBroker Broker { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Broker = await RabbitBroker.StartAsync();

    public ValueTask DisposeAsync() => Broker?.DisposeAsync() ?? default; // Null where it did not start.
}

/// <summary>The queues and exchanges of one test, and the processes that it plays.</summary>
public sealed class RabbitFarm(RabbitBroker broker) : IAsyncDisposable
{
    private readonly List<RabbitJobQueue> _queues = [];

    /// <summary>With one delay that is short, and one that is long enough to be counted.</summary>
    public BrokerOptions Options { get; init; } = new()
    {
        Url = broker.Url,
        Prefix = $"t-{Guid.NewGuid():n}",
        DelayLevels = [TimeSpan.FromSeconds(2), TimeSpan.FromMinutes(10)],
        MinPollInterval = TimeSpan.FromMilliseconds(5),
        MaxPollInterval = TimeSpan.FromMilliseconds(50),
        OperationTimeout = TimeSpan.FromMinutes(2), // A broker starts slowly on a machine that is busy.
    };

    public LogLines Log { get; } = new();

    /// <summary>As another process would.</summary>
    public RabbitJobQueue Open(Func<BrokerOptions, BrokerOptions>? change = null, bool readsReports = true)
    {
        var queue = RabbitJobQueue.Open(change?.Invoke(Options) ?? Options, Log, TimeProvider.System, readsReports);
        _queues.Add(queue);
        return queue;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var queue in _queues.ToArray())
            await queue.DisposeAsync();
    }
}

/// <summary>What was logged.</summary>
public sealed class LogLines : ILoggerFactory, ILogger
{
    public ConcurrentQueue<string> Lines { get; } = new();

    public bool Has(string text) => Lines.Any(l => l.Contains(text, StringComparison.Ordinal));

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => Lines.Enqueue($"{logLevel} {eventId.Id} {formatter(state, exception)} {exception}");

    public void Dispose()
    {
    }
}
