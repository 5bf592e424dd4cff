using Delivery.Origin.Catalog;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// Reads the catalog at start, finishes what an earlier process left half done (queued tracks without a job, renditions not yet retired), and
/// then keeps the lists up with other origins.
/// </summary>
internal sealed partial class CatalogUpkeep(
    ReadModel model, JobDispatcher dispatcher, RenditionPublisher publisher, TimeSpan refresh, TimeProvider time, ILogger<CatalogUpkeep> logger)
{
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await PersistAsync(model.CatchUpAsync, cancellationToken);
        dispatcher.Sweep();
        foreach (var track in model.Tracks.Values.Where(t => t.Retires))
            await PersistAsync(token => publisher.RetireAsync(track.TrackId, token), cancellationToken);

        using var timer = new PeriodicTimer(refresh, time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
            await PersistAsync(model.CatchUpAsync, cancellationToken);
    }

    private async Task PersistAsync(Func<CancellationToken, Task> work, CancellationToken cancellationToken)
    {
        for (var backoff = new Backoff(time); ;)
        {
            try
            {
                await work(cancellationToken);
                return;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogRetry(logger, e);
                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    [LoggerMessage(2331, LogLevel.Warning, "The catalog cannot be read; it will be tried again")]
    private static partial void LogRetry(ILogger logger, Exception exception);
}
