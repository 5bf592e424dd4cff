using System.Buffers.Binary;
using Delivery.ObjectStore;

namespace Delivery.Edge.Cache.Segments;

/// <summary>What a file is for.</summary>
internal enum SegmentStream
{
    /// <summary>First in, first out.</summary>
    Normal = 0,

    /// <summary>Chunks under a pin; not evicted while the pins live.</summary>
    Pinned = 1,

    /// <summary>Chunks that were in use when their segment left: the same line as normal ones, but not among new chunks, most of which are never used again.</summary>
    Kept = 2,
}

/// <summary>What the file says of itself.</summary>
/// <param name="CacheId">
/// Random, made with the journal: a segment of another cache is not ours to serve, its purges are in another journal. It is also what keeps a
/// stranger's payload at the end of an unsealed file from passing for a footer, so it must not be shown to anyone.
/// </param>
/// <param name="SegmentId">Goes up with every segment made; 0 or more.</param>
internal readonly record struct SegmentHeader(Guid CacheId, long SegmentId, SegmentStream Stream);

/// <summary>The end of a sealed file.</summary>
/// <param name="FooterOffset">Where the entries start: the end of the last record.</param>
/// <param name="FooterCrc">CRC of the entries.</param>
internal readonly record struct SegmentTrailer(long FooterOffset, int EntryCount, uint FooterCrc)
{
    public int FooterBytes => EntryCount * SegmentFormat.EntryBytes;
}

/// <summary>A record and where its header starts in the file, in bytes; a multiple of 8.</summary>
internal readonly record struct SegmentEntry(CacheRecord Record, long Offset);

/// <summary>
/// The bytes of a segment (docs/formats/cache-record.md), little-endian throughout. Nothing here throws on what it reads, and no
/// length from the file is used before its CRC and its bounds are checked.
/// </summary>
/// <remarks>
/// <code>
/// segment:  header 40 | record | record | … | entries 56 each | trailer 48        (the last two: once sealed)
/// record:   magic 4 | version 4 | key 24 | path 16 | sequence 8 | length 4 | CRC of each 16 KiB block, 4 each | CRC 4 | payload | 0 to 7 zeros
/// header:   magic 4 | version 4 | cache id 16 | segment id 8 | stream 4 | CRC 4
/// entry:    key 24 | path 16 | sequence 8 | length 4 | offset ÷ 8, 4
/// trailer:  magic 4 | version 4 | cache id 16 | segment id 8 | footer offset ÷ 8, 4 | entries 4 | CRC of the entries 4 | CRC 4
/// </code>
/// </remarks>
internal static class SegmentFormat
{
    /// <summary>What is checked at once: a range of a chunk costs the blocks it touches, not the chunk.</summary>
    public const int BlockBytes = 16 * 1024;

    public const int SegmentHeaderBytes = 40;

    /// <summary>A record's header without the CRCs of its blocks.</summary>
    public const int RecordFixedBytes = 64;

    public const int MaxRecordHeaderBytes = RecordFixedBytes + Chunk.SizeBytes / BlockBytes * sizeof(uint);

    /// <summary>Header and payload of a full chunk.</summary>
    public const int MaxRecordBytes = MaxRecordHeaderBytes + Chunk.SizeBytes;

    public const int EntryBytes = 56;

    public const int TrailerBytes = 48;

    /// <summary>
    /// Records of one segment at most; a writer starts a new one there. Bounds what a footer costs in memory (3.5 MiB) whatever stands on
    /// the disk; a 256 MiB segment reaches it only if its records are below 4 KiB on average.
    /// </summary>
    public const int MaxEntries = 65_536;

    /// <summary>Offsets are kept as 32 bits in units of 8 bytes.</summary>
    public const long MaxSegmentBytes = 8L * uint.MaxValue;

    private const int Alignment = 8;
    private const uint SegmentMagic = 0x47455344; // "DSEG"
    private const uint RecordMagic = 0x43455244; // "DREC"
    private const uint TrailerMagic = 0x444E4544; // "DEND"
    private const uint Version = 1;

