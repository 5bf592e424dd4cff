using System.Diagnostics;
using System.Text.Json;
using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Transcoder.Tests;

/// <summary>A worker in a process of its own, over a store that it shares with the test; prints each report as a line of JSON.</summary>
internal sealed class WorkerProcess : IDisposable
{
    public const string Verb = "--worker";

    private readonly Process _process;

    private WorkerProcess(Process process) => _process = process;

    public int Id => _process.Id;

    public static WorkerProcess Start(string storeFolder, string workFolder, TranscodeJob job)
    {
        var info = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
            info.ArgumentList.Add(typeof(WorkerProcess).Assembly.Location);
        foreach (var argument in (string[])[Verb, storeFolder, workFolder, JsonSerializer.Serialize(job, ResultJson.Default.TranscodeJob)])
            info.ArgumentList.Add(argument);
        return new WorkerProcess(Process.Start(info)!);
    }

    public async Task<JobReport> ReadReportAsync(Func<JobReport, bool> until)
    {
        using var patience = new CancellationTokenSource(Farm.Patience);
        while (await _process.StandardOutput.ReadLineAsync(patience.Token) is { } line)
        {
            var report = JsonSerializer.Deserialize(line, ResultJson.Default.JobReport)!;
            if (until(report))
                return report;
        }

        throw new InvalidOperationException("The worker ended.");
    }

    /// <summary>SIGKILL: nothing of it may run any more.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    public void Dispose()
    {
        _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    public static async Task<int> RunAsync(string[] args)
    {
        await using var queue = new InProcessJobQueue();
        var job = JsonSerializer.Deserialize(args[3], ResultJson.Default.TranscodeJob)!;
        await using var node = await TranscoderNode.StartAsync(Farm.Options(args[2]) with { AdminPort = 0 }, FileStore.Open(args[1]), queue, NullLoggerFactory.Instance, TimeProvider.System, default);
        await queue.EnqueueAsync(job, default);
        await foreach (var read in queue.ReadReportsAsync(default))
        {
            var report = read.Report;
            Console.WriteLine(JsonSerializer.Serialize(report, ResultJson.Default.JobReport));
            if (report.Phase is JobPhase.Done or JobPhase.Failed)
                break;
        }

        return 0;
    }
}
