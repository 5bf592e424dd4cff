using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>Where a hit's bytes go. The destination is pinned by the caller for the length of the (synchronous) read.</summary>
internal unsafe struct ChunkRead
{
    public byte* Destination;
    public int Offset;
    public int Count;
    public int ChunkLength;
    public ulong Check;
}

/// <summary>
/// FASTER's callbacks. The readers run inside the epoch, where the page cannot be reused: the one copy of a hit happens here, straight
/// into the response's buffer. No await, no lock, no log in them.
/// </summary>
internal sealed class ChunkFunctions : FunctionsBase<ChunkKey, SpanByte, ChunkRead, bool, Empty>
{
    public override bool SingleReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = Copy(ref input, ref value);

    public override bool ConcurrentReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = Copy(ref input, ref value);

    public override bool SingleWriter(ref ChunkKey key, ref ChunkRead input, ref SpanByte src, ref SpanByte dst, ref bool output, ref UpsertInfo upsertInfo, WriteReason reason)
    {
        src.CopyTo(ref dst);
        return true;
    }

    /// <summary>Chunks are immutable and readers take no lock: a second write of the same key must not touch the first one's bytes.</summary>
    public override bool ConcurrentWriter(ref ChunkKey key, ref ChunkRead input, ref SpanByte src, ref SpanByte dst, ref bool output, ref UpsertInfo upsertInfo)
    {
        upsertInfo.Action = UpsertAction.CancelOperation;
        return false;
    }

    private static unsafe bool Copy(ref ChunkRead input, ref SpanByte value) =>
        ChunkValue.TryCopy(value.AsReadOnlySpan(), input.Check, input.ChunkLength, input.Offset, new(input.Destination, input.Count));
}
