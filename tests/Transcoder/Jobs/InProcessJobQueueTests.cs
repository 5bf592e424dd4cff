using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class InProcessJobQueueTests : JobQueueConformance, IAsyncDisposable
{
    private readonly ManualTime _time = new();
    private readonly List<InProcessJobQueue> _queues = [];

    protected override Task<IJobQueue> CreateQueueAsync() => Task.FromResult<IJobQueue>(Create(InProcessJobQueue.DefaultCapacity));

    protected override DateTimeOffset Now => _time.GetUtcNow();

    protected override Task PassAsync(TimeSpan delay)
    {
        _time.Advance(delay);
        return Task.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var queue in _queues)
            await queue.DisposeAsync();
    }

    private InProcessJobQueue Create(int capacity)
    {
        var queue = new InProcessJobQueue(_time, capacity);
        _queues.Add(queue);
        return queue;
    }

    [Fact]
    public async Task FullQueue_EnqueueWaits_UntilAJobIsSettled()
    {
        var queue = Create(2);
        await queue.EnqueueAsync(Job("a"), default);
        await queue.EnqueueAsync(Job("b"), default);
        var third = queue.EnqueueAsync(Job("c"), default).AsTask();
        var duplicate = queue.EnqueueAsync(Job("b"), default);
        Assert.True(duplicate.IsCompletedSuccessfully);
        Assert.False(third.IsCompleted);
        var held = await ReceiveAsync(queue);
        Assert.False(third.IsCompleted); // Held jobs count: they may come back.
        await held.CompleteAsync(default);
        await third.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task FullQueue_WaitingEnqueue_CanBeCancelled_AndLeavesNothing()
    {
        var queue = Create(1);
        await queue.EnqueueAsync(Job("a"), default);
        using var cancel = new CancellationTokenSource();
        var waiting = queue.EnqueueAsync(Job("b"), cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        await (await ReceiveAsync(queue)).CompleteAsync(default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task UnreadFinalReports_AtTheBound_MakeTheWorkerWait()
    {
        var queue = Create(1);
        for (var i = 0; i < InProcessJobQueue.MaxUnreadReports; i++)
            await queue.ReportAsync(Report($"j{i}", JobPhase.Done), default);
        var oneMore = queue.ReportAsync(Report("more", JobPhase.Done), default).AsTask();
        Assert.False(oneMore.IsCompleted);
        Assert.Equal("j0", (await ReadReportsAsync(queue, 1))[0].JobId);
        await oneMore.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Progress_OfOneJob_IsConflated()
    {
        var queue = Create(1);
        await queue.ReportAsync(Report("a", JobPhase.Fetch, 0.1), default);
        await queue.ReportAsync(Report("b", JobPhase.Fetch, 0.1), default);
        await queue.ReportAsync(Report("a", JobPhase.Encode, 0.5), default);
        await queue.ReportAsync(Report("b", JobPhase.Done, 1), default);
        var reports = await ReadReportsAsync(queue, 2);
        Assert.Equal([("a", 0.5), ("b", 1.0)], reports.Select(r => (r.JobId, r.Progress)));
    }

    [Fact]
    public async Task Jobs_OfOneUrgency_ComeByTheirDeadline()
    {
        var queue = Create(10);
        await queue.EnqueueAsync(Job("none"), default);
        await queue.EnqueueAsync(Job("third", Now.AddDays(6)), default);
        await queue.EnqueueAsync(Job("first", Now.AddDays(5)), default);
        await queue.EnqueueAsync(Job("second", Now.AddDays(5)), default);
        var order = new List<string>();
        for (var i = 0; i < 4; i++)
            order.Add((await ReceiveAsync(queue)).Job.JobId);
        Assert.Equal(["first", "second", "third", "none"], order);
    }

    [Fact]
    public async Task SameJob_QueuedOrHeld_IsOneJob()
    {
        var queue = Create(10);
        await queue.EnqueueAsync(Job("a"), default);
        await queue.EnqueueAsync(Job("a"), default);
        var held = await ReceiveAsync(queue);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.True(await IsIdleAsync(queue));
        await held.CompleteAsync(default);
        Assert.True(await IsIdleAsync(queue));
    }

    [Fact]
    public async Task DelayedJob_AskedForAgain_IsOneJob()
    {
        var queue = Create(10);
        await queue.EnqueueAsync(Job("a"), default);
        await (await ReceiveAsync(queue)).RetryAsync(TimeSpan.FromSeconds(4), Now, default);
        await queue.EnqueueAsync(Job("a"), default);
        Assert.True(await IsIdleAsync(queue));
        _time.Advance(TimeSpan.FromSeconds(4));
        Assert.Equal(2, (await ReceiveAsync(queue)).Attempt);
        Assert.True(await IsIdleAsync(queue));
    }
}
