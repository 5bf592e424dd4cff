using System.Globalization;
using System.Net;
using Delivery.ObjectStore;

namespace Delivery.Cli.Soak;

/// <summary>
/// Replaces objects in the store and purges them at the edge, at seeded moments. After the acknowledgement no response that starts may carry the version before,
/// whatever is killed: the same purge, with the same sequence, is sent until an edge acknowledges it.
/// </summary>
internal sealed class Purger(SoakCatalog catalog, LiveEdge edge, FileStore store, SemaphoreSlim storeInPlace, SoakTally tally, ulong seed)
{
    private static readonly TimeSpan MeanPause = TimeSpan.FromMilliseconds(400);

    private readonly Random _random = new((int)(seed * 17 + 3));
    private readonly SoakExchange _exchange = new(tally);
    private readonly List<SoakObject> _purged = [];
    private long _acknowledged;
    private long _repeated;

    /// <summary>Purges that an edge acknowledged.</summary>
    public long Acknowledged => Volatile.Read(ref _acknowledged);

    /// <summary>Times that a purge was sent again because a kill took its answer away.</summary>
    public long Repeated => Volatile.Read(ref _repeated);

    /// <summary>The last objects whose purge is acknowledged, latest first.</summary>
    public IReadOnlyList<SoakObject> Latest(int count)
    {
        lock (_purged)
            return [.. Enumerable.Reverse(_purged).Distinct().Take(count)];
    }

    public async Task RunAsync(CancellationToken ending)
    {
        try
        {
            for (long sequence = 1; ; sequence++)
            {
                await Task.Delay(MeanPause * -Math.Log(1 - _random.NextDouble()), ending);
                var target = catalog.Pick(_random);
                while (!target.IsMutable)
                    target = catalog.Pick(_random);
                // Half of the time somebody has just heard it: the edge then holds the version that must go.
                if (_random.Next(2) == 0)
                    await _exchange.RunAsync((await edge.WaitAsync(ending)).Door, target, Ask.Whole(target), storeIsAway: false, ending);
                await ReplaceAsync(target, ending);
                await PurgeAsync(target, sequence, ending);
                await _exchange.RunAsync((await edge.WaitAsync(ending)).Door, target, Ask.Part(target, 0, 64 * 1024), storeIsAway: false, ending);
            }
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
        }
    }

    private async Task ReplaceAsync(SoakObject target, CancellationToken ending)
    {
        await storeInPlace.WaitAsync(ending);
        try
        {
            var version = target.BeginReplacement();
            await SoakCatalog.WriteAsync(store, target.Key, target.Content(version), target.Length, ending);
        }
        finally
        {
            storeInPlace.Release();
        }
    }

    private async Task PurgeAsync(SoakObject target, long sequence, CancellationToken ending)
    {
        while (true)
        {
            var life = await edge.WaitAsync(ending);
            try
            {
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(ending);
                patience.CancelAfter(SoakExchange.Patience);
                using var response = await life.Admin.PostAsync(string.Create(CultureInfo.InvariantCulture, $"/purge?path={target.Path}&sequence={sequence}"), null, patience.Token);
                if (response.StatusCode == HttpStatusCode.NoContent)
                {
                    // From here on: no older version.
                    target.EndReplacement();
                    Interlocked.Increment(ref _acknowledged);
                    lock (_purged)
                        _purged.Add(target);
                    return;
                }

                tally.Report(SoakFault.PurgeRefused, $"purge of {target.Path}: {(int)response.StatusCode}");
            }
            catch (HttpRequestException e)
            {
                if (!life.Killed)
                    tally.Report(SoakFault.PurgeRefused, $"purge of {target.Path}: {e.Message}");
            }
            catch (OperationCanceledException) when (!ending.IsCancellationRequested)
            {
                tally.Report(SoakFault.Hung, $"purge of {target.Path}: no answer for {SoakExchange.Patience.TotalSeconds} s");
            }

            Interlocked.Increment(ref _repeated);
            // A refusal is not answered by asking faster.
            await Task.Delay(50, ending);
        }
    }
}
