using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace Delivery.Transcoder.Jobs;

/// <summary>
/// The embedded queue: jobs and reports within one process. It forgets everything when the process ends; the origin enqueues every track
/// without a result again at start, and a worker answers at once for a master whose result is already in the store.
/// </summary>
/// <remarks>
/// <code>
/// EnqueueAsync ─▶ ready (priority, deadline, arrival) ─▶ held by a worker ─▶ CompleteAsync, or a report Done/Failed ─▶ forgotten
///                   ▲                                        │
///                   └──────── delayed (TimeProvider) ◀───────┘ RetryAsync, ReleaseAsync
/// </code>
/// Bounds: <see cref="DefaultCapacity"/> jobs queued, delayed or held, past which <see cref="EnqueueAsync"/> waits;
/// <see cref="MaxUnreadReports"/> unread final reports, past which <see cref="ReportAsync"/> waits. Of progress, only the newest of each job is kept.
/// </remarks>
public sealed class InProcessJobQueue : IJobQueue
{
    /// <summary>About 100 bytes each: a backlog of 50,000 tracks is two days of work for a 16-core worker and a few megabytes.</summary>
    public const int DefaultCapacity = 50_000;

    /// <summary>Far above what an origin that reads at all can fall behind.</summary>
    public const int MaxUnreadReports = 10_000;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly Dictionary<string, Entry> _jobs = [];
    private readonly Channel<Entry> _ready = Channel.CreateUnboundedPrioritized(new UnboundedPrioritizedChannelOptions<Entry> { Comparer = Entry.ByUrgency });
    private readonly SemaphoreSlim _room;
    private readonly LinkedList<JobReport> _reports = [];
    private readonly Dictionary<string, LinkedListNode<JobReport>> _unreadProgress = [];
    private readonly SemaphoreSlim _reportRoom = new(MaxUnreadReports, MaxUnreadReports);
    private readonly SemaphoreSlim _unreadReports = new(0);
    private long _arrivals;

