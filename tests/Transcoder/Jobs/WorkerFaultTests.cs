using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;
using Microsoft.Extensions.Logging.Abstractions;
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
    public async Task Stopping_LetsAShortJobEnd_AndTakesNoFurtherOne()
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(Farm.Options(farm.WorkFolder) with { DrainTime = TimeSpan.FromMinutes(1) });
        var running = farm.RunAsync(await farm.UploadAsync(ShortMaster()));
        await Until.TrueAsync(() => !farm.Reports.IsEmpty, "Work");
        var further = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        var stopping = farm.StopNodeAsync();
        Assert.Equal(JobPhase.Done, (await running).Phase);
        await stopping;
        Assert.False(further.IsCompleted);
        Assert.Equal(1, (await farm.Queue.MeasureAsync(default)).Total);
    }

    [Fact]
    public async Task Stopping_EndsALongJob_AfterItsDrainTime_AndSaysMeanwhileThatItIsNotReady()
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(Farm.Options(farm.WorkFolder) with { DrainTime = TimeSpan.FromSeconds(0.3) });
        var running = farm.RunAsync(await farm.UploadAsync(LongMaster()));
        await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
        using var client = new HttpClient { BaseAddress = farm.Node!.AdminAddress };
        Assert.Equal(System.Net.HttpStatusCode.OK, (await client.GetAsync("/readyz")).StatusCode);
        var stopping = farm.StopNodeAsync();
        Assert.Contains("stops", await (await client.GetAsync("/readyz")).Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await stopping;
        Assert.False(running.IsCompleted);
        Assert.Equal(1, (await farm.Queue.MeasureAsync(default)).Waiting[JobUrgency.Later]);
        Assert.Empty(Until.ProcessesIn(farm.WorkFolder));
    }

    [Fact]
    public async Task RunningJob_IsReportedAgain_ThoughItGetsNoFurther_AndEndsItsToolsWhenItIsCancelled()
    {
        await using var farm = Farm.Create();
        var options = Farm.Options(farm.WorkFolder) with { ReportInterval = TimeSpan.FromSeconds(0.1), WorkerId = "w1", KillGrace = TimeSpan.FromSeconds(0.1) };
        await farm.StartAsync(options);
        var job = await farm.UploadAsync(LongMaster());
        var running = farm.RunAsync(job);
        await Until.TrueAsync(() => Until.EncodersIn(farm.WorkFolder).Count == 1, "Encoding");
        Until.Signal(Until.EncodersIn(farm.WorkFolder)[0], "STOP");
        var before = farm.Reports.Count;
        await Until.TrueAsync(() => farm.Reports.Count > before + 3, "Signs of life");
        var last = farm.Reports.Skip(before + 1).ToList();
        Assert.All(last, r => Assert.Equal((JobPhase.Encode, "w1"), (r.Phase, r.Worker)));
        Assert.All(last, r => Assert.True(r.SecondsLeft > 0));
        Assert.Single(last.Select(r => r.Progress).Distinct());
        await farm.Queue.CancelAsync(job.JobId, default);
        var report = await running;
        Assert.Equal((JobPhase.Failed, JobFailure.Cancelled, 1), (report.Phase, report.Failure, report.Attempt));
        Assert.Empty(Until.ProcessesIn(farm.WorkFolder));
        Assert.Empty(await farm.ListAsync("audio/"));
        Assert.Equal(0, (await farm.Queue.MeasureAsync(default)).Total);
    }

    [Fact]
    public async Task QueueThatIsAway_WhileAJobEnds_StopsNoJob_AndIsToldWhenItIsBack()
    {
        await using var farm = Farm.Create();
        var queue = new AwayQueue(farm.Queue);
        var job = await farm.UploadAsync(ShortMaster());
        await using var node = await TranscoderNode.StartAsync(Farm.Options(farm.WorkFolder) with { AdminPort = 0 }, farm.Store, queue, NullLoggerFactory.Instance, TimeProvider.System, default);
        var running = farm.RunAsync(job);
        await Until.TrueAsync(() => !farm.Reports.IsEmpty, "Work");
        queue.IsAway = true;
        await Until.TrueAsync(() => queue.RefusedEnds == 2, "The end of the job, said twice");
        using var client = new HttpClient { BaseAddress = node.AdminAddress };
        Assert.Contains("away", await (await client.GetAsync("/readyz")).Content.ReadAsStringAsync(), StringComparison.Ordinal);
        queue.IsAway = false;
        var report = await running;
        Assert.Equal((JobPhase.Done, 1), (report.Phase, report.Attempt));
        Assert.Equal(0, (await farm.Queue.MeasureAsync(default)).Total);
    }

    [Fact]
    public async Task StoreThatLosesOneCallInTwenty_CostsNoAttempt()
    {
        FaultyStore? faulty = null;
        await using var farm = await Farm.Create(store => faulty = new FaultyStore(store)).StartAsync();
        var jobs = new List<TranscodeJob>();
        for (var i = 0; i < 3; i++)
            jobs.Add(await farm.UploadAsync((Master.OfSeconds(1, channels: 1) with { Sound = Master.Tone(0.1 + (i * 0.1)) }).ToWav()));
        var (random, lost, calls) = (new Random(6), 0, 0);
        faulty!.OnCall = _ =>
        {
            // One slot: one call at a time.
            if (calls++ % 20 != 7 && random.Next(20) != 0)
                return null;
            lost++;
            return new StoreException(StoreError.Unavailable, "no answer");
        };
        foreach (var job in jobs)
        {
            var report = await farm.RunAsync(job);
            Assert.True((report.Phase, report.Attempt) == (JobPhase.Done, 1), $"{report}");
        }

        Assert.True(lost >= calls / 20, $"{lost} of {calls} calls were lost.");
        TestContext.Current.TestOutputHelper!.WriteLine($"{lost} of {calls} calls were lost.");
    }

    [Fact]
    public async Task Master_WhoseReadingBreaks_IsReadOnFromThere()
    {
        FaultyStore? faulty = null;
        await using var farm = await Farm.Create(store => faulty = new FaultyStore(store)).StartAsync();
        var job = await farm.UploadAsync(ShortMaster());
        var offsets = new List<long>();
        faulty!.OnBody = (key, range) =>
        {
            if (key != job.MasterKey)
                return null;
            offsets.Add(range?.Offset ?? 0);
            return offsets.Count <= 2 ? 30_001 : null;
        };
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Done, 1), (report.Phase, report.Attempt));
        Assert.Equal([0, 30_001, 60_002], offsets);
    }

    [Fact]
    public async Task Rendition_ThatACollectorRemoved_JustBeforeTheManifestNamedIt_IsThereInTheEnd()
    {
        FaultyStore? faulty = null;
        await using var farm = await Farm.Create(store => faulty = new FaultyStore(store)).StartAsync();
        var job = await farm.UploadAsync(ShortMaster());
        var removed = "";
        faulty!.OnWritten = async key =>
        {
            if (removed.Length > 0 || !key.StartsWith("catalog/renditions/", StringComparison.Ordinal))
                return;
            removed = (await farm.ListAsync("audio/"))[0];
            Assert.True(await faulty.DeleteAsync(ObjectKey.Parse(removed), default));
        };
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Done, 1), (report.Phase, report.Attempt));
        Assert.NotEmpty(removed);
        Assert.Contains(removed, await farm.ListAsync("audio/"));
    }

    [Fact]
    public async Task Outage_LongerThanTheAttempts_ShorterThanThePatience_EndsWell()
    {
        FaultyStore? faulty = null;
        await using var farm = Farm.Create(store => faulty = new FaultyStore(store));
        await farm.StartAsync(Farm.Options(farm.WorkFolder) with { MaxAttempts = 1, RetryDelay = TimeSpan.FromMilliseconds(1) });
        var job = await farm.UploadAsync(ShortMaster());
        var failures = 2 * RetryingStore.MaxTries;
        faulty!.OnCall = key => key.StartsWith("catalog/", StringComparison.Ordinal) && failures-- > 0 ? new StoreException(StoreError.Unavailable, "it is so") : null;
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Done, 3), (report.Phase, report.Attempt));
    }

    [Theory]
    [InlineData(StoreError.Unavailable, " It has been so since ")]
    [InlineData(StoreError.Full, " It has been so since ")]
    [InlineData(StoreError.Denied, "")]
    public async Task StoreThatKeepsFailing_BeyondThePatience_IsANamedFailure_AndPublishesNothing(StoreError error, string end)
    {
        FaultyStore? faulty = null;
        await using var farm = Farm.Create(store => faulty = new FaultyStore(store));
        await farm.StartAsync(Farm.Options(farm.WorkFolder) with { OutagePatience = TimeSpan.Zero });
        var job = await farm.UploadAsync(ShortMaster());
        faulty!.OnWrite = key => key.EndsWith(".flac", StringComparison.Ordinal) ? new StoreException(error, "it is so") : null;
        var report = await farm.RunAsync(job);
        Assert.Equal((JobPhase.Failed, JobFailure.StoreFailed, 1), (report.Phase, report.Failure, report.Attempt));
        Assert.Contains($"({error}): it is so; {(error == StoreError.Full ? "free space in the store" : "mend the store")}, then retry the job.{end}", report.Message, StringComparison.Ordinal);
        Assert.Empty(await farm.ListAsync("catalog/"));
    }

    [Fact]
    public async Task FullWorkFolder_BeyondThePatience_IsANamedFailure()
    {
        await using var farm = Farm.Create();
        await farm.StartAsync(Farm.Options(farm.WorkFolder) with { OutagePatience = TimeSpan.FromMilliseconds(50), MinFreeBytes = 1L << 40 });
        var report = await farm.RunAsync(ShortMaster());
        Assert.Equal((JobPhase.Failed, JobFailure.WorkFolderFull), (report.Phase, report.Failure));
        Assert.True(report.Attempt > 1, $"{report}");
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
        var wrong = new TranscoderOptions
        {
            Slots = 0,
            WorkFolder = " ",
            MaxAttempts = 99,
            StallTimeout = TimeSpan.Zero,
            MaxRetryDelay = TimeSpan.Zero,
            OutagePatience = TimeSpan.FromSeconds(-1),
            DrainTime = TimeSpan.FromDays(2),
            WorkerId = "a\nb",
            ReportInterval = TimeSpan.FromMinutes(1),
        };
        var error = await Assert.ThrowsAsync<OptionsValidationException>(() => farm.StartAsync(wrong));
        Assert.Equal(9, error.Failures.Count());
        Assert.All(error.Failures, f => Assert.Contains("accepted", f, StringComparison.Ordinal));
        Assert.Empty(new TranscoderOptions().Validate());
    }

    [Fact]
    public async Task RelativeWorkFolder_IsAbsoluteToTheTools()
    {
        await using var farm = Farm.Create();
        using var area = WorkArea.Open(Path.GetRelativePath(Directory.GetCurrentDirectory(), farm.WorkFolder), out _);
        Assert.StartsWith(farm.WorkFolder, area.Folder, StringComparison.Ordinal);
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
        listener.SetMeasurementEventCallback<int>((i, value, tags, _) => seen.Add((i.Name, value, Tag(tags))));
        listener.SetMeasurementEventCallback<long>((i, value, tags, _) => seen.Add((i.Name, value, Tag(tags))));
        listener.SetMeasurementEventCallback<double>((i, value, tags, _) => seen.Add((i.Name, value, Tag(tags))));
        listener.Start();
        Assert.Equal(JobPhase.Done, (await farm.RunAsync(ShortMaster())).Phase);
        Assert.Equal(JobPhase.Failed, (await farm.RunAsync([1, 2, 3])).Phase);
        listener.RecordObservableInstruments();
        await farm.StopNodeAsync();
        // Other tests' workers share the process and the meter's name, so more may be there than these.
        Assert.Contains(("delivery.transcoder.jobs", 1, "Done"), seen);
        Assert.Contains(("delivery.transcoder.jobs", 1, "UnsupportedFormat"), seen);
        Assert.Superset(new HashSet<string> { "ffprobe", "ffmpeg", "flac", "metaflac" }, seen.Where(m => m.Name == "delivery.transcoder.tools").Select(m => m.Tag).ToHashSet());
        Assert.Contains(seen, m => m.Name == "delivery.transcoder.audio.encoded" && m.Value == 1.2);
        Assert.Contains(seen, m => m.Name == "delivery.transcoder.jobs.time" && m.Value > 0);
        Assert.Contains(("delivery.transcoder.slots", 1, ""), seen);
        Assert.Contains(seen, m => m.Name == "delivery.transcoder.realtime.factor" && m.Value > 0);
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
