using Delivery.Edge.Cache.HotTier;
using System.Collections.Concurrent;

namespace Delivery.Edge.Fills;

/// <summary>
/// The bounded pool of chunk buffers. A fill reserves all the buffers of its run before it opens upstream, so fills never hold some while they
/// wait for more; every buffer comes back when its chunk is written to the hot tier (or refused) and no reader copies from it.
/// </summary>
internal sealed class FillBuffers(int capacity) : IDisposable
{
    private readonly SemaphoreSlim _free = new(capacity, capacity);
    private readonly ConcurrentBag<ChunkBuffer> _idle = [];

    public int Capacity { get; } = capacity;

    /// <summary>Buffers reserved and not returned.</summary>
    public int InUse => Capacity - _free.CurrentCount;

    /// <summary>Reserves up to <paramref name="wanted"/> buffers without waiting; says how many.</summary>
    public int TryReserve(int wanted)
    {
        var reserved = 0;
        while (reserved < wanted && _free.Wait(0))
            reserved++;
        return reserved;
    }

    /// <summary>Reserves one buffer, first come, first served.</summary>
    public Task ReserveOneAsync(CancellationToken cancellationToken) => _free.WaitAsync(cancellationToken);

    /// <summary>A buffer for a reservation made before.</summary>
    public ChunkBuffer Take() => _idle.TryTake(out var buffer) ? buffer : new();

    public void Return(ChunkBuffer buffer)
    {
        _idle.Add(buffer);
        _free.Release();
    }

    public void ReturnUnused(int reservations)
    {
        if (reservations > 0)
            _free.Release(reservations);
    }

    public void Dispose() => _free.Dispose();
}