    // Offsets in a record's header.
    private const int KeyAt = 8, LengthAt = 56, BlockCrcsAt = 60;

    /// <summary>Where the payload starts, from the record's start.</summary>
    public static int RecordHeaderBytes(int payloadLength) => RecordFixedBytes + BlockCount(payloadLength) * sizeof(uint);

    /// <summary>The whole record with its padding.</summary>
    public static int RecordBytes(int payloadLength) => (RecordHeaderBytes(payloadLength) + payloadLength + Alignment - 1) & -Alignment;

    public static int BlockCount(int payloadLength) => (payloadLength + BlockBytes - 1) / BlockBytes;

    /// <summary>Bytes of one block; the last one of a record is shorter.</summary>
    public static int BlockLength(int payloadLength, int blockIndex) => Math.Clamp(payloadLength - blockIndex * BlockBytes, 0, BlockBytes);

    /// <summary>Entries and trailer.</summary>
    public static int FooterBytes(int entryCount) => entryCount * EntryBytes + TrailerBytes;

    /// <summary>Completes a record whose payload stands at <see cref="RecordHeaderBytes"/>: header, CRCs, padding.</summary>
    /// <param name="record">At least <see cref="RecordBytes"/>.</param>
    /// <returns><see cref="RecordBytes"/>.</returns>
    /// <exception cref="ArgumentException">The head is out of bounds; a reader would refuse the record.</exception>
    public static int Seal(Span<byte> record, in CacheRecord head)
    {
        if (!IsValid(head))
            throw new ArgumentException($"No such record can be kept: {head}.", nameof(head));
        var headerBytes = RecordHeaderBytes(head.Length);
        var total = RecordBytes(head.Length);
        var payload = record.Slice(headerBytes, head.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record, RecordMagic);
        BinaryPrimitives.WriteUInt32LittleEndian(record[4..], Version);
        WriteHead(record[KeyAt..], head);
        for (var i = 0; i < BlockCount(head.Length); i++)
            BinaryPrimitives.WriteUInt32LittleEndian(record[(BlockCrcsAt + i * sizeof(uint))..], Crc32C.Of(payload.Slice(i * BlockBytes, BlockLength(head.Length, i))));
        SealWithCrc(record[..headerBytes]);
        record[(headerBytes + head.Length)..total].Clear();
        return total;
    }

    /// <summary>
    /// Checks a record's header: magic, version, bounds, CRC. Needs the first <see cref="RecordHeaderBytes"/> bytes of the record; fewer are a
    /// bad header. That it is the record that was asked for, the caller compares.
    /// </summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> bytes, out CacheRecord head)
    {
        head = default;
        if (bytes.Length < RecordFixedBytes
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != RecordMagic
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) != Version)
        {
            return false;
        }

