using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

/// <summary>What every <see cref="IJobQueue"/> must do; a new driver joins by deriving from this class.</summary>
public abstract class JobQueueConformance
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>An empty queue; the class that makes it ends it.</summary>
    protected abstract Task<IJobQueue> CreateQueueAsync();

    /// <summary>The queue's time.</summary>
    protected abstract DateTimeOffset Now { get; }

    /// <summary>Lets <paramref name="delay"/> of the queue's time pass.</summary>
    protected abstract Task PassAsync(TimeSpan delay);

    protected static TranscodeJob Job(string id, DateTimeOffset? deadline = null) => new()
    {
        JobId = id,
        TrackId = "track",
        MasterKey = $"masters/track/{id}.wav",
        MasterSha256 = new string('0', 64),
        MasterBytes = 1,
        Ladder = "default-1",
        Deadline = deadline,
    };

    protected static JobReport Report(string id, JobPhase phase, double progress = 0) => new() { JobId = id, TrackId = "track", Phase = phase, Progress = progress };

    protected static async Task<JobDelivery> ReceiveAsync(IJobQueue queue)
    {
        using var patience = new CancellationTokenSource(Patience);
        return await queue.ReceiveAsync(patience.Token);
    }

    /// <summary>True when the queue has nothing ready: a job that is there is given without waiting in less time than this.</summary>
    protected static async Task<bool> IsIdleAsync(IJobQueue queue)
    {
        using var briefly = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        try
        {
            await queue.ReceiveAsync(briefly.Token);
            return false;
        }
        catch (OperationCanceledException)
        {
            return true;
        }
    }

    protected static async Task<List<JobReport>> ReadReportsAsync(IJobQueue queue, int count)
    {
        using var patience = new CancellationTokenSource(Patience);
        var reports = new List<JobReport>();
        await foreach (var read in queue.ReadReportsAsync(patience.Token))
        {
            await read.CompleteAsync(default);
            reports.Add(read.Report);
            if (reports.Count == count)
                break;
        }

        return reports;
    }

    [Fact]
    public async Task Enqueued_IsDeliveredWhole_AsFirstAttempt()
    {
        var queue = await CreateQueueAsync();
        var job = Job("a", DateTimeOffset.UnixEpoch);
        await queue.EnqueueAsync(job, default);
        var delivery = await ReceiveAsync(queue);
        Assert.Equal(job, delivery.Job);
        Assert.Equal(1, delivery.Attempt);
    }

    [Fact]
    public async Task Waiting_Receiver_GetsTheNextJob()
    {
        var queue = await CreateQueueAsync();
        var receiving = ReceiveAsync(queue);
        Assert.False(receiving.IsCompleted);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.Equal("a", (await receiving).Job.JobId);
    }

    [Fact]
    public async Task Jobs_ComeByUrgency_ThenByArrival_BackfillsLast()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("backfill") with { Priority = JobPriority.Backfill, Deadline = Now.AddDays(-1) }, default);
        await queue.EnqueueAsync(Job("none"), default);
        await queue.EnqueueAsync(Job("week", Now.AddDays(6)), default);
        await queue.EnqueueAsync(Job("later", Now.AddDays(60)), default);
        await queue.EnqueueAsync(Job("day-1", Now.AddHours(20)), default);
        await queue.EnqueueAsync(Job("day-2", Now.AddHours(20)), default);
        await queue.EnqueueAsync(Job("past", Now.AddDays(-1)), default);
        var order = new List<string>();
        for (var i = 0; i < 7; i++)
            order.Add((await ReceiveAsync(queue)).Job.JobId);
        Assert.Equal(["past", "day-1", "day-2", "week"], order[..4]);
        Assert.Equal(["later", "none"], order[4..6].Order()); // A queue may know which of these comes first, or not.
        Assert.Equal("backfill", order[6]);
    }

    [Fact]
    public async Task CompletedJob_CanBeAskedForAgain_AsNew()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).CompleteAsync(default);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.Equal(1, (await ReceiveAsync(queue)).Attempt);
    }

    [Fact]
    public async Task JobReportedFailed_CanBeAskedForAgain_BeforeItsDeliveryIsCompleted()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        var first = await ReceiveAsync(queue);
        await queue.ReportAsync(Report("a", JobPhase.Failed), default);
        await queue.EnqueueAsync(Job("a"), default);
        await first.CompleteAsync(default);
        var again = await ReceiveAsync(queue);
        Assert.Equal("a", again.Job.JobId);
    }

    [Fact]
    public async Task Released_ComesBackAtOnce_AsTheSameAttempt()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).ReleaseAsync(default);
        var again = await ReceiveAsync(queue);
        Assert.Equal((1, 0, null), (again.Attempt, again.Losses, again.FailingSince));
    }

    [Fact]
    public async Task Retried_ComesBackAfterTheDelay_AsTheNextAttempt_AndKnowsSinceWhenItFails()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        var since = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
        await (await ReceiveAsync(queue)).RetryAsync(TimeSpan.FromSeconds(2), since, default);
        Assert.True(await IsIdleAsync(queue));
        await PassAsync(TimeSpan.FromSeconds(2));
        var again = await ReceiveAsync(queue);
        Assert.Equal((2, 0, (DateTimeOffset?)since), (again.Attempt, again.Losses, again.FailingSince));
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task CancelledJob_ThatAWorkerHolds_IsToldToIt()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        await queue.EnqueueAsync(Job("b"), default);
        var (a, b) = (await ReceiveAsync(queue), await ReceiveAsync(queue));
        var told = new TaskCompletionSource();
        await using var registration = a.Cancelled.Register(told.SetResult);
        await queue.CancelAsync("a", default);
        await told.Task.WaitAsync(Patience);
        Assert.False(b.Cancelled.IsCancellationRequested);
        await a.CompleteAsync(default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task CancelledJob_ThatWaits_IsNotWorkedOn()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("first"), default);
        await queue.EnqueueAsync(Job("a"), default);
        await queue.EnqueueAsync(Job("b"), default);
        await ReceiveAsync(queue);
        await queue.CancelAsync("a", default);
        // A queue may hand it out as cancelled, so that its worker settles it; it may also forget it.
        var next = await ReceiveAsync(queue);
        if (next.Job.JobId == "a")
        {
            Assert.True(next.Cancelled.IsCancellationRequested);
            next = await ReceiveAsync(queue);
        }

        Assert.Equal("b", next.Job.JobId);
        Assert.False(next.Cancelled.IsCancellationRequested);
    }

    [Fact]
    public async Task CancelledJob_CanBeAskedForAgain()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        var held = await ReceiveAsync(queue);
        await queue.CancelAsync("a", default);
        await queue.ReportAsync(Report("a", JobPhase.Failed), default);
        await held.CompleteAsync(default);
        await queue.EnqueueAsync(Job("a"), default);
        var again = await ReceiveAsync(queue);
        Assert.Equal(("a", false), (again.Job.JobId, again.Cancelled.IsCancellationRequested));
    }

    [Fact]
    public async Task Depth_CountsWhatWaits_ByUrgency_AndWhatIsDelayed()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("held", Now), default);
        await queue.EnqueueAsync(Job("delayed", Now), default);
        await ReceiveAsync(queue);
        await (await ReceiveAsync(queue)).RetryAsync(TimeSpan.FromMinutes(10), Now, default);
        await queue.EnqueueAsync(Job("hour", Now), default);
        await queue.EnqueueAsync(Job("day-1", Now.AddHours(20)), default);
        await queue.EnqueueAsync(Job("day-2", Now.AddHours(20)), default);
        await queue.EnqueueAsync(Job("backfill") with { Priority = JobPriority.Backfill }, default);
        var depth = await queue.MeasureAsync(default);
        Assert.Equal((1, 2, 0, 0, 1), (depth.Waiting[JobUrgency.Hour], depth.Waiting[JobUrgency.Day], depth.Waiting[JobUrgency.Week], depth.Waiting[JobUrgency.Later], depth.Waiting[JobUrgency.Backfill]));
        Assert.Equal((1, 0, 5), (depth.Delayed, depth.Dead, depth.Total));
    }

    [Fact]
    public async Task Delivery_SettledTwice_CountsOnce()
    {
        var queue = await CreateQueueAsync();
        await queue.EnqueueAsync(Job("a"), default);
        var delivery = await ReceiveAsync(queue);
        await delivery.CompleteAsync(default);
        await delivery.ReleaseAsync(default);
        await delivery.RetryAsync(TimeSpan.Zero, Now, default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task ManyReceivers_EachJobGoesToOne()
    {
        var queue = await CreateQueueAsync();
        var receivers = Enumerable.Range(0, 8).Select(_ => Task.Run(async () =>
        {
            var got = new List<string>();
            for (var i = 0; i < 25; i++)
            {
                var delivery = await ReceiveAsync(queue);
                got.Add(delivery.Job.JobId);
                await delivery.CompleteAsync(default);
            }

            return got;
        })).ToArray();
        for (var i = 0; i < 200; i++)
            await queue.EnqueueAsync(Job($"j{i}"), default);
        var all = (await Task.WhenAll(receivers)).SelectMany(x => x).ToList();
        Assert.Equal(200, all.Distinct().Count());
    }

    [Fact]
    public async Task FinalReports_AreNeverDropped_AndProgressKeepsItsNewest()
    {
        var queue = await CreateQueueAsync();
        for (var i = 0; i < 500; i++)
        {
            await queue.ReportAsync(Report($"j{i}", JobPhase.Encode, 0.1), default);
            await queue.ReportAsync(Report($"j{i}", JobPhase.Encode, 0.9), default);
            await queue.ReportAsync(Report($"j{i}", i % 2 == 0 ? JobPhase.Done : JobPhase.Failed), default);
        }

        await queue.ReportAsync(Report("last", JobPhase.Probe, 0.2), default);
        await queue.ReportAsync(Report("last", JobPhase.Encode, 0.7), default);
        var finals = new List<JobReport>();
        JobReport? last = null;
        using var patience = new CancellationTokenSource(Patience);
        await foreach (var read in queue.ReadReportsAsync(patience.Token))
        {
            var report = read.Report;
            await read.CompleteAsync(default);
            if (report.JobId == "last")
                last = report;
            else if (report.Phase is JobPhase.Done or JobPhase.Failed)
                finals.Add(report);
            if (last is { Progress: 0.7 } && finals.Count == 500)
                break;
        }

        Assert.Equal(500, finals.Select(f => f.JobId).Distinct().Count());
    }

    [Fact]
    public async Task Reports_OfOneJob_ComeInOrder()
    {
        var queue = await CreateQueueAsync();
        var reading = Task.Run(async () =>
        {
            var seen = new List<double>();
            using var patience = new CancellationTokenSource(Patience);
            await foreach (var read in queue.ReadReportsAsync(patience.Token))
            {
                await read.CompleteAsync(default);
                seen.Add(read.Report.Progress);
                if (read.Report.Phase == JobPhase.Done)
                    break;
            }

            return seen;
        });
        for (var i = 0; i < 1000; i++)
            await queue.ReportAsync(Report("a", JobPhase.Encode, i / 1000.0), default);
        await queue.ReportAsync(Report("a", JobPhase.Done, 1), default);
        var progress = await reading;
        Assert.Equal(progress.Order(), progress);
        Assert.Equal(1, progress[^1]);
    }
}
