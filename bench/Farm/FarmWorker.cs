using System.Diagnostics;
using System.Globalization;
using Delivery.ObjectStore;
using Delivery.Transcoder;
using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging;

namespace Delivery.Bench.Farm;

/// <summary>A worker in a process of its own, so that it can be killed and measured.</summary>
internal sealed class FarmWorker : IDisposable
{
    private readonly Process _process;

    private FarmWorker(Process process) => _process = process;

    public int Id => _process.Id;

    public static async Task<FarmWorker> StartAsync(string store, string work, string broker, string prefix, double faults, int seed, string? log = null)
    {
        var info = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, RedirectStandardInput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
            info.ArgumentList.Add(typeof(FarmWorker).Assembly.Location);
        foreach (var argument in (string[])["worker", store, work, broker, prefix, faults.ToString(CultureInfo.InvariantCulture), $"{seed}"])
            info.ArgumentList.Add(argument);
        if (log is not null)
            info.Environment["FARM_LOG"] = log;
        var worker = new FarmWorker(Process.Start(info)!);
        if (await worker._process.StandardOutput.ReadLineAsync() != "ready")
            throw new InvalidOperationException("A worker did not start.");
        return worker;
    }

    /// <summary>SIGKILL; what it had started must end by itself.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Ends as after SIGTERM.</summary>
    public async Task StopAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
    }

    public void Dispose() => _process.Dispose();

    public static async Task<int> RunAsync(string[] args)
    {
        var (folder, work, broker, prefix, faults, seed) = (args[0], args[1], args[2], args[3], double.Parse(args[4], CultureInfo.InvariantCulture), int.Parse(args[5], CultureInfo.InvariantCulture));
        using var log = LoggerFactory.Create(builder =>
        {
            if (Environment.GetEnvironmentVariable("FARM_LOG") is { } file)
                builder.AddProvider(new FileLog(file));
        });
        using IObjectStore files = FileStore.Open(folder);
        using var store = faults > 0 ? new FlakyStore(files, faults, seed) : files;
        await using var queue = RabbitJobQueue.Open(new BrokerOptions { Url = broker, Prefix = prefix }, log, TimeProvider.System, readsReports: false);
        await using var node = await TranscoderNode.StartAsync(new TranscoderOptions { Slots = 1, WorkFolder = work, AdminPort = 0 }, store, queue, log, TimeProvider.System, default);
        Console.WriteLine("ready");
        await Console.In.ReadToEndAsync();
        return 0;
    }
}

internal sealed class FileLog(string file) : ILoggerProvider, ILogger
{
    private readonly Lock _lock = new();

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lock)
            File.AppendAllText(file, $"{DateTime.UtcNow:HH:mm:ss.fff} {Environment.ProcessId} {eventId.Id} {formatter(state, exception)} {exception?.GetType().Name} {exception?.Message}\n");
    }

    public void Dispose()
    {
    }
}
