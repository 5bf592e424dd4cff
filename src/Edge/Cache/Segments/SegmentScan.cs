namespace Delivery.Edge.Cache.Segments;

/// <summary>How a file looked.</summary>
internal enum SegmentState
{
    /// <summary>Footer whole: it lists the file's records.</summary>
    Sealed,

    /// <summary>No footer, or a damaged one: the records were followed from header to header, up to <see cref="SegmentScan.Tail"/>.</summary>
    Unsealed,

    /// <summary>No header that can be believed: not ours, of another version, or damaged. Nothing in it can be used.</summary>
    Unreadable,
}

/// <summary>What a segment holds: from its footer, or, without one, by following the records from header to header.</summary>
/// <param name="Header">Default if unreadable. The caller compares the cache id: a segment of another cache must not be served.</param>
/// <param name="Tail">End of the last good record, in bytes: where the footer stands, or where one may be written. 0 if unreadable.</param>
/// <remarks>
/// Payloads are not read. The chain ends at the first header that is bad or whose record reaches past the end of the file; nothing behind it
/// is looked for, because payloads are chosen by strangers and could hold records.
/// </remarks>
internal readonly record struct SegmentScan(SegmentState State, SegmentHeader Header, long Tail)
{
    // A page: with full chunks each header costs one read of it; many records of metadata come with one.
    private const int WindowBytes = 4096;

    /// <param name="entries">The records are added here, in the order of their offsets; at most <see cref="SegmentFormat.MaxEntries"/>.</param>
    /// <exception cref="IOException">The disk failed; then nothing is known, and the list holds what it held.</exception>
    public static SegmentScan Of(ICacheFile file, List<SegmentEntry> entries)
    {
        var before = entries.Count;
        try
        {
            Span<byte> headerBytes = stackalloc byte[SegmentFormat.SegmentHeaderBytes];
            var length = file.Length;
            if (!SegmentFormat.TryReadSegmentHeader(headerBytes[..file.Read(0, headerBytes)], out var header))
                return new(SegmentState.Unreadable, default, 0);
            return TryFooter(file, length, header, entries, out var tail)
                ? new(SegmentState.Sealed, header, tail)
                : new(SegmentState.Unsealed, header, FollowHeaders(file, length, entries));
        }
        catch (IOException)
        {
            entries.RemoveRange(before, entries.Count - before);
            throw;
        }
    }

    private static bool TryFooter(ICacheFile file, long length, in SegmentHeader header, List<SegmentEntry> entries, out long tail)
    {
        tail = 0;
        Span<byte> trailerBytes = stackalloc byte[SegmentFormat.TrailerBytes];
        if (length < SegmentFormat.SegmentHeaderBytes + SegmentFormat.TrailerBytes
            || file.Read(length - SegmentFormat.TrailerBytes, trailerBytes) != SegmentFormat.TrailerBytes
            || !SegmentFormat.TryReadTrailer(trailerBytes, header, length, out var trailer))
        {
            return false;
        }

        // Bounded by MaxEntries and by the file itself, which TryReadTrailer has checked.
        var footer = new byte[trailer.FooterBytes];
        tail = trailer.FooterOffset;
        return file.Read(tail, footer) == footer.Length && SegmentFormat.TryReadFooter(footer, trailer, entries);
    }

    private static long FollowHeaders(ICacheFile file, long length, List<SegmentEntry> entries)
    {
        Span<byte> window = stackalloc byte[WindowBytes];
        var inWindow = window[..0];
        long windowAt = 0, at = SegmentFormat.SegmentHeaderBytes;
        for (var count = 0; count < SegmentFormat.MaxEntries && at < length; count++)
        {
            if (at + SegmentFormat.MaxRecordHeaderBytes > windowAt + inWindow.Length)
            {
                windowAt = at;
                inWindow = window[..file.Read(at, window)];
            }

            if (!SegmentFormat.TryReadHeader(inWindow[(int)(at - windowAt)..], out var record) || at + SegmentFormat.RecordBytes(record.Length) > length)
                break;
            entries.Add(new(record, at));
            at += SegmentFormat.RecordBytes(record.Length);
        }

        return at;
    }
}
