using Delivery.Edge.Cache;
using Delivery.Edge.Objects;

namespace Delivery.Edge.Purges;

/// <summary>
/// Makes the edge forget. In this order: the cache (durable), then the object table. A request that started before goes on with what it has; none that starts after
/// is given a byte that was fetched before.
/// </summary>
internal sealed class Purger(ChunkCache cache, ObjectTable objects)
{
    /// <summary>The highest sequence applied.</summary>
    public long Sequence => cache.Sequence;

    /// <exception cref="IOException">The purge is in effect, but would be forgotten in a crash: it is to be repeated before it is acknowledged.</exception>
    public void Purge(string path, long sequence)
    {
        try
        {
            cache.Purge(ObjectHash.OfPath(path), sequence);
        }
        finally
        {
            objects.Remove(path);
        }
    }

    /// <exception cref="IOException">As with <see cref="Purge"/>.</exception>
    public void PurgeAll(long sequence)
    {
        try
        {
            cache.PurgeAll(sequence);
        }
        finally
        {
            objects.Clear();
        }
    }
}
