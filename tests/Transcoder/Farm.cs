using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Transcoder.Tests;

/// <summary>A real worker over a real File store and the in-process queue, in a fresh folder; everything is gone when it is disposed.</summary>
public sealed class Farm : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<string, TaskCompletionSource<JobReport>> _finals = new();
    private readonly Task _reading;
    private int _uploads;

    private Farm(string folder, IObjectStore store)
    {
        (Folder, Store) = (folder, store);
        Queue = new InProcessJobQueue();
        _reading = Task.Run(ReadReportsAsync);
    }

    public string Folder { get; }

    public string WorkFolder => Path.Combine(Folder, "work");

    public IObjectStore Store { get; }

    public InProcessJobQueue Queue { get; }

    public TranscoderNode? Node { get; private set; }

    /// <summary>Every report, in order.</summary>
    public ConcurrentQueue<JobReport> Reports { get; } = [];

    /// <param name="decorate">Puts something between the worker and the File store.</param>
    public static Farm Create(Func<IObjectStore, IObjectStore>? decorate = null)
    {
        var folder = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
        IObjectStore store = FileStore.Open(Path.Combine(folder, "store"));
        return new Farm(folder, decorate?.Invoke(store) ?? store);
    }

    /// <summary>Fast and impatient by default: tests wait for nothing that they need not.</summary>
    public static TranscoderOptions Options(string workFolder, int slots = 1) => new() { Slots = slots, WorkFolder = workFolder, RetryDelay = TimeSpan.FromMilliseconds(20) };

    public async Task<Farm> StartAsync(TranscoderOptions? options = null)
    {
        Node = await TranscoderNode.StartAsync((options ?? Options(WorkFolder)) with { AdminPort = 0 }, Store, Queue, NullLoggerFactory.Instance, TimeProvider.System, default);
        return this;
    }

    public async Task StopNodeAsync()
    {
        if (Node is { } node)
            await node.DisposeAsync();
        Node = null;
    }

    /// <summary>Stores a master and describes the job, without enqueueing it.</summary>
    public async Task<TranscodeJob> UploadAsync(byte[] bytes, string extension = "wav")
    {
        var number = Interlocked.Increment(ref _uploads);
        var key = $"masters/t{number}/u1.{extension}";
        using var content = new MemoryStream(bytes);
        await Store.WriteAsync(ObjectKey.Parse(key), content, new ObjectWrite { ContentType = "application/octet-stream" }, default);
        return new TranscodeJob
        {
            JobId = $"t{number}.u1",
            TrackId = $"t{number}",
            MasterKey = key,
            MasterSha256 = Convert.ToHexStringLower(SHA256.HashData(bytes)),
            MasterBytes = bytes.Length,
            Ladder = "default-1",
        };
    }

    /// <summary>The job's last word.</summary>
    public async Task<JobReport> RunAsync(TranscodeJob job)
    {
        var final = Final(job.JobId);
        await Queue.EnqueueAsync(job, default);
        return await final.WaitAsync(Patience);
    }

    public async Task<JobReport> RunAsync(byte[] master, string extension = "wav") => await RunAsync(await UploadAsync(master, extension));

    public async Task<RenditionSet> TranscodeAsync(byte[] master, string extension = "wav")
    {
        var report = await RunAsync(master, extension);
        Assert.True(report.Phase == JobPhase.Done, $"{report.Failure}: {report.Message}");
        return await ReadSetAsync(report.ResultKey!);
    }

    public Task<JobReport> Final(string jobId) => _finals.GetOrAdd(jobId, _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    public async Task<RenditionSet> ReadSetAsync(string key) => JsonSerializer.Deserialize(await ReadAsync(key), ResultJson.Default.RenditionSet)!;

    public async Task<byte[]> ReadAsync(string key)
    {
        await using var read = await Store.OpenReadAsync(ObjectKey.Parse(key), null, default) ?? throw new InvalidOperationException($"{key} is not there.");
        using var copy = new MemoryStream();
        await read.Content.CopyToAsync(copy);
        return copy.ToArray();
    }

    public async Task<List<string>> ListAsync(string prefix)
    {
        var keys = new List<string>();
        await foreach (var entry in Store.ListAsync(prefix, null, default))
            keys.Add(entry.Key.Value);
        return keys;
    }

    /// <summary>A path to a rendition's bytes for tools.</summary>
    public string PathOf(Rendition rendition) => Path.Combine(Folder, "store", rendition.Key);

    public async ValueTask DisposeAsync()
    {
        await StopNodeAsync();
        await _stop.CancelAsync();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Queue.DisposeAsync();
        _stop.Dispose();
        Directory.Delete(Folder, recursive: true);
    }

    private async Task ReadReportsAsync()
    {
        await foreach (var read in Queue.ReadReportsAsync(_stop.Token))
        {
            var report = read.Report;
            Reports.Enqueue(report);
            if (report.Phase is JobPhase.Done or JobPhase.Failed)
                _finals.GetOrAdd(report.JobId, _ => new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult(report);
        }
    }
}

/// <summary>One worker for all tests that only need one: starting it costs a second.</summary>
public sealed class SharedFarm : IAsyncLifetime
{
    public Farm Farm { get; } = Farm.Create();

    public async ValueTask InitializeAsync() => await Farm.StartAsync(Farm.Options(Farm.WorkFolder, slots: 2));

    public ValueTask DisposeAsync() => Farm.DisposeAsync();
}

/// <summary>Runs a tool that the test itself judges with.</summary>
public static class Tool
{
    public static async Task<(int ExitCode, byte[] Output, string Error)> RunAsync(string tool, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(tool, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true })!;
        process.StandardInput.Close();
        using var output = new MemoryStream();
        var reading = process.StandardOutput.BaseStream.CopyToAsync(output);
        var error = await process.StandardError.ReadToEndAsync();
        await reading;
        await process.WaitForExitAsync();
        return (process.ExitCode, output.ToArray(), error);
    }

    /// <summary>Decodes to interleaved 32-bit float.</summary>
    public static async Task<float[]> DecodeAsync(string file)
    {
        var (exitCode, output, error) = await RunAsync("ffmpeg", "-v", "error", "-xerror", "-i", file, "-f", "f32le", "-c:a", "pcm_f32le", "-");
        Assert.True(exitCode == 0, error);
        return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(output).ToArray();
    }

    /// <summary>Writes a master of another kind.</summary>
    public static async Task<byte[]> ConvertAsync(byte[] master, string extension, params string[] arguments)
    {
        var folder = Directory.CreateTempSubdirectory("transcoder-tests-");
        try
        {
            var from = Path.Combine(folder.FullName, "from.wav");
            var to = Path.Combine(folder.FullName, $"to.{extension}");
            await File.WriteAllBytesAsync(from, master);
            var (exitCode, _, error) = await RunAsync("ffmpeg", ["-v", "error", "-i", from, .. arguments, to]);
            Assert.True(exitCode == 0, error);
            return await File.ReadAllBytesAsync(to);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
