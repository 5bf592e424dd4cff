using System.Collections.Concurrent;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// The segments there are, and the directory's ring kept in step with them. Any thread finds segments; the writer thread alone (at the start: recovery) adds
/// and drops them.
/// </summary>
/// <remarks>
/// The ring forgets its oldest entries. Segments leave first in, first out, and entries are appended in the order in which records are written, so the entries at
/// the ring's end belong to the oldest segments: those that are gone, as a rule. Three things break the rule: segments kept for pins, segments put at the
/// end of the line again, and more records than the ring was sized for. So before the ring turns a page, every segment that still has entries near its end is either
/// refreshed (all its live entries are appended again) or dropped.
/// </remarks>
internal sealed class SegmentTable(ICacheDisk disk, ChunkDirectory directory, DiskTierOptions options, DiskTierCounters counters)
{
    private readonly ConcurrentDictionary<long, Segment> _byId = new();
    private readonly LinkedList<Segment> _line = new();
    private readonly List<SegmentEntry> _entries = [];
    private readonly Queue<(string Name, long Length)> _toUnlink = new();
    private int _count;
    private long _usedBytes;
    private long _turnedAt = long.MinValue;

    /// <summary>Records in one segment at most, so that one refresh is a small part of the ring.</summary>
    public int MaxRecords { get; } = Math.Min(SegmentFormat.MaxEntries, Math.Max(64, options.ChunkBound / 8));

    public int Count => Volatile.Read(ref _count);

    /// <summary>
    /// Files open at once, at most: restarts seal what was begun, so files may be small and many. At the bound the oldest is evicted.
    /// </summary>
    public int MaxCount { get; } = (int)(options.Bytes / options.SegmentBytes) * 4 + 16;

    /// <summary>Sum of the files' lengths.</summary>
    public long UsedBytes => Volatile.Read(ref _usedBytes);

    /// <summary>The same, files under way taken at their full size.</summary>
    public long ReservedBytes => _line.Sum(s => s.Entries is null ? s.Length : Math.Max(s.Length, options.SegmentBytes)) + _toUnlink.Sum(f => f.Length);

    public long KeptBytes => _line.Where(s => s.IsKept).Sum(s => s.Length);

    /// <summary>Records kept for pins.</summary>
    public int KeptRecords => _line.Where(s => s.IsKept).Sum(s => s.Records);

    /// <summary>Oldest first.</summary>
    public IEnumerable<Segment> Line => _line;

    /// <summary>A moment's view, for other threads than the writer.</summary>
    public ICollection<Segment> Snapshot() => _byId.Values;

    /// <summary>The segment with a reference on it, which the caller releases.</summary>
    public bool TryAcquire(long id, out Segment segment) => _byId.TryGetValue(id, out segment!) && segment.TryAcquire();

    /// <summary>Whether the directory has the key and its segment is here; says where. No I/O, no allocation.</summary>
    public bool TryLocate(in ChunkKey key, out ChunkLocation location) => directory.TryFind(key, out location) && _byId.ContainsKey(location.Segment);

    public void Add(Segment segment)
    {
        _line.AddLast(segment);
        _byId[segment.Id] = segment;
        Volatile.Write(ref _count, _line.Count);
        Volatile.Write(ref _usedBytes, _usedBytes + segment.Length);
    }

    public void Resize(Segment segment, long length)
    {
        Volatile.Write(ref _usedBytes, _usedBytes + length - segment.Length);
        segment.Length = length;
    }

    /// <summary>Puts a record into the directory.</summary>
    public void Locate(in CacheRecord record, Segment segment, long offset)
    {
        TurnPage();
        if (segment.FirstAddress == long.MaxValue)
            segment.FirstAddress = directory.TailAddress;
        directory.Append(record.Key, new(segment.Id, (uint)offset, record.Length));
    }

    /// <summary>Whether the directory says of the record that it lies here.</summary>
    public bool IsLive(Segment segment, in SegmentEntry entry, out ChunkLocation location) =>
        directory.TryFind(entry.Record.Key, out location)
        && location.Equals(new ChunkLocation(segment.Id, (uint)entry.Offset, entry.Record.Length));

