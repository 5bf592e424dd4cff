using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;
using Microsoft.Extensions.Options;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class WorkerFaultTests
{
    /// <summary>Long enough, at 13 times real time, to be interfered with.</summary>
    private static byte[] LongMaster() => Master.OfSeconds(15, channels: 1).ToWav();

    private static byte[] ShortMaster() => Master.OfSeconds(1.2, channels: 1).ToWav();

    [Fact]
    public async Task WorkerKilled_InTheMiddle_AnotherFinishes_AndNothingOfTheFirstIsLeft()
    {
        await using var farm = Farm.Create();
        var job = await farm.UploadAsync(LongMaster());
        using (var first = WorkerProcess.Start(Path.Combine(farm.Folder, "store"), farm.WorkFolder, job))
        {
            await first.ReadReportAsync(r => r.Phase == JobPhase.Encode);
            await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
            await first.KillAsync();
        }

        // The tools die with their worker, though nobody told them.
        await Until.TrueAsync(() => Until.ProcessesIn(farm.WorkFolder).Count == 0, "The end of the killed worker's ffmpeg");
        Assert.Empty(await farm.ListAsync("catalog/"));
        Assert.Empty(await farm.ListAsync("audio/"));
        var left = Assert.Single(Directory.GetDirectories(farm.WorkFolder));

        using var second = WorkerProcess.Start(Path.Combine(farm.Folder, "store"), farm.WorkFolder, job);
        var done = await second.ReadReportAsync(r => r.Phase is JobPhase.Done or JobPhase.Failed);
        Assert.Equal(JobPhase.Done, done.Phase);
        Assert.Equal(10, (await farm.ReadSetAsync(done.ResultKey!)).Renditions.Count);
        Assert.False(Directory.Exists(left));
    }

    [Fact]
    public async Task FfmpegKilled_InTheMiddle_IsTriedAgain()
    {
        await using var farm = await Farm.Create().StartAsync();
        var running = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
        Until.Signal(Until.EncodersIn(farm.WorkFolder)[0], "KILL");
        var report = await running;
        Assert.Equal((JobPhase.Done, 2), (report.Phase, report.Attempt));
    }

    [Theory]
    [InlineData("KILL")]
    [InlineData("TERM")]
    public async Task FfmpegKilled_EveryTime_IsANamedFailure_NotALoop(string signal)
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(new TranscoderOptions { Slots = 1, WorkFolder = farm.WorkFolder, MaxAttempts = 2, RetryDelay = TimeSpan.FromMilliseconds(1) });
        var running = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        await Until.TrueAsync(
            () =>
            {
                Until.EncodersIn(farm.WorkFolder).ForEach(id => Until.Signal(id, signal));
                return running.IsCompleted;
            },
            "The failure");
        var report = await running;
        Assert.True((report.Phase, report.Failure, report.Attempt) == (JobPhase.Failed, JobFailure.EncoderFailed, 2), $"{report}");
        Assert.Contains("killed from outside", report.Message, StringComparison.Ordinal);
        Assert.Empty(await farm.ListAsync("catalog/"));
        Assert.Empty(await farm.ListAsync("audio/"));
    }

    [Fact]
    public async Task FfmpegThatStandsStill_IsKilled_AndANamedFailure()
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(new TranscoderOptions
        {
            Slots = 1,
            WorkFolder = farm.WorkFolder,
            MaxAttempts = 1,
            StallTimeout = TimeSpan.FromSeconds(2),
            KillGrace = TimeSpan.FromSeconds(0.1),
        });
        var running = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
        Until.Signal(Until.EncodersIn(farm.WorkFolder)[0], "STOP"); // It cannot even hear SIGTERM.
        var report = await running;
        Assert.Equal((JobPhase.Failed, JobFailure.LimitExceeded), (report.Phase, report.Failure));
        Assert.Contains("no progress", report.Message, StringComparison.Ordinal);
        Assert.Empty(Until.ProcessesIn(farm.WorkFolder));
    }

    [Fact]
    public async Task NodeStopped_InTheMiddle_GivesTheJobBack_AndTheNextNodeFinishesIt()
    {
        await using var farm = await Farm.Create().StartAsync();
        var running = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
        await farm.StopNodeAsync();
        Assert.Empty(Until.ProcessesIn(farm.WorkFolder));
        Assert.Empty(Directory.GetFileSystemEntries(farm.WorkFolder));
        Assert.False(running.IsCompleted);
        await farm.StartAsync();
        var report = await running;
        Assert.Equal((JobPhase.Done, 1), (report.Phase, report.Attempt));
    }

    [Fact]
    public async Task StoreOutOfReach_ForAWhile_IsTriedAgain()
    {
        FaultyStore? faulty = null;
        await using var farm = await Farm.Create(store => faulty = new FaultyStore(store)).StartAsync();
        var job = await farm.UploadAsync(ShortMaster());
        var failures = 2;
        faulty!.OnWrite = key => key.StartsWith("audio/", StringComparison.Ordinal) && failures-- > 0 ? new StoreException(StoreError.Unavailable, "out of reach") : null;
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Done, 3), (report.Phase, report.Attempt));
    }

    [Theory]
    [InlineData(StoreError.Unavailable, 3)]
    [InlineData(StoreError.Full, 3)]
    [InlineData(StoreError.Denied, 1)]
    public async Task StoreThatKeepsFailing_IsANamedFailure_AndPublishesNothing(StoreError error, int attempts)
    {
        FaultyStore? faulty = null;
        await using var farm = Farm.Create(store => faulty = new FaultyStore(store));
        await farm.StartAsync(new TranscoderOptions { Slots = 1, WorkFolder = farm.WorkFolder, MaxAttempts = 3, RetryDelay = TimeSpan.FromMilliseconds(1) });
        var job = await farm.UploadAsync(ShortMaster());
        faulty!.OnWrite = key => key.EndsWith(".flac", StringComparison.Ordinal) ? new StoreException(error, "it is so") : null;
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Failed, JobFailure.StoreFailed, attempts), (report.Phase, report.Failure, report.Attempt));
        Assert.Contains($"({error}): it is so; {(error == StoreError.Full ? "free space in the store" : "mend the store")}, then retry the job.", report.Message, StringComparison.Ordinal);
        Assert.Empty(await farm.ListAsync("catalog/"));
    }

    [Fact]
    public async Task FullWorkFolder_IsANamedFailure()
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(new TranscoderOptions { Slots = 1, WorkFolder = farm.WorkFolder, MaxAttempts = 2, RetryDelay = TimeSpan.FromMilliseconds(1), MinFreeBytes = 1L << 40 });
        var report = await farm.RunAsync(ShortMaster());
        Assert.Equal((JobPhase.Failed, JobFailure.WorkFolderFull, 2), (report.Phase, report.Failure, report.Attempt));
        Assert.Contains("free space", report.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ToolsMissing_AtStart_AreAllNamed_WithTheirPackages()
    {
        await using var farm = Farm.Create();
        var empty = Directory.CreateDirectory(Path.Combine(farm.Folder, "bin")).FullName;
        var error = await Assert.ThrowsAsync<ToolsMissingException>(() => farm.StartAsync(new TranscoderOptions { WorkFolder = farm.WorkFolder, ToolPath = empty }));
        Assert.Equal(["ffmpeg", "ffprobe", "flac", "metaflac"], error.Missing);
        Assert.EndsWith("apt-get install ffmpeg flac", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FfmpegThatDoesNotWork_AtStart_IsSaid()
    {
        await using var farm = Farm.Create();
        var bin = ToolsOfTheirOwn(farm);
        File.Delete(Path.Combine(bin, "ffmpeg"));
        await File.WriteAllTextAsync(Path.Combine(bin, "ffmpeg"), "#!/bin/sh\necho 'libavcodec.so.59: cannot open shared object file' >&2\nexit 127\n");
        File.SetUnixFileMode(Path.Combine(bin, "ffmpeg"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var error = await Assert.ThrowsAsync<ToolsMissingException>(() => farm.StartAsync(new TranscoderOptions { WorkFolder = farm.WorkFolder, ToolPath = bin }));
        Assert.Contains("libavcodec.so.59", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(farm.WorkFolder));
    }

    [Fact]
    public async Task FfmpegUninstalled_LaterOn_IsANamedFailure()
    {
        await using var farm = Farm.Create();
        var bin = ToolsOfTheirOwn(farm);
        await farm.StartAsync(new TranscoderOptions { Slots = 1, WorkFolder = farm.WorkFolder, ToolPath = bin, MaxAttempts = 2, RetryDelay = TimeSpan.FromMilliseconds(1) });
        File.Delete(Path.Combine(bin, "ffmpeg"));
        var report = await farm.RunAsync(ShortMaster());
        Assert.Equal((JobPhase.Failed, JobFailure.ToolMissing, 2), (report.Phase, report.Failure, report.Attempt));
    }

    [Fact]
    public async Task WrongOptions_AreAllReportedAtOnce()
    {
        await using var farm = Farm.Create();
        var wrong = new TranscoderOptions { Slots = 0, WorkFolder = " ", MaxAttempts = 99, StallTimeout = TimeSpan.Zero };
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => farm.StartAsync(wrong));
        Assert.Equal(4, error.Failures.Count());
        Assert.All(error.Failures, f => Assert.Contains("accepted", f, StringComparison.Ordinal));
        Assert.Empty(new TranscoderOptions().Validate());
    }

    [Fact]
    public async Task WorkFolder_IsSharedByLivingWorkers()
    {
        await using var farm = await Farm.Create().StartAsync();
        await using var other = Farm.Create();
        await other.StartAsync(Farm.Options(farm.WorkFolder));
        Assert.Equal(2, Directory.GetDirectories(farm.WorkFolder).Length);
        Assert.Equal(JobPhase.Done, (await farm.RunAsync(ShortMaster())).Phase);
        Assert.Equal(JobPhase.Done, (await other.RunAsync(ShortMaster())).Phase);
    }

    [Fact]
    public async Task Metrics_CountJobsByOutcome_PhasesAndAudio()
    {
        await using var farm = await Farm.Create().StartAsync();
        var seen = new ConcurrentBag<(string Name, double Value, string Tag)>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Meter.Name == "Delivery.Transcoder")
                l.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((i, value, tags, _) => seen.Add((i.Name, value, Tag(tags))));
        listener.SetMeasurementEventCallback<double>((i, value, tags, _) => seen.Add((i.Name, value, Tag(tags))));
        listener.Start();
        Assert.Equal(JobPhase.Done, (await farm.RunAsync(ShortMaster())).Phase);
        Assert.Equal(JobPhase.Failed, (await farm.RunAsync([1, 2, 3])).Phase);
        await farm.StopNodeAsync();
        // Other tests' workers share the process and the meter's name, so more may be there than these.
        Assert.Contains(("delivery.transcoder.jobs", 1, "Done"), seen);
        Assert.Contains(("delivery.transcoder.jobs", 1, "UnsupportedFormat"), seen);
        Assert.Superset(new HashSet<string> { "ffprobe", "ffmpeg", "flac", "metaflac" }, seen.Where(m => m.Name == "delivery.transcoder.tools").Select(m => m.Tag).ToHashSet());
        Assert.Contains(seen, m => m.Name == "delivery.transcoder.audio.encoded" && m.Value == 1.2);
        Assert.Superset(new HashSet<string> { "Fetch", "Probe", "Encode", "Verify", "Publish" }, seen.Where(m => m.Name == "delivery.transcoder.phase.duration").Select(m => m.Tag).ToHashSet());

        static string Tag(ReadOnlySpan<KeyValuePair<string, object?>> tags) => tags.Length > 0 ? (string)tags[0].Value! : "";
    }

    private static string ToolsOfTheirOwn(Farm farm)
    {
        var bin = Directory.CreateDirectory(Path.Combine(farm.Folder, "bin")).FullName;
        foreach (var tool in (string[])["ffmpeg", "ffprobe", "flac", "metaflac"])
            File.CreateSymbolicLink(Path.Combine(bin, tool), $"/usr/bin/{tool}");
        return bin;
    }
}
