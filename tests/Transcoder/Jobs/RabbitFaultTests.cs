using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using RabbitMQ.Client;

namespace Delivery.Transcoder.Tests.Jobs;

[Collection(nameof(SharedBroker))]
public sealed class RabbitFaultTests(SharedBroker shared) : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly RabbitFarm _farm = new(shared.Broker);

    public ValueTask DisposeAsync() => _farm.DisposeAsync();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BrokerGoesAndComesBack_NothingIsLost_AndAllReconnectByThemselves(bool isKilled)
    {
        var (origin, worker) = (_farm.Open(), _farm.Open(readsReports: false));
        foreach (var id in (string[])["held", "delayed", "waiting"])
            await origin.EnqueueAsync(Job(id), default);
        var held = await ReceiveAsync(worker);
        await (await ReceiveAsync(worker)).RetryAsync(TimeSpan.FromSeconds(2), DateTimeOffset.UnixEpoch, default);
        await worker.ReportAsync(Report("before", JobPhase.Done), default);

        await (isKilled ? shared.Broker.KillAsync() : shared.Broker.StopAsync());
        await Until.TrueAsync(() => origin.Problem is not null && worker.Problem is not null, "noticing that the broker is away");
        await worker.ReportAsync(Report("held", JobPhase.Encode), default); // Progress: dropped.
        var (enqueueing, reporting, receiving) = (origin.EnqueueAsync(Job("new"), default).AsTask(), worker.ReportAsync(Report("held", JobPhase.Done), default).AsTask(), ReceiveAsync(worker));
        await shared.Broker.RestartAsync();

        await Task.WhenAll(enqueueing, reporting).WaitAsync(Patience);
        Assert.Null(worker.Problem);
        var reports = await ReadEndsAsync(origin, 2);
        Assert.Equal(["before", "held"], reports.Select(r => r.JobId).Order());
        // The one that it still holds is not worked on twice.
        var rest = new List<JobDelivery> { await receiving, await ReceiveAsync(worker), await ReceiveAsync(worker) };
        Assert.Equal(["delayed", "new", "waiting"], rest.Select(d => d.Job.JobId).Order());
        Assert.Equal((2, DateTimeOffset.UnixEpoch), rest.Where(d => d.Job.JobId == "delayed").Select(d => (d.Attempt, d.FailingSince!.Value)).Single());
        foreach (var delivery in (JobDelivery[])[held, .. rest])
            await delivery.CompleteAsync(default);
        await EmptyAsync(worker);
    }

    [Fact]
    public async Task ConnectionLost_WhileHeld_AnotherWorkerGetsIt_AndTheFirstMaySettleInPeace()
    {
        await using var proxy = new TroubledProxy(new Uri($"http://127.0.0.1:{shared.Broker.Port}"));
        var (cut, other) = (_farm.Open(o => o with { Url = RabbitBroker.UrlAt(proxy.Address.Port) }, readsReports: false), _farm.Open(readsReports: false));
        foreach (var id in (string[])["completed", "retried", "released"])
            await other.EnqueueAsync(Job(id), default);
        JobDelivery[] held = [await ReceiveAsync(cut), await ReceiveAsync(cut), await ReceiveAsync(cut)];
        proxy.Trouble = new Trouble { CutAnswersAfter = 0, CutRequestsAfter = 0 };
        await Until.TrueAsync(() => cut.Problem is not null, "noticing the cut");

        JobDelivery[] again = [await ReceiveAsync(other), await ReceiveAsync(other), await ReceiveAsync(other)];
        Assert.All(again, d => Assert.Equal((2, 1), (d.Attempt, d.Losses)));
        await held[0].CompleteAsync(default);
        await held[1].RetryAsync(TimeSpan.FromSeconds(2), DateTimeOffset.UnixEpoch, default);
        await held[2].ReleaseAsync(default);
        // A lost delivery that is answered is a new try.
        await again[0].ReleaseAsync(default);
        var released = await ReceiveAsync(other);
        Assert.Equal((again[0].Job.JobId, 2, 1), (released.Job.JobId, released.Attempt, released.Losses));
        await released.RetryAsync(TimeSpan.FromSeconds(2), DateTimeOffset.UnixEpoch, default);
        var retried = await ReceiveAsync(other);
        Assert.Equal((released.Job.JobId, 3, 0), (retried.Job.JobId, retried.Attempt, retried.Losses));
        foreach (var delivery in (JobDelivery[])[retried, again[1], again[2]])
            await delivery.CompleteAsync(default);
        await EmptyAsync(other);
    }

    [Fact]
    public async Task ConnectionLost_AndTheSameProcessGetsTheJobAgain_GoesOnWithTheOneItHolds()
    {
        await using var proxy = new TroubledProxy(new Uri($"http://127.0.0.1:{shared.Broker.Port}"));
        var worker = _farm.Open(o => o with { Url = RabbitBroker.UrlAt(proxy.Address.Port) });
        await worker.EnqueueAsync(Job("a"), default);
        await worker.EnqueueAsync(Job("b"), default);
        var (a, b) = (await ReceiveAsync(worker), await ReceiveAsync(worker));
        proxy.Trouble = new Trouble { CutAnswersAfter = 0, Times = 1 };
        var receiving = ReceiveAsync(worker);
        await Until.TrueAsync(() => _farm.Log.Has("Job a: the broker gave it out again") && _farm.Log.Has("Job b: the broker gave it out again"), "going on with the jobs in hand");
        Assert.False(receiving.IsCompleted);
        Assert.False(a.Cancelled.IsCancellationRequested);
        await worker.CancelAsync("a", default);
        Assert.True(a.Cancelled.IsCancellationRequested);
        await a.CompleteAsync(default);
        await b.RetryAsync(TimeSpan.FromSeconds(1), DateTimeOffset.UnixEpoch, default);
        var again = await receiving;
        Assert.Equal("b", again.Job.JobId);
        await again.CompleteAsync(default);
        await EmptyAsync(worker);
    }

    [Fact]
    public async Task SettledJob_ThatTheBrokerGivesOutAgain_IsNotWorkedOnAgain()
    {
        await using var proxy = new TroubledProxy(new Uri($"http://127.0.0.1:{shared.Broker.Port}"));
        var worker = _farm.Open(o => o with { Url = RabbitBroker.UrlAt(proxy.Address.Port) });
        await worker.EnqueueAsync(Job("a"), default);
        var a = await ReceiveAsync(worker);
        proxy.Trouble = new Trouble { CutAnswersAfter = 0, CutRequestsAfter = 0 };
        await Until.TrueAsync(() => worker.Problem is not null, "noticing the cut");
        await a.CompleteAsync(default);
        proxy.Trouble = Trouble.None;
        var receiving = ReceiveAsync(worker);
        await Until.TrueAsync(() => worker.Problem is null, "connecting again");
        await worker.EnqueueAsync(Job("b"), default);
        var b = await receiving;
        Assert.Equal("b", b.Job.JobId);
        await b.CompleteAsync(default);
        await EmptyAsync(worker);
    }

    [Fact]
    public async Task JobThatTookTooManyWorkers_IsReportedOnce_WithTheReason()
    {
        var origin = _farm.Open(One);
        await origin.EnqueueAsync(Job("fatal"), default);
        for (var i = 0; i < 2; i++)
        {
            var worker = _farm.Open(One, readsReports: false);
            Assert.Equal((i + 1, i), await ReceiveAsync(worker) is var d ? (d.Attempt, d.Losses) : default);
            await worker.DisposeAsync(); // Without a word about the job.
        }

        await Until.TrueAsync(() => origin.MeasureAsync(default).AsTask().Result is { Dead: 1, Total: 1 }, "giving up the job");
        var report = Assert.Single(await ReadEndsAsync(origin, 1));
        Assert.Equal(("fatal", JobPhase.Failed, JobFailure.WorkersLost, 2), (report.JobId, report.Phase, report.Failure, report.Attempt));
        Assert.Contains("lost at this job 2 times (delivery_limit)", report.Message, StringComparison.Ordinal);
        await EmptyAsync(origin);

        static BrokerOptions One(BrokerOptions options) => options with { DeliveryLimit = 1 };
    }

    [Fact]
    public async Task FullLine_RefusesClearly_AndTakesAgainWhenThereIsRoom()
    {
        var queue = _farm.Open(o => o with { MaxQueued = 3 });
        QueueException? refused = null;
        var accepted = 0;
        // The broker refuses a little late.
        for (; accepted < 50 && refused is null; accepted++)
            refused = await Record.ExceptionAsync(async () => await queue.EnqueueAsync(Job($"j{accepted}"), default)) as QueueException;
        accepted--;
        Assert.True(refused?.IsFull, "It took 50 jobs.");
        Assert.Contains("holds MaxQueued (3) messages", refused!.Message, StringComparison.Ordinal);
        // Another line has room.
        await queue.EnqueueAsync(Job("backfill") with { Priority = JobPriority.Backfill }, default);
        for (var i = 0; i <= accepted; i++)
            await (await ReceiveAsync(queue)).CompleteAsync(default);
        await UntilAsync(async () => await Record.ExceptionAsync(async () => await queue.EnqueueAsync(Job("again"), default)) is null, "taking a job again");
        Assert.Equal("again", (await ReceiveAsync(queue)).Job.JobId);
    }

    [Fact]
    public async Task ManyOfEach_WithWorkersLostAtRandom_EveryJobIsDoneAtLeastOnce()
    {
        const int Publishers = 4, JobsEach = 50, Workers = 4;
        var seed = Environment.TickCount;
        var random = new Random(seed);
        var done = new System.Collections.Concurrent.ConcurrentDictionary<string, int>();
        // Every loss of a worker is one for each job that it holds, so that the limit may be met by chance.
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(async p =>
        {
            var queue = Open(readsReports: false);
            for (var i = 0; i < JobsEach; i++)
                await queue.EnqueueAsync(Job($"{p}-{i}") with { Deadline = i % 3 == 0 ? DateTimeOffset.UtcNow : null }, default);
        }));
        var working = Task.WhenAll(Enumerable.Range(0, Workers).Select(w => Task.Run(async () =>
        {
            var chance = new Random(seed + w);
            var queue = Open(readsReports: false);
            using var patience = new CancellationTokenSource(Patience);
            while (done.Count < Publishers * JobsEach)
            {
                using var briefly = CancellationTokenSource.CreateLinkedTokenSource(patience.Token);
                briefly.CancelAfter(200);
                JobDelivery delivery;
                try
                {
                    delivery = await queue.ReceiveAsync(briefly.Token);
                }
                catch (OperationCanceledException) when (!patience.IsCancellationRequested)
                {
                    continue;
                }

                switch (chance.Next(20))
                {
                    case 0:
                        await queue.DisposeAsync();
                        queue = Open(readsReports: false);
                        break;
                    case 1:
                        await delivery.ReleaseAsync(default);
                        break;
                    default:
                        done.AddOrUpdate(delivery.Job.JobId, 1, (_, n) => n + 1);
                        await delivery.CompleteAsync(default);
                        break;
                }
            }
        })));
        await publishing.WaitAsync(Patience);
        await working.WaitAsync(Patience);
        Assert.True(done.Count == Publishers * JobsEach, $"seed {seed}");
        await EmptyAsync(_farm.Open(Patient));

        RabbitJobQueue Open(bool readsReports)
        {
            lock (random)
                return _farm.Open(Patient, readsReports);
        }

        static BrokerOptions Patient(BrokerOptions options) => options with { DeliveryLimit = 100 };
    }

    [Fact]
    public async Task UnreadableMessages_AreMovedAside_AndNewerFormatsAreRefusedByName()
    {
        var queue = _farm.Open();
        await queue.EnqueueAsync(Job("good") with { Deadline = null }, default);
        await using (var raw = await RawAsync())
        {
            await raw.SendAsync($"{_farm.Options.Prefix}.jobs.hour", "not JSON");
            await raw.SendAsync($"{_farm.Options.Prefix}.jobs.hour", "{}");
            await raw.SendAsync($"{_farm.Options.Prefix}.jobs.hour", """{"format":2,"jobId":"new","trackId":"t","somethingElse":1}""");
            await raw.SendAsync($"{_farm.Options.Prefix}.jobs.dead", "[]");
            await raw.SendAsync($"{_farm.Options.Prefix}.reports", """{"format":7,"jobId":"x","trackId":"t"}""");
            await raw.SendAsync($"{_farm.Options.Prefix}.reports", """{"phase":"done"}""");
        }

        Assert.Equal("good", (await ReceiveAsync(queue)).Job.JobId);
        // Goes on reading, as an origin does.
        var reading = ReadEndsAsync(queue, 2);
        await using var look = await RawAsync();
        await UntilAsync(async () => await look.CountAsync($"{_farm.Options.Prefix}.unreadable") == 5, "moving five messages aside");
        await queue.ReportAsync(Report("last", JobPhase.Done), default);
        var report = (await reading)[0];
        Assert.Equal(("new", JobFailure.Internal), (report.JobId, report.Failure));
        Assert.Contains("format 2", report.Message, StringComparison.Ordinal);
        Assert.True(_farm.Log.Has("upgrade the origin"));
    }

    [Fact]
    public async Task QueueThatSomebodyDeleted_IsMadeAgain()
    {
        var queue = _farm.Open();
        await queue.EnqueueAsync(Job("a"), default);
        await using (var raw = await RawAsync())
            await raw.DeleteAsync($"{_farm.Options.Prefix}.jobs.hour");
        await queue.EnqueueAsync(Job("b"), default);
        Assert.Equal("b", (await ReceiveAsync(queue)).Job.JobId);
    }

    [Fact]
    public async Task Cancel_ReachesOtherProcesses_AndProgressReachesEveryOrigin_AndEndsOneOfThem()
    {
        var (one, two, worker) = (_farm.Open(), _farm.Open(), _farm.Open(readsReports: false));
        await one.EnqueueAsync(Job("a"), default);
        await one.EnqueueAsync(Job("b"), default);
        await UntilAsync(async () => two.Problem is null && (await one.MeasureAsync(default)).Total == 2, "two origins that are connected");
        var held = await ReceiveAsync(worker);
        await one.CancelAsync("a", default);
        await one.CancelAsync("b", default);
        await Until.TrueAsync(() => held.Cancelled.IsCancellationRequested, "telling the worker");
        var waited = await ReceiveAsync(worker);
        Assert.Equal(("b", true), (waited.Job.JobId, waited.Cancelled.IsCancellationRequested));

        await worker.ReportAsync(Report("a", JobPhase.Encode) with { Progress = 0.5 }, default);
        foreach (var origin in (RabbitJobQueue[])[one, two])
        {
            using var patience = new CancellationTokenSource(Patience);
            await foreach (var read in origin.ReadReportsAsync(patience.Token))
            {
                Assert.Equal(("a", 0.5), (read.Report.JobId, read.Report.Progress));
                break;
            }
        }

        await worker.ReportAsync(Report("a", JobPhase.Failed), default);
        // Not completed: given to the next that reads.
        using (var patience = new CancellationTokenSource(Patience))
        {
            await foreach (var read in one.ReadReportsAsync(patience.Token))
            {
                Assert.Equal("a", read.Report.JobId);
                break;
            }
        }

        Assert.Equal("a", Assert.Single(await ReadEndsAsync(two, 1)).JobId);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await ReadEndsAsync(worker, 1));
    }

    [Theory]
    [InlineData("amqp://guest:hunter2-secret@127.0.0.1:{port}/", "refuses the user name or the password")]
    [InlineData("amqp://guest:guest@127.0.0.1:{port}/nowhere", "does not open its virtual host")]
    [InlineData("amqp://guest:hunter2-secret@127.0.0.1:1/", "does not answer (ConnectionRefused)")]
    [InlineData("amqps://guest:hunter2-secret@127.0.0.1:{port}/", "does not speak TLS")]
    public async Task BrokerThatCannotBeUsed_IsAProblem_ThatSaysWhy_WithoutThePassword(string url, string why)
    {
        var queue = _farm.Open(o => o with { Url = url.Replace("{port}", $"{shared.Broker.Port}", StringComparison.Ordinal), OperationTimeout = TimeSpan.FromMilliseconds(200) });
        await Until.TrueAsync(() => queue.Problem?.Contains(why, StringComparison.Ordinal) == true || queue.Problem?.EndsWith("yet.", StringComparison.Ordinal) == false, "trying to connect");
        Assert.Contains(why, queue.Problem, StringComparison.Ordinal);
        var error = await Assert.ThrowsAsync<QueueException>(async () => await queue.EnqueueAsync(Job("a"), default));
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<QueueException>(async () => await queue.ReportAsync(Report("a", JobPhase.Done), default));
        await Assert.ThrowsAsync<QueueException>(async () => await queue.MeasureAsync(default));
        Assert.True(_farm.Log.Has("3103"));
        Assert.DoesNotContain("hunter2", string.Concat(_farm.Log.Lines) + error + queue.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OtherSettingsThanTheFarmHas_AreAProblem_ThatNamesTheQueue()
    {
        await _farm.Open().EnqueueAsync(Job("a"), default);
        var other = _farm.Open(o => o with { DeliveryLimit = 9 });
        await Until.TrueAsync(() => other.Problem?.EndsWith("yet.", StringComparison.Ordinal) == false, "trying to connect");
        Assert.Contains($"{_farm.Options.Prefix}.jobs.hour was made with other settings", other.Problem, StringComparison.Ordinal);
        Assert.Contains("x-delivery-limit", other.Problem, StringComparison.Ordinal);
    }

    private static TranscodeJob Job(string id) => new()
    {
        JobId = id,
        TrackId = "track",
        MasterKey = $"masters/track/{id}.wav",
        MasterSha256 = new string('0', 64),
        MasterBytes = 1,
        Ladder = "default-1",
        Deadline = DateTimeOffset.UnixEpoch,
    };

    private static JobReport Report(string id, JobPhase phase) => new() { JobId = id, TrackId = "track", Phase = phase };

    private static async Task<JobDelivery> ReceiveAsync(RabbitJobQueue queue)
    {
        using var patience = new CancellationTokenSource(Patience);
        return await queue.ReceiveAsync(patience.Token);
    }

    private static async Task<List<JobReport>> ReadEndsAsync(RabbitJobQueue queue, int count)
    {
        using var patience = new CancellationTokenSource(Patience);
        var ends = new List<JobReport>();
        await foreach (var read in queue.ReadReportsAsync(patience.Token))
        {
            await read.CompleteAsync(default);
            if (read.Report.Phase is JobPhase.Done or JobPhase.Failed)
                ends.Add(read.Report);
            if (ends.Count == count)
                break;
        }

        return ends;
    }

    /// <summary>Nothing waits, is delayed or dead, and nothing that somebody holds comes back.</summary>
    private async Task EmptyAsync(RabbitJobQueue queue)
    {
        await UntilAsync(async () => queue.Problem is null && (await queue.MeasureAsync(default)).Total == 0, "leaving nothing");
        await _farm.DisposeAsync();
        await using var raw = await RawAsync();
        foreach (var urgency in Enum.GetNames<JobUrgency>())
            Assert.Equal(0u, await raw.CountAsync($"{_farm.Options.Prefix}.jobs.{urgency.ToLowerInvariant()}"));
    }

    private static async Task UntilAsync(Func<Task<bool>> condition, string what)
    {
        var started = System.Diagnostics.Stopwatch.GetTimestamp();
        while (!await condition())
        {
            Assert.True(System.Diagnostics.Stopwatch.GetElapsedTime(started) < Patience, $"{what} did not happen in time.");
            await Task.Delay(25);
        }
    }

    private Task<RawBroker> RawAsync() => RawBroker.ConnectAsync(shared.Broker.Url);

    /// <summary>The broker as others see it.</summary>
    private sealed class RawBroker(IConnection connection, IChannel channel) : IAsyncDisposable
    {
        public static async Task<RawBroker> ConnectAsync(string url)
        {
            var connection = await new ConnectionFactory { Uri = new Uri(url) }.CreateConnectionAsync();
            return new RawBroker(connection, await connection.CreateChannelAsync(new CreateChannelOptions(true, true)));
        }

        public async Task SendAsync(string queue, string body) => await channel.BasicPublishAsync("", queue, mandatory: true, System.Text.Encoding.UTF8.GetBytes(body));

        public Task<uint> CountAsync(string queue) => channel.MessageCountAsync(queue);

        public Task<uint> DeleteAsync(string queue) => channel.QueueDeleteAsync(queue);

        public async ValueTask DisposeAsync() => await connection.DisposeAsync();
    }
}
