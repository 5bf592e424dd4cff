using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Makes room, one segment at a time: asks the policy what of it stays, writes that again in small steps between the records of new chunks, and unlinks the file.
/// The writer thread's alone.
/// </summary>
internal sealed class SegmentEvictor(
    SegmentTable table, SegmentWriter segments, DiskTierOptions options, CachePolicy policy, Func<ChunkKey, bool> isHot, Func<ObjectHash, bool> isPinned,
    DiskTierCounters counters)
{
    private readonly List<SegmentEntry> _entries = [];
    private readonly Queue<(SegmentEntry Entry, bool IsPinned)> _survivors = new();
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(SegmentFormat.MaxRecordBytes, pinned: true);
    private Segment? _victim;
    private long _left;

    /// <summary>A segment is being emptied.</summary>
    public bool IsBusy => _victim is not null;

    /// <summary>Chooses a segment and what of it stays.</summary>
    /// <exception cref="IOException">The disk failed; what was not copied is tried again.</exception>
    public void Begin()
    {
        for (var requeues = 0; !IsBusy && NextVictim() is { } victim;)
        {
            try
            {
                if (Judge(victim, requeues < policy.Options.MaxRequeuesInARow))
                    requeues++;
            }
            catch (IOException)
            {
                // Without its list nothing can be saved from it.
                counters.SegmentDropped();
                table.Drop(victim);
                return;
            }

            // Restarts seal what was begun, so a file may be small and not make room for a whole one: it goes at once, and the next one is asked. Were that left
            // to the next roll, files would have to be dropped there with their pins, as by then nothing is open that could take them.
            if (IsBusy && table.ReservedBytes - victim.Length + 2 * options.SegmentBytes > options.Bytes)
            {
                Finish();
                // A file that cannot be unlinked makes no room, and neither would the next.
                if (!table.TryUnlink())
                    return;
            }
        }
    }

    /// <summary>
    /// Copies so much that the rest fits into half of what is left of the file that new chunks go to: the copying ends before the file does, and no
    /// chunk waits long for it.
    /// </summary>
    /// <exception cref="IOException">The disk failed; what was not copied is tried again.</exception>
    public void Pace()
    {
        while (IsBusy && _left > segments.RoomLeft(SegmentStream.Normal) / 2)
            Step();
    }

    /// <exception cref="IOException">The disk failed.</exception>
    public void Finish()
    {
        while (IsBusy)
            Step();
    }

    /// <summary>Copies one record; after the last one the file goes.</summary>
    /// <exception cref="IOException">The disk failed on writing.</exception>
    public void Step()
    {
        if (_victim is not { IsGone: false } victim || !_survivors.TryPeek(out var next))
        {
            if (_victim is not null)
                table.Drop(_victim);
            _victim = null;
            _survivors.Clear();
            _left = 0;
            return;
        }

        Copy(victim, next.Entry, next.IsPinned);
        _survivors.Dequeue();
        _left -= SegmentFormat.RecordBytes(next.Entry.Record.Length);
    }

    /// <summary>Unlinks a segment at once, with all that it holds; false when there is none to unlink.</summary>
    public bool DropOldest()
    {
        if ((_victim ?? NextVictim()) is not { } victim)
            return false;
        table.Drop(victim);
        if (_victim is not null)
            Step();
        return true;
    }

    // True if it was put at the end of the line.
    private bool Judge(Segment victim, bool mayRequeue)
    {
        SegmentTable.ReadEntries(victim, _entries);
        var live = new List<(SegmentEntry Entry, bool IsPinned)>(_entries.Count);
        var exits = new List<ExitEntry>(_entries.Count);
        long pinnedBytes = 0;
        foreach (var entry in _entries)
        {
            if (!table.IsLive(victim, entry, out var location))
                continue;
            var record = entry.Record;
            var bytes = SegmentFormat.RecordBytes(record.Length);
            var pinned = isPinned(record.Key.Object);
            live.Add((entry, pinned));
            // Metadata is what makes an object's chunks findable after a restart, and costs next to nothing: it ranks with the heads.
            exits.Add(new(bytes, (byte)location.Uses, record.IsHead || record.IsMetadata, pinned, isHot(record.Key)));
            if (pinned)
                pinnedBytes += bytes;
        }

        var mayKeep = MayKeep(victim);
        if (!victim.IsKept && mayKeep && pinnedBytes > victim.Length / 2)
        {
            victim.IsKept = true;
            victim.Versions = VersionsOf(_entries);
            table.Requeue(victim);
            return true;
        }

        if (!mayKeep)
        {
            // The pins' share is used up: pinned chunks have what everyone has.
            for (var i = 0; i < exits.Count; i++)
            {
                exits[i] = exits[i] with { IsPinned = false };
                live[i] = live[i] with { IsPinned = false };
            }
        }

        var keep = new bool[exits.Count];
        var fate = policy.OnSegmentExit(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(exits), victim.Length, mayRequeue ? victim.Requeues : int.MaxValue, keep);
        if (fate == SegmentFate.Requeue)
        {
            victim.Requeues++;
            table.Requeue(victim);
            return true;
        }

        _victim = victim;
        for (var i = 0; i < keep.Length; i++)
        {
            if (!keep[i])
                continue;
            _survivors.Enqueue(live[i]);
            _left += exits[i].Bytes;
        }

        return false;
    }

    /// <summary>What a kept file holds of each version.</summary>
    public static Dictionary<ObjectHash, long> VersionsOf(List<SegmentEntry> entries)
    {
        var versions = new Dictionary<ObjectHash, long>();
        foreach (var (record, _) in entries)
            versions[record.Key.Object] = versions.GetValueOrDefault(record.Key.Object) + SegmentFormat.RecordBytes(record.Length);
        return versions;
    }

    /// <summary>Whether pins may take a further segment; one that is kept already counts as taken.</summary>
    public bool MayKeep(Segment? one = null) =>
        one is { IsKept: true }
        || (table.KeptBytes + (one?.Length ?? options.SegmentBytes) <= options.Bytes * options.PinnedShare && table.KeptRecords < options.ChunkBound / 2);

    // The oldest that is not kept. Kept ones only when there is nothing else: the budget has shrunk.
    private Segment? NextVictim()
    {
        Segment? normal = null, kept = null;
        foreach (var segment in table.Line)
        {
            if (segment.Entries is not null)
                continue;
            // Pins that were lifted free their file: below a half it stands in line like others, and what is still pinned in it is copied when its turn comes.
            if (segment is { IsKept: true, Versions: { } versions } && versions.Sum(v => isPinned(v.Key) ? v.Value : 0) < segment.Length / 2)
                segment.IsKept = false;
            if (segment.IsKept)
                kept ??= segment;
            else
                normal ??= segment;
        }

        return normal ?? kept;
    }

    private void Copy(Segment victim, in SegmentEntry entry, bool pinned)
    {
        // Replaced or found bad since.
        if (!table.IsLive(victim, entry, out _))
            return;
        var record = _buffer.AsSpan(0, SegmentFormat.RecordBytes(entry.Record.Length));
        try
        {
            if (victim.File.Read(entry.Offset, record) != record.Length || !SegmentFormat.TryReadRecord(record, out var head, out _) || head != entry.Record)
                return;
        }
        catch (IOException)
        {
            // It cannot be saved; a miss later.
            return;
        }

        if (StreamFor(entry.Record, pinned, record.Length) is not { } stream)
            return;
        segments.Append(stream, record, entry.Record);
        counters.Reinserted(record.Length);
    }

    // Metadata stays in one line, so that the later record is the newer one. Kept chunks go apart from new ones: a segment of what was used once more is in use
    // for longer, and is then queued again whole, without a write (bench/results/hit-rate.md: up to 1.3 points of hits).
    private SegmentStream? StreamFor(in CacheRecord record, bool pinned, int bytes)
    {
        if (!record.IsMetadata && pinned && HasRoom(SegmentStream.Pinned, bytes))
            return SegmentStream.Pinned;
        if (!record.IsMetadata && HasRoom(SegmentStream.Kept, bytes))
            return SegmentStream.Kept;
        return HasRoom(SegmentStream.Normal, bytes) ? SegmentStream.Normal : null;
    }

    private bool HasRoom(SegmentStream stream, int bytes)
    {
        if (segments.RoomLeft(stream) >= bytes)
            return true;
        if (!segments.HasSpaceFor(1) || (stream == SegmentStream.Pinned && !MayKeep()))
            return false;
        segments.Seal(stream);
        segments.Open(stream);
        return true;
    }
}
