namespace Delivery.Transcoder.Jobs;

/// <summary>
/// Jobs from the origin to workers, reports from workers to the origin; at least once in both directions. A worker holds a delivery, it
/// never owns a job: a delivery that nobody settled comes back when its worker is lost. So every job may be delivered twice, to two workers at
/// once, and every report may be read twice: what they do must bear it. Two drivers: in process (rebuilt from the catalog at start), RabbitMQ.
/// </summary>
public interface IJobQueue : IAsyncDisposable
{
    /// <summary>Whether jobs stay when this process ends: what was enqueued before need not be enqueued again.</summary>
    bool OutlivesProcess { get; }

    /// <summary>Why nothing can be sent or received just now, in one sentence; null when it can.</summary>
    string? Problem { get; }

    /// <summary>Accepts a job; when this returns, the job outlives the caller as far as the queue promises.</summary>
    ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken);

    /// <summary>Waits for the most urgent job (<see cref="JobUrgency"/>), the first in of those that are alike; the in-process queue orders by the deadline itself.</summary>
    ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Nobody wants the job any more: workers that hold it are told (<see cref="JobDelivery.Cancelled"/>), one that waits is not worked on. To save
    /// work, not to be relied on: a worker that is away while this is said does not hear it.
    /// </summary>
    ValueTask CancelAsync(string jobId, CancellationToken cancellationToken);

    /// <summary>Sends a report to the origin. Progress may be dropped under pressure; Done and Failed never are.</summary>
    ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken);

    /// <summary>Reports in the order each job's worker sent them. One reader in each process.</summary>
    IAsyncEnumerable<ReportDelivery> ReadReportsAsync(CancellationToken cancellationToken);

    /// <summary>How much waits, for operators and autoscalers; asks the broker where there is one.</summary>
    ValueTask<QueueDepth> MeasureAsync(CancellationToken cancellationToken);
}

/// <summary>One job in a worker's hands. Settled once, by one of three calls; later calls change nothing.</summary>
public abstract class JobDelivery
{
    public abstract TranscodeJob Job { get; }

    /// <summary>From 1; counts answered tries and losses.</summary>
    public abstract int Attempt { get; }

    /// <summary>How many deliveries of this try ended without a word: each took a worker with it, or its connection.</summary>
    public abstract int Losses { get; }

    /// <summary>When the passing fault began that the tries before this one met; null: none did.</summary>
    public abstract DateTimeOffset? FailingSince { get; }

    /// <summary>Cancelled when nobody wants the job any more.</summary>
    public abstract CancellationToken Cancelled { get; }

    /// <summary>The job is settled (published, or failed for good): never deliver it again.</summary>
    public abstract ValueTask CompleteAsync(CancellationToken cancellationToken);

    /// <summary>A passing fault: deliver it again, as the next attempt, after <paramref name="delay"/>.</summary>
    public abstract ValueTask RetryAsync(TimeSpan delay, DateTimeOffset failingSince, CancellationToken cancellationToken);

    /// <summary>The worker stops: deliver it to another at once, as the same attempt.</summary>
    public abstract ValueTask ReleaseAsync(CancellationToken cancellationToken);
}

/// <summary>One report in the origin's hands; one that is not completed is read again, by this origin or another.</summary>
public abstract class ReportDelivery
{
    public abstract JobReport Report { get; }

    public abstract ValueTask CompleteAsync(CancellationToken cancellationToken);
}

/// <param name="Waiting">Jobs that a worker could take now, by <see cref="JobUrgency"/>.</param>
/// <param name="Delayed">Jobs that wait for their next attempt.</param>
/// <param name="Dead">Jobs that took too many workers with them and whose failure no origin has recorded yet.</param>
public sealed record QueueDepth(IReadOnlyDictionary<JobUrgency, long> Waiting, long Delayed, long Dead)
{
    public long Total => Waiting.Values.Sum() + Delayed + Dead;
}
