namespace Delivery.Edge.Cache;

/// <summary>What every record of the cache says of itself, in RAM and on disk; the bytes come on top.</summary>
/// <param name="Key">The chunk; for metadata, <see cref="MetadataKey"/> of the path.</param>
/// <param name="Path">The object's path, as <see cref="ObjectHash.OfPath"/>.</param>
/// <param name="Sequence">Control-log sequence that the cache had applied when the fill <i>started</i>.</param>
/// <param name="Length">Bytes of the chunk, 1 to <see cref="Chunk.SizeBytes"/>.</param>
internal readonly record struct CacheRecord(ChunkKey Key, ObjectHash Path, long Sequence, int Length)
{
    /// <summary>An index that no chunk has: the record holds the object's metadata.</summary>
    public const long MetadataIndex = -1;

    public bool IsMetadata => Key.Index == MetadataIndex;

    /// <summary>The object's first 128 KiB: what a listener waits for.</summary>
    public bool IsHead => Key.Index == 0;

    /// <summary>Metadata goes by path alone: a later record replaces an earlier one, whatever the version.</summary>
    public static ChunkKey MetadataKey(ObjectHash path) => new(path, MetadataIndex);
}
