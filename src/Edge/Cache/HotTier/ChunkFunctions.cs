using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>Where a hit's bytes go. The destination is pinned by the caller for the length of the (synchronous) read.</summary>
internal unsafe struct ChunkRead
{
    /// <summary>As <see cref="ChunkLength"/>, for a read of no bytes: is the chunk there at all?</summary>
    public const int AnyLength = -1;

    public byte* Destination;
    public int Offset;
    public int Count;
    public int ChunkLength;
    public ulong Check;

    /// <summary>The read counts as a use of the chunk (<see cref="ChunkValue"/>).</summary>
    public bool IsUse;

    /// <summary>The chunk's uses, if this read has added one.</summary>
    public byte UsesNow;

    /// <summary>Set by the writer's reads: where the record lies.</summary>
    public long Address;
}

/// <summary>
/// FASTER's callbacks for the readers. They run inside the epoch, where the page cannot be reused: the one copy of a hit happens here, straight
/// into the response's buffer. No await, no lock, no log in them.
/// </summary>
internal sealed class ChunkFunctions : FunctionsBase<ChunkKey, SpanByte, ChunkRead, bool, Empty>
{
    public override bool SingleReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = ChunkValue.TryCopy(ref value, ref input);

    public override bool ConcurrentReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = ChunkValue.TryCopy(ref value, ref input);
}

/// <summary>FASTER's callbacks for the one writer: it appends, and reads values whole, headers included.</summary>
internal sealed class ChunkWriter : FunctionsBase<ChunkKey, SpanByte, ChunkRead, bool, Empty>
{
    /// <summary>Where the last record was written; 0 when the write was cancelled.</summary>
    public long WrittenAt { get; set; }

    public override bool SingleReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = CopyRaw(ref input, ref value, readInfo.Address);

    public override bool ConcurrentReader(ref ChunkKey key, ref ChunkRead input, ref SpanByte value, ref bool dst, ref ReadInfo readInfo) =>
        dst = CopyRaw(ref input, ref value, readInfo.Address);

    public override bool SingleWriter(ref ChunkKey key, ref ChunkRead input, ref SpanByte src, ref SpanByte dst, ref bool output, ref UpsertInfo upsertInfo, WriteReason reason)
    {
        src.CopyTo(ref dst);
        WrittenAt = upsertInfo.Address;
        return true;
    }

    /// <summary>Chunks are immutable and readers take no lock: a second write of the same key must not touch the first one's bytes.</summary>
    public override bool ConcurrentWriter(ref ChunkKey key, ref ChunkRead input, ref SpanByte src, ref SpanByte dst, ref bool output, ref UpsertInfo upsertInfo)
    {
        upsertInfo.Action = UpsertAction.CancelOperation;
        return false;
    }

    // As much as there is room for: a header, or the whole value.
    private static unsafe bool CopyRaw(ref ChunkRead input, ref SpanByte value, long address)
    {
        var bytes = value.AsReadOnlySpan();
        input.Address = address;
        input.Count = Math.Min(input.Count, bytes.Length);
        bytes[..input.Count].CopyTo(new(input.Destination, input.Count));
        return true;
    }
}
