using System.Buffers.Binary;
using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// The bytes of one record: <c>length (4) | 0 (4) | check (8) | chunk | padding up to the smallest record</c>. The check is the object's hash:
/// a record that answers for the wrong object is a miss, never bytes.
/// </summary>
internal static unsafe class ChunkValue
{
    public const int HeaderBytes = 16;

    public const int MaxBytes = HeaderBytes + Chunk.SizeBytes;

    // Record info (8), key (24) and the value's length prefix (4) come on top.
    private const int MinBytes = HotTierLayout.MinRecordBytes - 36;

    /// <summary>Writes the header into a buffer whose chunk already stands behind it, and returns the value's length.</summary>
    public static int Seal(Span<byte> buffer, int chunkLength, ObjectHash hash)
    {
        BinaryPrimitives.WriteInt32LittleEndian(buffer, chunkLength);
        BinaryPrimitives.WriteInt32LittleEndian(buffer[4..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(buffer[8..], hash.High);
        return Math.Max(MinBytes, HeaderBytes + chunkLength);
    }

    public static bool TryCopy(ReadOnlySpan<byte> value, ulong check, int chunkLength, int offset, Span<byte> destination)
    {
        if (value.Length < HeaderBytes + chunkLength
            || BinaryPrimitives.ReadInt32LittleEndian(value) != chunkLength
            || BinaryPrimitives.ReadUInt64LittleEndian(value[8..]) != check)
        {
            return false;
        }

        value.Slice(HeaderBytes + offset, destination.Length).CopyTo(destination);
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
