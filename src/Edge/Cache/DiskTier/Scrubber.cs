using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Reads what nobody asks for, so that a disk's decay is found while upstream still has the bytes. Sealed segments in turn, every live record and the footer,
/// at a bounded rate, and not while requests read.
/// </summary>
/// <remarks>
/// A bad record loses its entry and is fetched again. A bad footer is not rewritten in the running file: it costs nothing until the next start, where the header
/// chain is followed and a new footer written. What is read passes through the page cache, at the scrubber's rate.
/// </remarks>
internal sealed class Scrubber(SegmentTable table, Action<ChunkKey, ChunkLocation> damaged, DiskTierCounters counters)
{
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(SegmentFormat.MaxRecordBytes, pinned: true);
    private readonly List<SegmentEntry> _entries = [];
    private Segment? _segment;
    private long _lastId = -1;
    private int _next;

    /// <summary>Whole passes over all segments.</summary>
    public int Passes { get; private set; }

    /// <summary>Reads one record, or opens the next segment.</summary>
    /// <returns>Bytes read; 0: there is nothing to scrub.</returns>
    /// <exception cref="IOException">The disk failed; the scrubber goes on behind it.</exception>
    public int Step()
    {
        if (_segment is null && !Next())
            return 0;
        if (_next == _entries.Count)
        {
            Leave();
            return SegmentFormat.TrailerBytes;
        }

        var segment = _segment!;
        var entry = _entries[_next++];
        if (segment.IsGone)
        {
            Leave();
            return SegmentFormat.TrailerBytes;
        }

        // The dead are not missed.
        if (!table.IsLive(segment, entry, out var location))
            return SegmentFormat.EntryBytes;
        var record = _buffer.AsSpan(0, SegmentFormat.RecordBytes(entry.Record.Length));
        bool good;
        try
        {
            good = segment.File.Read(entry.Offset, record) == record.Length && SegmentFormat.TryReadRecord(record, out var head, out _) && head == entry.Record;
        }
        catch (IOException)
        {
            // While other reads work, a place that cannot be read is a bad one.
            damaged(entry.Record.Key, location);
            throw;
        }

        if (!good)
            damaged(entry.Record.Key, location);
        counters.Scrubbed(record.Length);
        return record.Length;
    }

    public void Leave()
    {
        _segment?.Release();
        _segment = null;
    }

    private bool Next()
    {
        var segment = table.Snapshot().Where(s => s.Id > _lastId && s.Entries is null).MinBy(s => s.Id);
        if (segment is null)
        {
            if (_lastId < 0)
                return false;
            Passes++;
            _lastId = -1;
            return false;
        }

        _lastId = segment.Id;
        if (!segment.TryAcquire())
            return false;
        _segment = segment;
        _next = 0;
        _entries.Clear();
        SegmentScan.Of(segment.File, _entries);
        return true;
    }
}
