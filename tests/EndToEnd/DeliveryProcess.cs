using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace Delivery.EndToEnd.Tests;

/// <summary>The real <c>delivery</c> program as a child process, driven as a user drives it: arguments, output lines, signals, exit code.</summary>
public sealed class DeliveryProcess : IAsyncDisposable
{
    private static readonly string Program = Path.Combine(AppContext.BaseDirectory, "delivery.dll");

    private readonly Process _process;
    private readonly Channel<string> _lines = Channel.CreateUnbounded<string>();
    private readonly StringBuilder _errors = new();
    private readonly Task _output;
    private readonly Task _error;

    private DeliveryProcess(Process process)
    {
        _process = process;
        _output = PumpOutputAsync();
        _error = PumpErrorAsync();
    }

    public int Id => _process.Id;

    public string Errors
    {
        get
        {
            lock (_errors)
                return _errors.ToString();
        }
    }

    public static DeliveryProcess Start(params string[] arguments) => Start(null, arguments);

    public static DeliveryProcess Start(IReadOnlyDictionary<string, string?>? environment, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            UseShellExecute = false,
            WorkingDirectory = Path.GetTempPath(),
        };
        start.ArgumentList.Add(Program);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
            start.Environment[name] = value;
        var process = Process.Start(start)!;
        process.StandardInput.Close();
        return new DeliveryProcess(process);
    }

    /// <summary>Runs a command to its end.</summary>
    public static async Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments) => await RunAsync(null, arguments);

    public static async Task<(int ExitCode, string Output, string Errors)> RunAsync(IReadOnlyDictionary<string, string?>? environment, params string[] arguments)
    {
        await using var process = Start(environment, arguments);
        var lines = new StringBuilder();
        while (await process.ReadLineAsync(TimeSpan.FromSeconds(120)) is { } line)
            lines.AppendLine(line);
        return (await process.WaitForExitAsync(TimeSpan.FromSeconds(30)), lines.ToString(), process.Errors);
    }

    /// <summary>The next line of standard output; null at its end.</summary>
    public async Task<string?> ReadLineAsync(TimeSpan bound)
    {
        using var timeout = new CancellationTokenSource(bound);
        try
        {
            return await _lines.Reader.WaitToReadAsync(timeout.Token) && _lines.Reader.TryRead(out var line) ? line : null;
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"No line within {bound}. Standard error so far:\n{Errors}");
        }
    }

    public async Task<JsonElement> ReadJsonAsync(TimeSpan bound)
    {
        var line = await ReadLineAsync(bound) ?? throw new InvalidOperationException($"Output ended; exit code {await WaitForExitAsync(TimeSpan.FromSeconds(10))}. Standard error:\n{Errors}");
        return JsonSerializer.Deserialize<JsonElement>(line);
    }

    public async Task<int> WaitForExitAsync(TimeSpan bound)
    {
        using var timeout = new CancellationTokenSource(bound);
        try
        {
            await _process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"The process did not end within {bound}. Standard error so far:\n{Errors}");
        }

        await Task.WhenAll(_output, _error);
        return _process.ExitCode;
    }

    /// <summary>SIGTERM: what a service manager sends.</summary>
    public void Terminate() => Signal("-TERM");

    /// <summary>SIGINT: what Ctrl-C sends.</summary>
    public void Interrupt() => Signal("-INT");

    /// <summary>SIGKILL to this process alone, as the kernel's memory killer does it: children are left to notice by themselves.</summary>
    public void Kill() => _process.Kill();

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }

    private void Signal(string signal)
    {
        using var kill = Process.Start("kill", [signal, _process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    private async Task PumpOutputAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } line)
            _lines.Writer.TryWrite(line);
        _lines.Writer.Complete();
    }

    private async Task PumpErrorAsync()
    {
        while (await _process.StandardError.ReadLineAsync() is { } line)
        {
            lock (_errors)
                _errors.AppendLine(line);
        }
    }
}
