using System.Runtime.CompilerServices;
using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>Room for one chunk and, before it, for its record's header, so that the hot tier's writer copies both in one piece. Pinned for life.</summary>
internal sealed unsafe class ChunkBuffer
{
    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(ChunkValue.MaxBytes, pinned: true);

    public Memory<byte> Content => _bytes.AsMemory(ChunkValue.HeaderBytes);

    /// <summary>Writes the header; the result points into this buffer.</summary>
    public SpanByte Seal(in CacheRecord record) =>
        new(ChunkValue.Seal(_bytes, record), (nint)Unsafe.AsPointer(ref _bytes[0]));
}
