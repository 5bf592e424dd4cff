using System.Threading.Channels;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// Reads the farm's reports. Progress goes to memory; ends go to the publishers, which try until the store takes them. When the store is
/// away, <see cref="Capacity"/> ends wait here and the rest in the queue, so that nothing is lost and memory stays bounded.
/// </summary>
internal sealed partial class ReportReader(IJobQueue queue, LiveJobs live, RenditionPublisher publisher, TimeProvider time, ILogger<ReportReader> logger)
{
    private const int Capacity = 256;

    /// <summary>Jobs published at once: publishing is a few dozen small writes, each a sync of the disk.</summary>
    private const int Publishers = 4;

    private readonly Channel<ReportDelivery> _ends = Channel.CreateBounded<ReportDelivery>(Capacity);

    public Task RunAsync(CancellationToken cancellationToken) =>
        Task.WhenAll([ReadAsync(cancellationToken), .. Enumerable.Range(0, Publishers).Select(_ => PublishAsync(cancellationToken))]);

    private async Task ReadAsync(CancellationToken cancellationToken)
    {
        for (var backoff = new Backoff(time); ;)
        {
            try
            {
                await foreach (var delivery in queue.ReadReportsAsync(cancellationToken))
                {
                    backoff = new Backoff(time);
                    if (delivery.Report.Phase is JobPhase.Done or JobPhase.Failed)
                    {
                        await _ends.Writer.WriteAsync(delivery, cancellationToken);
                    }
                    else
                    {
                        live.Saw(delivery.Report);
                        await delivery.CompleteAsync(cancellationToken);
                    }
                }

                return;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogQueueFailed(logger, e);
                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    private async Task PublishAsync(CancellationToken cancellationToken)
    {
        await foreach (var delivery in _ends.Reader.ReadAllAsync(cancellationToken))
        {
            for (var backoff = new Backoff(time); ;)
            {
                try
                {
                    await publisher.SettleAsync(delivery.Report, cancellationToken);
                    await delivery.CompleteAsync(cancellationToken);
                    break;
                }
                catch (CatalogCorruptException e)
                {
                    // No further try can help; completed, so that it does not come back for ever.
                    LogUnreadable(logger, delivery.Report.JobId, e.Message);
                    await delivery.CompleteAsync(cancellationToken);
                    break;
                }
                catch (Exception e) when (!cancellationToken.IsCancellationRequested)
                {
                    LogRetry(logger, e, delivery.Report.JobId);
                    await backoff.WaitAsync(cancellationToken);
                }
            }
        }
    }

    [LoggerMessage(2321, LogLevel.Warning, "The farm's reports cannot be read; it will be tried again")]
    private static partial void LogQueueFailed(ILogger logger, Exception exception);

    [LoggerMessage(2322, LogLevel.Warning, "The end of job {JobId} could not be recorded; it will be tried again")]
    private static partial void LogRetry(ILogger logger, Exception exception, string jobId);

    [LoggerMessage(2323, LogLevel.Error, "The end of job {JobId} cannot be recorded: {Reason}")]
    private static partial void LogUnreadable(ILogger logger, string jobId, string reason);
}
