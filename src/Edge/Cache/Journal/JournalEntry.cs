using System.Buffers.Binary;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.Journal;

internal enum JournalEntryKind
{
    Purge = 1,
    PurgeAll = 2,
    Pin = 3,
    Unpin = 4,
}

/// <summary>
/// One change, 64 bytes, little-endian; the file's header has the same size, so that neither ever crosses a 512-byte sector. What a kind has no use for is zero, and a
/// reader insists on it.
/// </summary>
/// <remarks>
/// <code>
/// header:  magic 4 | version 4 | cache id 16 | 0 36 | CRC 4
/// entry:   kind 4 | 0 4 | first 16 | second 16 | number 8 | expires 8 | 0 4 | CRC 4
/// </code>
/// </remarks>
/// <param name="First">Purge: the path. Pin, unpin: the version.</param>
/// <param name="Second">Pin: the path.</param>
/// <param name="Number">Purges: the sequence. Pin: the object's length.</param>
/// <param name="ExpiresUnixSeconds">Pin.</param>
internal readonly record struct JournalEntry(JournalEntryKind Kind, ObjectHash First, ObjectHash Second, long Number, long ExpiresUnixSeconds)
{
    public const int Bytes = 64;

    private const uint Magic = 0x4C4E4A44; // "DJNL"
    private const uint Version = 1;

    public static JournalEntry Purge(ObjectHash path, long sequence) => new(JournalEntryKind.Purge, path, default, sequence, 0);

    public static JournalEntry PurgeAll(long sequence) => new(JournalEntryKind.PurgeAll, default, default, sequence, 0);

    public static JournalEntry Pin(in PinEntry pin) => new(JournalEntryKind.Pin, pin.Version, pin.Path, pin.Length, pin.ExpiresUnixSeconds);

    public static JournalEntry Unpin(ObjectHash version) => new(JournalEntryKind.Unpin, version, default, 0, 0);

    public static void WriteHeader(Span<byte> destination, Guid cacheId)
    {
        destination = destination[..Bytes];
        destination.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Version);
        cacheId.TryWriteBytes(destination[8..]);
        SegmentFormat.SealWithCrc(destination);
    }

    public static bool TryReadHeader(ReadOnlySpan<byte> bytes, out Guid cacheId)
    {
        cacheId = default;
        if (bytes.Length != Bytes
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != Magic
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) != Version
            || bytes[24..60].ContainsAnyExcept((byte)0)
            || !SegmentFormat.HasCrc(bytes))
        {
            return false;
        }

        cacheId = new(bytes.Slice(8, 16));
        return true;
    }

    public void Write(Span<byte> destination)
    {
        destination = destination[..Bytes];
        destination.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(destination, (int)Kind);
        SegmentFormat.WriteHash(destination[8..], First);
        SegmentFormat.WriteHash(destination[24..], Second);
        BinaryPrimitives.WriteInt64LittleEndian(destination[40..], Number);
        BinaryPrimitives.WriteInt64LittleEndian(destination[48..], ExpiresUnixSeconds);
        SegmentFormat.SealWithCrc(destination);
    }

    public static bool TryRead(ReadOnlySpan<byte> bytes, out JournalEntry entry)
    {
        entry = default;
        if (bytes.Length != Bytes || !SegmentFormat.HasCrc(bytes) || bytes[4..8].ContainsAnyExcept((byte)0) || bytes[56..60].ContainsAnyExcept((byte)0))
            return false;
        var read = new JournalEntry(
            (JournalEntryKind)BinaryPrimitives.ReadInt32LittleEndian(bytes),
            SegmentFormat.ReadHash(bytes[8..]),
            SegmentFormat.ReadHash(bytes[24..]),
            BinaryPrimitives.ReadInt64LittleEndian(bytes[40..]),
            BinaryPrimitives.ReadInt64LittleEndian(bytes[48..]));
        if (!read.IsValid)
            return false;
        entry = read;
        return true;
    }

    private bool IsValid => Kind switch
    {
        JournalEntryKind.Purge => Number > 0 && Second == default && ExpiresUnixSeconds == 0,
        JournalEntryKind.PurgeAll => Number > 0 && First == default && Second == default && ExpiresUnixSeconds == 0,
        JournalEntryKind.Pin => Number >= 0 && ExpiresUnixSeconds >= 0,
        JournalEntryKind.Unpin => Number == 0 && Second == default && ExpiresUnixSeconds == 0,
        _ => false,
    };
}
