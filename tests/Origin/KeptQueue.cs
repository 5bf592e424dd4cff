using System.Collections.Concurrent;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests;

/// <summary>The in-process queue as a broker looks to an origin: it lives longer than the origin's process. Counts what is enqueued.</summary>
internal sealed class KeptQueue(InProcessJobQueue inner) : IJobQueue
{
    public ConcurrentQueue<TranscodeJob> Enqueued { get; } = [];

    public bool OutlivesProcess => true;

    public string? Problem => null;

    public async ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken)
    {
        await inner.EnqueueAsync(job, cancellationToken);
        Enqueued.Enqueue(job);
    }

    public ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken) => inner.ReceiveAsync(cancellationToken);

    public ValueTask CancelAsync(string jobId, CancellationToken cancellationToken) => inner.CancelAsync(jobId, cancellationToken);

    public ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken) => inner.ReportAsync(report, cancellationToken);

    public IAsyncEnumerable<ReportDelivery> ReadReportsAsync(CancellationToken cancellationToken) => inner.ReadReportsAsync(cancellationToken);

    public ValueTask<QueueDepth> MeasureAsync(CancellationToken cancellationToken) => inner.MeasureAsync(cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
