using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

/// <summary>What every <see cref="IJobQueue"/> must do; a new driver joins by deriving from this class.</summary>
public abstract class JobQueueConformance
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>An empty queue.</summary>
    protected abstract IJobQueue CreateQueue();

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
        await foreach (var report in queue.ReadReportsAsync(patience.Token))
        {
            reports.Add(report);
            if (reports.Count == count)
                break;
        }

        return reports;
    }

    [Fact]
    public async Task Enqueued_IsDeliveredWhole_AsFirstAttempt()
    {
        var queue = CreateQueue();
        var job = Job("a", DateTimeOffset.UnixEpoch);
        await queue.EnqueueAsync(job, default);
        var delivery = await ReceiveAsync(queue);
        Assert.Equal(job, delivery.Job);
        Assert.Equal(1, delivery.Attempt);
    }

    [Fact]
    public async Task Waiting_Receiver_GetsTheNextJob()
    {
        var queue = CreateQueue();
        var receiving = ReceiveAsync(queue);
        Assert.False(receiving.IsCompleted);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.Equal("a", (await receiving).Job.JobId);
    }

    [Fact]
    public async Task Jobs_ComeByDeadline_ThenByArrival_WithoutDeadlineLast()
    {
        var queue = CreateQueue();
        var day = DateTimeOffset.UnixEpoch;
        await queue.EnqueueAsync(Job("none-1"), default);
        await queue.EnqueueAsync(Job("late", day.AddDays(9)), default);
        await queue.EnqueueAsync(Job("soon-1", day.AddDays(1)), default);
        await queue.EnqueueAsync(Job("soon-2", day.AddDays(1)), default);
        await queue.EnqueueAsync(Job("none-2"), default);
        await queue.EnqueueAsync(Job("past", day.AddDays(-1)), default);
        var order = new List<string>();
        for (var i = 0; i < 6; i++)
            order.Add((await ReceiveAsync(queue)).Job.JobId);
        Assert.Equal(["past", "soon-1", "soon-2", "late", "none-1", "none-2"], order);
    }

    [Fact]
    public async Task SameJob_QueuedOrHeld_IsOneJob()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        await queue.EnqueueAsync(Job("a"), default);
        var held = await ReceiveAsync(queue);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.True(await IsIdleAsync(queue));
        await held.CompleteAsync(default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task CompletedJob_CanBeAskedForAgain_AsNew()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).CompleteAsync(default);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.Equal(1, (await ReceiveAsync(queue)).Attempt);
    }

    [Fact]
    public async Task JobReportedFailed_CanBeAskedForAgain_BeforeItsDeliveryIsCompleted()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        var first = await ReceiveAsync(queue);
        await queue.ReportAsync(Report("a", JobPhase.Failed), default);
        await queue.EnqueueAsync(Job("a"), default);
        await first.CompleteAsync(default);
        var again = await ReceiveAsync(queue);
        Assert.Equal("a", again.Job.JobId);
    }

    [Fact]
    public async Task Returned_WithoutDelay_ComesBackAtOnce_AsNextAttempt()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).ReturnAsync(TimeSpan.Zero, default);
        var again = await ReceiveAsync(queue);
        Assert.Equal(2, again.Attempt);
    }

    [Fact]
    public async Task Returned_WithDelay_ComesBackAfterIt_AndStaysOneJobMeanwhile()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).ReturnAsync(TimeSpan.FromSeconds(4), default);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.True(await IsIdleAsync(queue));
        await PassAsync(TimeSpan.FromSeconds(4));
        Assert.Equal(2, (await ReceiveAsync(queue)).Attempt);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task Delivery_SettledTwice_CountsOnce()
    {
        var queue = CreateQueue();
        await queue.EnqueueAsync(Job("a"), default);
        var delivery = await ReceiveAsync(queue);
        await delivery.CompleteAsync(default);
        await delivery.ReturnAsync(TimeSpan.Zero, default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task ManyReceivers_EachJobGoesToOne()
    {
        var queue = CreateQueue();
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
        var queue = CreateQueue();
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
        await foreach (var report in queue.ReadReportsAsync(patience.Token))
        {
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
        var queue = CreateQueue();
        var reading = Task.Run(async () =>
        {
            var seen = new List<double>();
            using var patience = new CancellationTokenSource(Patience);
            await foreach (var report in queue.ReadReportsAsync(patience.Token))
            {
                seen.Add(report.Progress);
                if (report.Phase == JobPhase.Done)
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
