using System.Threading.Channels;
using Delivery.Edge.Cache;
using Delivery.Edge.Objects;

namespace Delivery.Edge.Fills;

/// <summary>
/// Fetches again what the disk tier found bad, one chunk at a time, so that a rotten disk does not become a load on upstream. What it cannot do is left to the next listener's miss.
/// </summary>
internal sealed class ChunkRepair : IAsyncDisposable
{
    /// <summary>Records that may wait. At the bound a record is not repaired, and counted.</summary>
    private const int MaxWaiting = 256;

    private readonly Channel<CacheRecord> _damaged = Channel.CreateBounded<CacheRecord>(new BoundedChannelOptions(MaxWaiting) { FullMode = BoundedChannelFullMode.Wait, SingleReader = true });
    private readonly ObjectTable _objects;
    private readonly ObjectRecall _recall;
    private readonly FillTable _fills;
    private readonly Task _running;
    private long _repaired;
    private long _given;

    public ChunkRepair(ObjectTable objects, ObjectRecall recall, FillTable fills)
    {
        (_objects, _recall, _fills) = (objects, recall, fills);
        _running = RunAsync();
    }

    /// <summary>Chunks fetched again.</summary>
    public long Repaired => Volatile.Read(ref _repaired);

    /// <summary>Chunks left to the next miss: too many at once, of an object that is no longer known, or upstream failed.</summary>
    public long Left => Volatile.Read(ref _given);

    public void Add(CacheRecord record)
    {
        if (!_damaged.Writer.TryWrite(record))
            Interlocked.Increment(ref _given);
    }

    public async ValueTask DisposeAsync()
    {
        _damaged.Writer.TryComplete();
        while (_damaged.Reader.TryRead(out _))
        {
        }

        await _running;
    }

    private async Task RunAsync()
    {
        await foreach (var record in _damaged.Reader.ReadAllAsync())
        {
            if (await RepairAsync(record))
                Interlocked.Increment(ref _repaired);
            else
                Interlocked.Increment(ref _given);
        }
    }

    private async Task<bool> RepairAsync(CacheRecord record)
    {
        // Metadata comes with the next chunk that is written.
        if (record.IsMetadata)
            return false;
        var known = _objects.FindByHash(record.Path) ?? await _recall.FindAsync(record.Path);
        // Of another version, or from before a purge: nobody misses it.
        if (known is not { Exists: true } || known.Hash != record.Key.Object || record.Key.Index >= Chunk.CountOf(known.Length))
            return false;
        using var lease = _fills.JoinOrLead(new(known.Path, known.Key, known, record.Key.Index, Wanted: 1) { Refill = true, IsRepeated = true });
        if (lease is null)
            return false;
        while (lease.Outcome == FillOutcome.Running)
            await lease.EndAsync();
        return lease.Outcome == FillOutcome.Completed;
    }
}