    /// <summary>The records of a segment: from memory while it is written to, else from its footer, else by following the headers.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public static void ReadEntries(Segment segment, List<SegmentEntry> entries)
    {
        entries.Clear();
        if (segment.Entries is { } present)
            entries.AddRange(present);
        else
            SegmentScan.Of(segment.File, entries);
    }

    /// <summary>Puts the segment at the end of the line as it is, with all its live entries. A lap costs each of them a use, as the policy has it.</summary>
    /// <exception cref="IOException">Its list of records cannot be read.</exception>
    public void Requeue(Segment segment)
    {
        TurnPage();
        if (!segment.IsGone)
            AppendAgain(segment, isLap: true);
    }

    /// <summary>
    /// Unlinks a segment. Its entries stay in the directory until the ring forgets them and lead nowhere meanwhile. A file that cannot be unlinked still counts as
    /// used, and is tried again with the next one.
    /// </summary>
    public void Drop(Segment segment)
    {
        if (segment.IsGone)
            return;
        segment.IsGone = true;
        _line.Remove(segment);
        _byId.TryRemove(segment.Id, out _);
        Volatile.Write(ref _count, _line.Count);
        _toUnlink.Enqueue((segment.Name, segment.Length));
        TryUnlink();
        segment.Release();
    }

    /// <summary>Unlinks what is dropped; false while a file refuses. Then dropping more would free nothing.</summary>
    public bool TryUnlink()
    {
        for (var tries = _toUnlink.Count; tries > 0; tries--)
            Unlink();
        return _toUnlink.Count == 0;
    }

    /// <summary>Closes all files.</summary>
    public void Close()
    {
        foreach (var segment in _line)
            segment.Release();
        _line.Clear();
        _byId.Clear();
    }

    private void TurnPage()
    {
        // At every page, also while the ring has never been full: what is near its end must be dealt with before the end moves.
        if (directory.NextBegin == _turnedAt)
            return;
        // A refresh moves the ring's end by as many entries as a segment has, so a segment's turn comes that much earlier.
        var margin = _line.Select(s => (long)s.Records).Append(MaxRecords).Max() * ChunkDirectory.RecordBytes + 2 * directory.PageBytes;
        for (var refreshes = _line.Count; ; refreshes--)
        {
            var oldest = _line.MinBy(s => s.FirstAddress);
            if (oldest is null || oldest.FirstAddress >= directory.NextBegin + margin)
                break;
            // One that is written to has few entries yet. Pins that outgrow the ring itself are dropped like the rest: the bound on kept records prevents it.
            if ((oldest.IsKept || oldest.Entries is not null) && refreshes > 0 && TryRefresh(oldest))
                continue;
            Drop(oldest);
        }

        DropForgotten();
        _turnedAt = directory.NextBegin;
    }

    private void AppendAgain(Segment segment, bool isLap)
    {
        ReadEntries(segment, _entries);
        segment.FirstAddress = directory.TailAddress;
        foreach (var entry in _entries)
        {
            if (!IsLive(segment, entry, out var location))
                continue;
            // The margin in TurnPage is what makes this safe: nothing alive lies so near to the ring's end.
            DropForgotten();
            directory.Append(entry.Record.Key, isLap ? location.WithUses(CachePolicy.UsesAfterLap((byte)location.Uses)) : location);
        }

        _line.Remove(segment);
        _line.AddLast(segment);
    }

    private void DropForgotten()
    {
        var begin = directory.NextBegin;
        if (begin > directory.BeginAddress)
            directory.DropBefore(begin);
    }

    private void Unlink()
    {
        var (name, length) = _toUnlink.Dequeue();
        try
        {
            disk.Delete(name);
            Volatile.Write(ref _usedBytes, _usedBytes - length);
            counters.Evicted(length);
        }
        catch (IOException)
        {
            // Said by the writes, which fail on such a disk too.
            _toUnlink.Enqueue((name, length));
        }
    }

    private bool TryRefresh(Segment segment)
    {
        try
        {
            AppendAgain(segment, isLap: false);
            return true;
        }
        catch (IOException)
        {
            counters.SegmentDropped();
            return false;
        }
    }
}