    /// <param name="time">Clock of returns with delay; null: the system's.</param>
    /// <param name="capacity">Jobs queued, delayed or held at once, 1 to 1,000,000.</param>
    public InProcessJobQueue(TimeProvider? time = null, int capacity = DefaultCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, 1_000_000);
        _time = time ?? TimeProvider.System;
        _room = new SemaphoreSlim(capacity, capacity);
    }

    public bool OutlivesProcess => false;

    public string? Problem => null;

    /// <inheritdoc/>
    /// <remarks>Waits while the queue is full. A job that is queued or held already stays one.</remarks>
    public async ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(job);
        lock (_lock)
        {
            if (_jobs.ContainsKey(job.JobId))
                return;
        }

        await _room.WaitAsync(cancellationToken);
        lock (_lock)
        {
            var entry = new Entry(job, _arrivals++);
            if (_jobs.TryAdd(job.JobId, entry))
                _ready.Writer.TryWrite(entry);
            else
                _room.Release(); // Another caller enqueued it while this one waited for room.
        }
    }

    /// <inheritdoc/>
    public async ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var entry = await _ready.Reader.ReadAsync(cancellationToken);
            lock (_lock)
            {
                if (IsCurrent(entry))
                {
                    entry.IsWaiting = false;
                    return new Delivery(this, entry);
                }
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask CancelAsync(string jobId, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (!_jobs.TryGetValue(jobId, out var entry))
                return ValueTask.CompletedTask;
            if (entry.IsWaiting)
            {
                Settle(jobId);
                return ValueTask.CompletedTask;
            }

            // Its worker answers, as with any other end. Off this thread: whoever listens may take long, and this holds the lock.
            return new ValueTask(entry.Cancelling.CancelAsync());
        }
    }

    /// <inheritdoc/>
    public ValueTask<QueueDepth> MeasureAsync(CancellationToken cancellationToken)
    {
        var now = _time.GetUtcNow();
        var waiting = Enum.GetValues<JobUrgency>().ToDictionary(u => u, _ => 0L);
        lock (_lock)
        {
            foreach (var entry in _jobs.Values)
            {
                if (entry is { IsWaiting: true, Delay: null })
                    waiting[entry.Job.Urgency(now)]++;
            }

            return new(new QueueDepth(waiting, _jobs.Values.Count(e => e.Delay is not null), 0));
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// A final report (Done, Failed) also settles its job, so that an origin that answers a failure by enqueueing the job again is not taken
    /// for a duplicate of the delivery that the worker is about to complete.
    /// </remarks>
    public async ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(report);
        var isFinal = report.Phase is JobPhase.Done or JobPhase.Failed;
        if (isFinal)
            await _reportRoom.WaitAsync(cancellationToken);
        lock (_lock)
        {
            if (_unreadProgress.TryGetValue(report.JobId, out var unread))
            {
                // In its place in line: newer progress makes older pointless, and so does the end.
                unread.Value = report;
                if (isFinal)
                {
                    _unreadProgress.Remove(report.JobId);
                    Settle(report.JobId);
                }

                return;
            }

            var node = _reports.AddLast(report);
            if (isFinal)
                Settle(report.JobId);
            else
                _unreadProgress.Add(report.JobId, node);
        }

        _unreadReports.Release();
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<ReportDelivery> ReadReportsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (true)
        {
            await _unreadReports.WaitAsync(cancellationToken);
            JobReport report;
            lock (_lock)
            {
                report = _reports.First!.Value;
                _reports.RemoveFirst();
                if (report.Phase is JobPhase.Done or JobPhase.Failed)
                    _reportRoom.Release();
                else
                    _unreadProgress.Remove(report.JobId);
            }

            yield return new ReadReport(report);
        }
    }

    /// <summary>Stops the clocks of delayed jobs. Nothing else may be under way.</summary>
    public ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            foreach (var entry in _jobs.Values)
                entry.Delay?.Dispose();
            _jobs.Clear();
        }

        _room.Dispose();
        _reportRoom.Dispose();
        _unreadReports.Dispose();
        return ValueTask.CompletedTask;
    }

    private bool IsCurrent(Entry entry) => _jobs.TryGetValue(entry.Job.JobId, out var current) && current == entry;

    private void Settle(string jobId)
    {
        if (!_jobs.Remove(jobId, out var entry))
            return;
        entry.Delay?.Dispose();
        _room.Release();
    }

    private void Complete(Entry entry)
    {
        lock (_lock)
        {
            // Not when the id was settled by a report and enqueued anew since.
            if (IsCurrent(entry))
                Settle(entry.Job.JobId);
        }
    }

    private void Return(Entry entry, TimeSpan delay, int attempt, DateTimeOffset? failingSince)
    {
        lock (_lock)
        {
            if (!IsCurrent(entry))
                return;
            (entry.Attempt, entry.FailingSince, entry.IsWaiting) = (attempt, failingSince, true);
            if (delay <= TimeSpan.Zero)
                _ready.Writer.TryWrite(entry);
            else
                entry.Delay = _time.CreateTimer(state => MakeReady((Entry)state!), entry, delay, Timeout.InfiniteTimeSpan);
        }
    }

    private void MakeReady(Entry entry)
    {
        lock (_lock)
        {
            entry.Delay?.Dispose();
            entry.Delay = null;
            if (IsCurrent(entry))
                _ready.Writer.TryWrite(entry);
        }
    }

    private sealed class Entry(TranscodeJob job, long arrival)
    {
        /// <summary>Releases before backfills, earliest deadline first, then first in; a returned job keeps its place.</summary>
        public static readonly Comparer<Entry> ByUrgency = Comparer<Entry>.Create(static (a, b) =>
        {
            if (a.Job.Priority != b.Job.Priority)
                return a.Job.Priority.CompareTo(b.Job.Priority);
            var byDeadline = (a.Job.Deadline ?? DateTimeOffset.MaxValue).CompareTo(b.Job.Deadline ?? DateTimeOffset.MaxValue);
            return byDeadline != 0 ? byDeadline : a.Arrival.CompareTo(b.Arrival);
        });

        public TranscodeJob Job { get; } = job;

        public long Arrival { get; } = arrival;

        public int Attempt { get; set; } = 1;

        public DateTimeOffset? FailingSince { get; set; }

        /// <summary>Ready or delayed; false while a worker holds it.</summary>
        public bool IsWaiting { get; set; } = true;

        public ITimer? Delay { get; set; }

        public CancellationTokenSource Cancelling { get; } = new();
    }

    private sealed class Delivery(InProcessJobQueue queue, Entry entry) : JobDelivery
    {
        private int _settled;

        public override TranscodeJob Job => entry.Job;

        public override int Attempt { get; } = entry.Attempt;

        /// <summary>A worker of this process is lost together with the queue.</summary>
        public override int Losses => 0;

        public override DateTimeOffset? FailingSince { get; } = entry.FailingSince;

        public override CancellationToken Cancelled => entry.Cancelling.Token;

        public override ValueTask CompleteAsync(CancellationToken cancellationToken)
        {
            if (Interlocked.Exchange(ref _settled, 1) == 0)
                queue.Complete(entry);
            return ValueTask.CompletedTask;
        }

        public override ValueTask RetryAsync(TimeSpan delay, DateTimeOffset failingSince, CancellationToken cancellationToken)
        {
            if (Interlocked.Exchange(ref _settled, 1) == 0)
                queue.Return(entry, delay, Attempt + 1, failingSince);
            return ValueTask.CompletedTask;
        }

        public override ValueTask ReleaseAsync(CancellationToken cancellationToken)
        {
            if (Interlocked.Exchange(ref _settled, 1) == 0)
                queue.Return(entry, TimeSpan.Zero, Attempt, FailingSince);
            return ValueTask.CompletedTask;
        }
    }

    private sealed class ReadReport(JobReport report) : ReportDelivery
    {
        public override JobReport Report => report;

        public override ValueTask CompleteAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
    }
}
