namespace Delivery.Transcoder.Jobs;

/// <summary>
/// Jobs from the origin to workers, reports from workers to the origin; at least once in both directions. A worker holds a delivery, it
/// never owns a job: a delivery that is neither completed nor failed comes back. Embedded: in process, rebuilt from the catalog at start.
/// </summary>
public interface IJobQueue
{
    /// <summary>Accepts a job; when this returns, the job outlives the caller as far as the queue promises. A job already queued or held stays one.</summary>
    ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken);

    /// <summary>Waits for the most urgent job: earliest deadline first, then first in.</summary>
    ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken);

    /// <summary>Sends a report to the origin. Progress may be dropped under pressure; Done and Failed never are.</summary>
    ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken);

    /// <summary>Reports in the order each job's worker sent them. One reader.</summary>
    IAsyncEnumerable<JobReport> ReadReportsAsync(CancellationToken cancellationToken);
}

/// <summary>One job in a worker's hands.</summary>
public abstract class JobDelivery
{
    public abstract TranscodeJob Job { get; }

    /// <summary>From 1.</summary>
    public abstract int Attempt { get; }

    /// <summary>The job is settled (published, or failed for good): never deliver it again.</summary>
    public abstract ValueTask CompleteAsync(CancellationToken cancellationToken);

    /// <summary>Give it back, to be delivered again after <paramref name="delay"/>.</summary>
    public abstract ValueTask ReturnAsync(TimeSpan delay, CancellationToken cancellationToken);
}