        var length = BinaryPrimitives.ReadInt32LittleEndian(bytes[LengthAt..]);
        if (length is < 1 or > Chunk.SizeBytes || bytes.Length < RecordHeaderBytes(length) || !HasCrc(bytes[..RecordHeaderBytes(length)]))
            return false;
        var read = ReadHead(bytes[KeyAt..]);
        if (!IsValid(read))
            return false;
        head = read;
        return true;
    }

    /// <summary>Checks one block of the payload against a header that <see cref="TryReadHeader"/> has passed. A block of the wrong length fails.</summary>
    public static bool VerifyBlock(ReadOnlySpan<byte> recordHeader, int blockIndex, ReadOnlySpan<byte> block)
    {
        var length = BinaryPrimitives.ReadInt32LittleEndian(recordHeader[LengthAt..]);
        return (uint)blockIndex < (uint)BlockCount(length)
            && block.Length == BlockLength(length, blockIndex)
            && BinaryPrimitives.ReadUInt32LittleEndian(recordHeader[(BlockCrcsAt + blockIndex * sizeof(uint))..]) == Crc32C.Of(block);
    }

    /// <summary>Checks a whole record, header and every block.</summary>
    /// <param name="payload">The record's bytes, inside <paramref name="record"/>.</param>
    public static bool TryReadRecord(ReadOnlySpan<byte> record, out CacheRecord head, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        if (!TryReadHeader(record, out head))
            return false;
        var headerBytes = RecordHeaderBytes(head.Length);
        if (record.Length < headerBytes + head.Length)
            return false;
        var bytes = record.Slice(headerBytes, head.Length);
        for (var i = 0; i < BlockCount(head.Length); i++)
        {
            if (!VerifyBlock(record, i, bytes.Slice(i * BlockBytes, BlockLength(head.Length, i))))
                return false;
        }

        payload = bytes;
        return true;
    }

    /// <summary>Writes the file's first <see cref="SegmentHeaderBytes"/> bytes.</summary>
    public static void WriteSegmentHeader(Span<byte> destination, in SegmentHeader header)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(header.SegmentId);
        BinaryPrimitives.WriteUInt32LittleEndian(destination, SegmentMagic);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Version);
        header.CacheId.TryWriteBytes(destination[8..]);
        BinaryPrimitives.WriteInt64LittleEndian(destination[24..], header.SegmentId);
        BinaryPrimitives.WriteInt32LittleEndian(destination[32..], (int)header.Stream);
        SealWithCrc(destination[..SegmentHeaderBytes]);
    }

    public static bool TryReadSegmentHeader(ReadOnlySpan<byte> bytes, out SegmentHeader header)
    {
        header = default;
        if (bytes.Length < SegmentHeaderBytes
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != SegmentMagic
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) != Version
            || !HasCrc(bytes[..SegmentHeaderBytes]))
        {
            return false;
        }

        var id = BinaryPrimitives.ReadInt64LittleEndian(bytes[24..]);
        var stream = BinaryPrimitives.ReadInt32LittleEndian(bytes[32..]);
        if (id < 0 || stream is < (int)SegmentStream.Normal or > (int)SegmentStream.Kept)
            return false;
        header = new(new(bytes.Slice(8, 16)), id, (SegmentStream)stream);
        return true;
    }

    /// <summary>Writes entries and trailer, which go to the end of the last record. An entry may be left out: its record is then lost at the next start.</summary>
    /// <param name="destination">At least <see cref="FooterBytes"/>.</param>
    /// <param name="entries">In the order of their offsets.</param>
    /// <param name="footerOffset">Where these bytes will stand: the end of the last record.</param>
    /// <returns><see cref="FooterBytes"/>.</returns>
    /// <exception cref="ArgumentException">The entries are out of order or bounds; a reader would refuse the footer.</exception>
    public static int WriteFooter(Span<byte> destination, ReadOnlySpan<SegmentEntry> entries, in SegmentHeader header, long footerOffset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(entries.Length, MaxEntries);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(footerOffset, MaxSegmentBytes);
        var footer = destination[..(entries.Length * EntryBytes)];
        long end = SegmentHeaderBytes;
        for (var i = 0; i < entries.Length; i++)
        {
            var (record, offset) = entries[i];
            if (!IsValid(record) || offset < end || offset % Alignment != 0)
                throw new ArgumentException($"Entry {i} cannot stand in a footer: {entries[i]}.", nameof(entries));
            end = offset + RecordBytes(record.Length);
            WriteHead(footer[(i * EntryBytes)..], record);
            BinaryPrimitives.WriteUInt32LittleEndian(footer[(i * EntryBytes + 52)..], (uint)(offset / Alignment));
        }

        if (footerOffset < end || footerOffset % Alignment != 0)
            throw new ArgumentException($"The footer cannot stand at {footerOffset}, the last record ends at {end}.", nameof(footerOffset));
        var trailer = destination.Slice(footer.Length, TrailerBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, TrailerMagic);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], Version);
        header.CacheId.TryWriteBytes(trailer[8..]);
        BinaryPrimitives.WriteInt64LittleEndian(trailer[24..], header.SegmentId);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[32..], (uint)(footerOffset / Alignment));
        BinaryPrimitives.WriteInt32LittleEndian(trailer[36..], entries.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[40..], Crc32C.Of(footer));
        SealWithCrc(trailer);
        return FooterBytes(entries.Length);
    }

    /// <summary>Checks the last <see cref="TrailerBytes"/> bytes of a file against the file's own header and length.</summary>
    public static bool TryReadTrailer(ReadOnlySpan<byte> bytes, in SegmentHeader header, long fileLength, out SegmentTrailer trailer)
    {
        trailer = default;
        // The file's end may be a payload, which strangers choose: without the cache id, which they do not know, they could forge a footer.
        if (bytes.Length != TrailerBytes
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != TrailerMagic
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) != Version
            || !HasCrc(bytes)
            || new Guid(bytes.Slice(8, 16)) != header.CacheId
            || BinaryPrimitives.ReadInt64LittleEndian(bytes[24..]) != header.SegmentId)
        {
            return false;
        }

        var offset = BinaryPrimitives.ReadUInt32LittleEndian(bytes[32..]) * (long)Alignment;
        var count = BinaryPrimitives.ReadInt32LittleEndian(bytes[36..]);
        if (offset < SegmentHeaderBytes || count is < 0 or > MaxEntries || offset + FooterBytes(count) != fileLength)
            return false;
        trailer = new(offset, count, BinaryPrimitives.ReadUInt32LittleEndian(bytes[40..]));
        return true;
    }

    /// <summary>Checks the entries before the trailer and adds them to a list, all or none.</summary>
    /// <param name="footer">Exactly <see cref="SegmentTrailer.FooterBytes"/>.</param>
    public static bool TryReadFooter(ReadOnlySpan<byte> footer, in SegmentTrailer trailer, List<SegmentEntry> entries)
    {
        if (footer.Length != trailer.FooterBytes || Crc32C.Of(footer) != trailer.FooterCrc)
            return false;
        var before = entries.Count;
        long end = SegmentHeaderBytes;
        for (; !footer.IsEmpty; footer = footer[EntryBytes..])
        {
            var record = ReadHead(footer);
            var offset = BinaryPrimitives.ReadUInt32LittleEndian(footer[52..]) * (long)Alignment;
            if (!IsValid(record) || offset < end || offset + RecordBytes(record.Length) > trailer.FooterOffset)
            {
                entries.RemoveRange(before, entries.Count - before);
                return false;
            }

            end = offset + RecordBytes(record.Length);
            entries.Add(new(record, offset));
        }

        return true;
    }

    private static bool IsValid(in CacheRecord head) =>
        head.Length is >= 1 and <= Chunk.SizeBytes
        && head.Sequence >= 0
        && head.Key.Index is >= CacheRecord.MetadataIndex and <= long.MaxValue / Chunk.SizeBytes
        && (!head.IsMetadata || head.Key.Object == head.Path);

    private static void WriteHead(Span<byte> destination, in CacheRecord head)
    {
        WriteHash(destination, head.Key.Object);
        BinaryPrimitives.WriteInt64LittleEndian(destination[16..], head.Key.Index);
        WriteHash(destination[24..], head.Path);
        BinaryPrimitives.WriteInt64LittleEndian(destination[40..], head.Sequence);
        BinaryPrimitives.WriteInt32LittleEndian(destination[48..], head.Length);
    }

    private static CacheRecord ReadHead(ReadOnlySpan<byte> bytes) => new(
        new(ReadHash(bytes), BinaryPrimitives.ReadInt64LittleEndian(bytes[16..])),
        ReadHash(bytes[24..]),
        BinaryPrimitives.ReadInt64LittleEndian(bytes[40..]),
        BinaryPrimitives.ReadInt32LittleEndian(bytes[48..]));

    internal static void WriteHash(Span<byte> destination, ObjectHash hash)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, hash.High);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], hash.Low);
    }

    internal static ObjectHash ReadHash(ReadOnlySpan<byte> bytes) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));

    /// <summary>The last four bytes become the CRC of those before them.</summary>
    internal static void SealWithCrc(Span<byte> bytes) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[^sizeof(uint)..], Crc32C.Of(bytes[..^sizeof(uint)]));

    internal static bool HasCrc(ReadOnlySpan<byte> bytes) =>
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[^sizeof(uint)..]) == Crc32C.Of(bytes[..^sizeof(uint)]);
}
