using Delivery.Edge.Cache.HotTier;

namespace Delivery.Edge.Cache;

/// <summary>The cache as the rest of the edge sees it: read from RAM, read from disk, write, purge, pin.</summary>
internal sealed class ChunkCache(HotTierStore hot, PurgeTable purges) : IDisposable
{
    public HotTierStore Hot => hot;

    /// <summary>The highest purge applied: what a fill that starts now is newer than.</summary>
    public long Sequence => purges.Sequence;

    /// <summary>Sequence of the last purge of a path; 0 without one.</summary>
    public long GenerationOf(ObjectHash path) => purges.GenerationOf(path);

    /// <summary>Whether a chunk can be read without upstream. No I/O, no allocation.</summary>
    public bool Contains(in ChunkKey key, int chunkLength) => hot.Contains(key, chunkLength);

    /// <summary>Copies a part of a chunk from RAM, filling <paramref name="destination"/>; false when it is not there.</summary>
    public bool TryReadHot(in ChunkKey key, int chunkLength, int offset, Span<byte> destination) => hot.TryRead(key, chunkLength, offset, destination);

    /// <summary>Queues a chunk; never waits. <see cref="Admission.Settled"/> is called in every case.</summary>
    public void Write(in Admission chunk) => hot.Write(chunk);

    /// <summary>
    /// Makes everything unreachable that was fetched for a path before now. When this returns, it holds also across a crash. An older or repeated sequence changes nothing.
    /// </summary>
    public void Purge(ObjectHash path, long sequence) => purges.Raise(path, sequence);

    /// <summary>As <see cref="Purge"/>, for every path.</summary>
    public void PurgeAll(long sequence) => purges.RaiseAll(sequence);

    public void Dispose() => hot.Dispose();
}
