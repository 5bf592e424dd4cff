using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// A part of one record: which blocks it touches and where they lie. Checked are the record's header, which must name what was asked for, and every block of which a
/// byte is given out.
/// </summary>
internal readonly ref struct RecordRead
{
    private const int Block = SegmentFormat.BlockBytes;

    // Header, then the first block if only a part of it is wanted, then the last one likewise.
    [ThreadStatic]
    private static byte[]? _scratch;

    private readonly ChunkKey _key;
    private readonly ChunkLocation _location;
    private readonly int _length;
    private readonly long _recordOffset;
    private readonly int _offset;
    private readonly int _count;
    private readonly int _firstBlock;
    private readonly int _lastBlock;

    /// <param name="key">What the record must name.</param>
    /// <param name="location">Where it lies, and the length of its payload.</param>
    /// <param name="offset">Of the part in the payload.</param>
    /// <param name="count">Of the part; at least 1, and inside the payload.</param>
    public RecordRead(in ChunkKey key, in ChunkLocation location, int offset, int count)
    {
        _key = key;
        _location = location;
        _length = location.Length;
        _recordOffset = location.Offset;
        _offset = offset;
        _count = count;
        _firstBlock = offset / Block;
        _lastBlock = (offset + count - 1) / Block;
        HeaderBytes = SegmentFormat.RecordHeaderBytes(_length);
    }

    private int HeaderBytes { get; }

    private int BlocksStart => _firstBlock * Block;

    private int BlocksEnd => Math.Min(_length, (_lastBlock + 1) * Block);

    /// <summary>Where the part starts in a buffer that <see cref="Read"/> has filled.</summary>
    public int PartOffset => HeaderBytes + _offset - BlocksStart;

    /// <summary>
    /// Reads what the page cache holds straight into the destination; only blocks of which a part is wanted go through a scratch buffer of this thread.
    /// </summary>
    /// <returns>Null when the disk would have to be asked.</returns>
    public bool? ReadCached(ICacheFile file, Span<byte> destination, HeaderCache headers)
    {
        var scratch = _scratch ??= GC.AllocateUninitializedArray<byte>(SegmentFormat.MaxRecordHeaderBytes + 2 * Block);
        var end = _offset + _count;
        var leadBytes = _offset != BlocksStart || (_firstBlock == _lastBlock && end != BlocksEnd) ? SegmentFormat.BlockLength(_length, _firstBlock) : 0;
        var trailBytes = _lastBlock > _firstBlock && end != BlocksEnd ? SegmentFormat.BlockLength(_length, _lastBlock) : 0;
        var header = scratch.AsSpan(0, HeaderBytes);
        var lead = scratch.AsSpan(HeaderBytes, leadBytes);
        var trail = scratch.AsSpan(HeaderBytes + leadBytes, trailBytes);
        var middleStart = leadBytes == 0 ? 0 : Math.Min(_count, BlocksStart + leadBytes - _offset);
        var middleEnd = trailBytes == 0 ? _count : _lastBlock * Block - _offset;
        var middle = destination[middleStart..middleEnd];

        // The payload follows the header, so a read from the chunk's start is one call.
        var known = _firstBlock != 0 && headers.TryGet(_key, _location, header);
        var found = _firstBlock == 0
            ? file.TryReadCached(_recordOffset, scratch.AsSpan(0, HeaderBytes + leadBytes), middle, trail)
            : (known || file.TryReadCached(_recordOffset, header, default, default)) && file.TryReadCached(_recordOffset + HeaderBytes + BlocksStart, lead, middle, trail);
        if (!found)
            return null;
        if (!known)
        {
            if (!IsRecord(header))
                return false;
            headers.Put(_key, _location, header);
        }

        var block = _firstBlock;
        if (leadBytes > 0)
        {
            if (!SegmentFormat.VerifyBlock(header, block++, lead))
                return false;
            lead.Slice(_offset - BlocksStart, middleStart).CopyTo(destination);
        }

        for (; !middle.IsEmpty; block++)
        {
            var one = middle[..Math.Min(Block, middle.Length)];
            if (!SegmentFormat.VerifyBlock(header, block, one))
                return false;
            middle = middle[one.Length..];
        }

        if (trailBytes == 0)
            return true;
        trail[..(_count - middleEnd)].CopyTo(destination[middleEnd..]);
        return SegmentFormat.VerifyBlock(header, block, trail);
    }

    /// <summary>
    /// Reads header and blocks from the disk, however long it takes. True: the part is at <see cref="PartOffset"/>. False: the record is damaged, or cut off.
    /// </summary>
    /// <param name="file">The segment.</param>
    /// <param name="buffer">At least <see cref="SegmentFormat.MaxRecordBytes"/>.</param>
    /// <exception cref="IOException">The disk failed.</exception>
    public bool Read(ICacheFile file, Span<byte> buffer)
    {
        var header = buffer[..HeaderBytes];
        var blocks = buffer.Slice(HeaderBytes, BlocksEnd - BlocksStart);
        var whole = _firstBlock == 0
            ? file.Read(_recordOffset, buffer[..(HeaderBytes + blocks.Length)]) == HeaderBytes + blocks.Length
            : file.Read(_recordOffset, header) == header.Length && file.Read(_recordOffset + HeaderBytes + BlocksStart, blocks) == blocks.Length;
        if (!whole || !IsRecord(header))
            return false;
        for (var block = _firstBlock; block <= _lastBlock; block++)
        {
            if (!SegmentFormat.VerifyBlock(header, block, blocks.Slice(block * Block - BlocksStart, SegmentFormat.BlockLength(_length, block))))
                return false;
        }

        return true;
    }

    private bool IsRecord(ReadOnlySpan<byte> header) => SegmentFormat.TryReadHeader(header, out var head) && head.Key.Equals(_key) && head.Length == _length;
}
