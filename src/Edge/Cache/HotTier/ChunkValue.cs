using System.Buffers.Binary;
using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// The bytes of one record: <c>length (4) | uses (1) | 0 (3) | check (8) | path (16) | sequence (8) | 0 (4) | chunk | padding</c>. The check is the
/// object's hash: a record that answers for the wrong object is a miss, never bytes. Path and sequence make a disk record of it when it is promoted.
/// </summary>
/// <remarks>
/// Everything but <c>uses</c> is written once, before the record can be found. <c>uses</c> is the mark: readers count in it inside the epoch, without a
/// lock, so counts may be lost; it lies in the cache line that the check has just read, and is neither checked nor returned.
/// </remarks>
internal static unsafe class ChunkValue
{
    /// <summary>
    /// With what FASTER puts before it (<see cref="RecordBytesBefore"/>) this makes 80, so that chunks are aligned to 8 bytes. Aligned to cache lines (a header of
    /// 92) hits were slower, by 1 % at 128 KiB and 3 % at 256 KiB: then all records begin at the same places of the processor's caches.
    /// </summary>
    public const int HeaderBytes = 44;

    public const int MaxBytes = HeaderBytes + Chunk.SizeBytes;

    /// <summary>Record info (8), key (24), the value's length prefix (4).</summary>
    public const int RecordBytesBefore = 36;

    /// <summary>The largest record, as it lies in the log.</summary>
    public const int MaxRecordBytes = RecordBytesBefore + MaxBytes;

    private const int UsesAt = 4;
    private const int CheckAt = 8;
    private const int PathAt = 16;
    private const int SequenceAt = 32;
    private const int RecordAlignment = 8;

    /// <summary>What a chunk takes in the log: FASTER aligns records, and no less than <see cref="HotTierLayout.MinRecordBytes"/>.</summary>
    public static int RecordBytes(int chunkLength) =>
        Math.Max(HotTierLayout.MinRecordBytes, (RecordBytesBefore + HeaderBytes + chunkLength + RecordAlignment - 1) & -RecordAlignment);

    /// <summary>Writes the header into a buffer whose chunk already stands behind it, and returns the value's length.</summary>
    public static int Seal(Span<byte> buffer, in CacheRecord record)
    {
        var header = buffer[..HeaderBytes];
        header.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(header, record.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(header[CheckAt..], record.Key.Object.High);
        BinaryPrimitives.WriteUInt64LittleEndian(header[PathAt..], record.Path.High);
        BinaryPrimitives.WriteUInt64LittleEndian(header[(PathAt + 8)..], record.Path.Low);
        BinaryPrimitives.WriteInt64LittleEndian(header[SequenceAt..], record.Sequence);
        return RecordBytes(record.Length) - RecordBytesBefore;
    }

    /// <summary>Reads what <see cref="Seal"/> wrote; false when the value is not the key's.</summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> value, in ChunkKey key, out CacheRecord record, out byte uses)
    {
        record = default;
        uses = 0;
        if (value.Length < HeaderBytes || BinaryPrimitives.ReadUInt64LittleEndian(value[CheckAt..]) != key.Object.High)
            return false;
        var length = BinaryPrimitives.ReadInt32LittleEndian(value);
        if (length is <= 0 or > Chunk.SizeBytes)
            return false;
        var path = new ObjectHash(BinaryPrimitives.ReadUInt64LittleEndian(value[PathAt..]), BinaryPrimitives.ReadUInt64LittleEndian(value[(PathAt + 8)..]));
        record = new(key, path, BinaryPrimitives.ReadInt64LittleEndian(value[SequenceAt..]), length);
        uses = value[UsesAt];
        return true;
    }

    public static void SetUses(Span<byte> value, byte uses) => value[UsesAt] = uses;

    /// <summary>Copies a part of the chunk; a copy that begins at the chunk's first byte is a use.</summary>
    public static bool TryCopy(ref SpanByte value, ref ChunkRead read)
    {
        var bytes = value.AsSpan();
        if (bytes.Length < HeaderBytes + read.ChunkLength
            || (BinaryPrimitives.ReadInt32LittleEndian(bytes) != read.ChunkLength && read.ChunkLength != ChunkRead.AnyLength)
            || BinaryPrimitives.ReadUInt64LittleEndian(bytes[CheckAt..]) != read.Check)
        {
            return false;
        }

        // Looked at before it is written: what is hot has its full mark, and its line stays shared between cores.
        if (read.IsUse && bytes[UsesAt] < Policy.CachePolicy.MaxUses)
            read.UsesNow = ++bytes[UsesAt];
        bytes.Slice(HeaderBytes + read.Offset, read.Count).CopyTo(new(read.Destination, read.Count));
        return true;
    }
}

/// <summary>Tells FASTER the length of a value; clamped, so that no length found in memory can reach past a record.</summary>
internal sealed class ChunkValueLength : IVariableLengthStruct<SpanByte>
{
    public int GetInitialLength() => sizeof(int) + ChunkValue.MaxBytes;

    public int GetLength(ref SpanByte t)
    {
        var length = t.Length;
        return (uint)length <= ChunkValue.MaxBytes ? sizeof(int) + length : sizeof(int);
    }

    public unsafe ref SpanByte AsRef(void* source) => ref System.Runtime.CompilerServices.Unsafe.AsRef<SpanByte>(source);

    public unsafe void Serialize(ref SpanByte source, void* destination) => source.CopyTo((byte*)destination);

    public unsafe void Initialize(void* source, void* end) => *(int*)source = (int)((byte*)end - (byte*)source) - sizeof(int);
}
