using System.Threading.Channels;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// Brings queued tracks to the job queue. What it holds is only a hint: the manifests say what is queued, each is read again before its
/// job goes out, and a sweep over them finds whatever a hint was lost for, at start and when the hints overflow.
/// </summary>
internal sealed partial class JobDispatcher(IJobQueue queue, CatalogStore catalog, ReadModel model, TimeProvider time, ILogger<JobDispatcher> logger)
{
    /// <summary>Track ids waiting to be enqueued; one more asks for a sweep instead.</summary>
    private const int Capacity = 10_000;

    private readonly Channel<string> _offered = Channel.CreateBounded<string>(new BoundedChannelOptions(Capacity) { SingleReader = true });
    private readonly Channel<bool> _sweeps = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>The track's newest master wants a job. Returns at once.</summary>
    public void Offer(string trackId)
    {
        if (!_offered.Writer.TryWrite(trackId))
            Sweep();
    }

    /// <summary>Every track that the read model knows as queued wants a job.</summary>
    public void Sweep() => _sweeps.Writer.TryWrite(true);

    public async Task RunAsync(CancellationToken cancellationToken) => await Task.WhenAll(RunOffersAsync(cancellationToken), RunSweepsAsync(cancellationToken));

    private async Task RunOffersAsync(CancellationToken cancellationToken)
    {
        await foreach (var trackId in _offered.Reader.ReadAllAsync(cancellationToken))
            await EnqueueAsync(trackId, cancellationToken);
    }

    private async Task RunSweepsAsync(CancellationToken cancellationToken)
    {
        await foreach (var _ in _sweeps.Reader.ReadAllAsync(cancellationToken))
        {
            var enqueued = 0;
            foreach (var track in model.Tracks.Values)
            {
                if (track.State != MasterState.Queued)
                    continue;
                await EnqueueAsync(track.TrackId, cancellationToken);
                enqueued++;
            }

            if (enqueued > 0)
                LogSwept(logger, enqueued);
        }
    }

    private async Task EnqueueAsync(string trackId, CancellationToken cancellationToken)
    {
        for (var backoff = new Backoff(time); ;)
        {
            try
            {
                if (await catalog.ReadTrackAsync(trackId, cancellationToken) is not { State: MasterState.Queued } track)
                    return;
                var release = await catalog.ReadReleaseAsync(track.ReleaseId, cancellationToken);
                await queue.EnqueueAsync(track.Job(release?.Document.AvailableFrom)!, cancellationToken);
                return;
            }
            catch (CatalogCorruptException e)
            {
                LogUnreadable(logger, trackId, e.Message);
                return;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                // The queue or the store is away; both come back, and the job must not be lost.
                LogRetry(logger, e, trackId);
                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    [LoggerMessage(2301, LogLevel.Information, "{Count} queued tracks were handed to the farm again")]
    private static partial void LogSwept(ILogger logger, int count);

    [LoggerMessage(2302, LogLevel.Warning, "The job of track {TrackId} could not be enqueued; it will be tried again")]
    private static partial void LogRetry(ILogger logger, Exception exception, string trackId);

    [LoggerMessage(2303, LogLevel.Error, "The job of track {TrackId} cannot be enqueued: {Reason}")]
    private static partial void LogUnreadable(ILogger logger, string trackId, string reason);
}
