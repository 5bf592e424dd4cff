using System.Buffers;
using Delivery.Edge.Cache;

namespace Delivery.Edge.Objects;

/// <summary>Brings metadata back from the disk tier: after a restart, or when the object table had no room for it.</summary>
internal sealed class ObjectRecall(ChunkCache cache, ObjectTable objects)
{
    /// <summary>The object, now in the table; null when the disk tier does not know it, or knows it from before a purge.</summary>
    public ValueTask<EdgeObject?> FindAsync(string path) => cache.Disk is not null ? FindAsync(ObjectHash.OfPath(path)) : default;

    /// <inheritdoc cref="FindAsync(string)"/>
    public async ValueTask<EdgeObject?> FindAsync(ObjectHash path)
    {
        if (!cache.HasMetadata(path))
            return null;
        var buffer = ArrayPool<byte>.Shared.Rent(StoredObject.MaxBytes);
        try
        {
            var length = await cache.ReadMetadataAsync(path, buffer.AsMemory(0, StoredObject.MaxBytes));
            if (length == 0)
                return null;
            var known = StoredObject.Read(buffer.AsSpan(0, length), path);
            if (known is not null && known.Generation >= cache.GenerationOf(path))
            {
                known.HasStoredChunks = true;
                return objects.Add(known);
            }

            cache.DropMetadata(path);
            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
