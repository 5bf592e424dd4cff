using System.Runtime.InteropServices;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Where a record lies on disk: 16 bytes, the directory's value. Segment, offset and length never change once they are in the directory; the
/// marks in the top byte do, with compare-and-swap, while others read.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ChunkLocation(long segment, uint offset, int length) : IEquatable<ChunkLocation>
{
    /// <summary>Uses are counted up to here and no further: from then on a hit only reads.</summary>
    public const int MaxUses = 3;

    private const uint LengthMask = 0x00FF_FFFF;
    private const int UsesShift = 24;
    private const uint FailedMark = 1u << 27;
    private const uint DeadMark = 1u << 31;

    [FieldOffset(0)]
    public readonly long Segment = segment;

    [FieldOffset(8)]
    public readonly uint Offset = offset;

    [FieldOffset(12)]
    private uint _lengthAndMarks = (uint)length & LengthMask;

    /// <summary>Bytes of the payload.</summary>
    public readonly int Length => (int)(_lengthAndMarks & LengthMask);

    public readonly int Uses => (int)(_lengthAndMarks >> UsesShift) & MaxUses;

    /// <summary>The entry was taken back; FASTER's own delete might append to the ring, which only the writer may.</summary>
    public readonly bool IsDead => (_lengthAndMarks & DeadMark) != 0;

    /// <summary>One read of it has failed with an I/O error.</summary>
    public readonly bool HasFailed => (_lengthAndMarks & FailedMark) != 0;

    /// <summary>Counts a use; a test alone once the count is full, so that a popular chunk's cache line is not written by every reader.</summary>
    public void AddUse()
    {
        var seen = _lengthAndMarks;
        if (((seen >> UsesShift) & MaxUses) < MaxUses)
            Interlocked.CompareExchange(ref _lengthAndMarks, seen + (1u << UsesShift), seen);
    }

    /// <summary>In use, but to be proven again before the chunk is offered to RAM once more.</summary>
    public void RestartUses()
    {
        var seen = _lengthAndMarks;
        Interlocked.CompareExchange(ref _lengthAndMarks, (seen & ~((uint)MaxUses << UsesShift)) | (1u << UsesShift), seen);
    }

    /// <summary>The same place with other uses, for an entry that is appended again.</summary>
    public readonly ChunkLocation WithUses(int uses)
    {
        var copy = this;
        copy._lengthAndMarks = (_lengthAndMarks & ~((uint)MaxUses << UsesShift)) | ((uint)uses << UsesShift);
        return copy;
    }

    public void MarkFailed() => Interlocked.Or(ref _lengthAndMarks, FailedMark);

    public void MarkDead() => Interlocked.Or(ref _lengthAndMarks, DeadMark);

    /// <summary>The same record; marks do not count.</summary>
    public readonly bool Equals(ChunkLocation other) => Segment == other.Segment && Offset == other.Offset && Length == other.Length;

    public override readonly bool Equals(object? obj) => obj is ChunkLocation other && Equals(other);

    public override readonly int GetHashCode() => HashCode.Combine(Segment, Offset);
}
