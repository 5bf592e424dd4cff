using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests;

/// <summary>A queue that can be away while jobs are in work: what is said to it then fails, as with a broker that is lost.</summary>
internal sealed class AwayQueue(IJobQueue inner) : IJobQueue
{
    private int _refused;

    /// <summary>Calls that failed because it was away.</summary>
    public int Refused => Volatile.Read(ref _refused);

    /// <summary>Ends that failed because it was away.</summary>
    public int RefusedEnds { get; private set; }

    public bool IsAway { get; set; }

    public bool OutlivesProcess => inner.OutlivesProcess;

    public string? Problem => IsAway ? "the broker is away" : inner.Problem;

    public ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken) => inner.EnqueueAsync(job, cancellationToken);

    public async ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken) => new AwayDelivery(this, await inner.ReceiveAsync(cancellationToken));

    public ValueTask CancelAsync(string jobId, CancellationToken cancellationToken) => inner.CancelAsync(jobId, cancellationToken);

    public ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken)
    {
        if (IsAway && report.Phase is JobPhase.Done or JobPhase.Failed)
            RefusedEnds++;
        MustBeHere();
        return inner.ReportAsync(report, cancellationToken);
    }

    public IAsyncEnumerable<ReportDelivery> ReadReportsAsync(CancellationToken cancellationToken) => inner.ReadReportsAsync(cancellationToken);

    public ValueTask<QueueDepth> MeasureAsync(CancellationToken cancellationToken) => inner.MeasureAsync(cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private void MustBeHere()
    {
        if (!IsAway)
            return;
        Interlocked.Increment(ref _refused);
        throw new QueueException("the broker is away");
    }

    private sealed class AwayDelivery(AwayQueue queue, JobDelivery inner) : JobDelivery
    {
        public override TranscodeJob Job => inner.Job;

        public override int Attempt => inner.Attempt;

        public override int Losses => inner.Losses;

        public override DateTimeOffset? FailingSince => inner.FailingSince;

        public override CancellationToken Cancelled => inner.Cancelled;

        public override ValueTask CompleteAsync(CancellationToken cancellationToken)
        {
            queue.MustBeHere();
            return inner.CompleteAsync(cancellationToken);
        }

        public override ValueTask RetryAsync(TimeSpan delay, DateTimeOffset failingSince, CancellationToken cancellationToken)
        {
            queue.MustBeHere();
            return inner.RetryAsync(delay, failingSince, cancellationToken);
        }

        public override ValueTask ReleaseAsync(CancellationToken cancellationToken)
        {
            queue.MustBeHere();
            return inner.ReleaseAsync(cancellationToken);
        }
    }
}
