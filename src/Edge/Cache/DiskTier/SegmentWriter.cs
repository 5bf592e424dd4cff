using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>The files that are written to, one for each stream. The writer thread's alone.</summary>
/// <remarks>
/// <code>
/// (none) ── Open ──▶ active ── full: footer, sync ──▶ sealed
///                      └── a write or sync failed: left as it is, without a footer; the header chain lists it
/// </code>
/// </remarks>
internal sealed class SegmentWriter(ICacheDisk disk, Guid cacheId, SegmentTable table, DiskTierOptions options, DiskTierCounters counters)
{
    private readonly Segment?[] _active = new Segment?[2];
    private byte[] _footer = [];

    /// <summary>The id of the next file: above all that were ever seen, so that later records are found by order.</summary>
    public long NextId { get; set; }

    /// <summary>Bytes written since the last sync.</summary>
    public long UnsyncedBytes { get; private set; }

    /// <summary>Whether a further file, at its full size, keeps to the budget.</summary>
    public bool HasSpaceForOne => table.ReservedBytes + options.SegmentBytes <= options.Bytes && table.Count < table.MaxCount;

    /// <summary>Bytes that the stream's file can still take.</summary>
    public long RoomLeft(SegmentStream stream) => Active(stream) is { } active && active.Entries!.Count < table.MaxRecords
        ? Math.Max(0, options.SegmentBytes - active.Length - SegmentFormat.FooterBytes(active.Entries.Count + 1))
        : 0;

    /// <exception cref="IOException">The disk failed; nothing is open then.</exception>
    public void Open(SegmentStream stream)
    {
        var header = new SegmentHeader(cacheId, NextId++, stream);
        var file = disk.Create(Segment.NameOf(header.SegmentId));
        var segment = new Segment(header, file) { Entries = [], IsDirty = true };
        table.Add(segment);
        try
        {
            Span<byte> bytes = stackalloc byte[SegmentFormat.SegmentHeaderBytes];
            SegmentFormat.WriteSegmentHeader(bytes, header);
            Write(segment, bytes);
            // The name must be durable before its records are: a sealed file without a name is lost.
            disk.SyncFolder();
            if (segment.IsKept)
                segment.Versions = [];
            _active[(int)stream] = segment;
        }
        catch (IOException)
        {
            table.Drop(segment);
            throw;
        }
    }

    /// <summary>Appends a sealed record, for which there is <see cref="RoomLeft"/>.</summary>
    /// <exception cref="IOException">The disk failed; the record is not there.</exception>
    public void Append(SegmentStream stream, ReadOnlySpan<byte> bytes, in CacheRecord head)
    {
        var active = Active(stream)!;
        var offset = active.Length;
        try
        {
            Write(active, bytes);
        }
        catch (IOException e) when (DiskErrors.Of(e) == DiskError.Failed)
        {
            // The place may be bad; going on in another file avoids it.
            Leave(stream);
            throw;
        }

        active.Entries!.Add(new(head, offset));
        active.Records++;
        if (active.Versions is { } versions)
            versions[head.Key.Object] = versions.GetValueOrDefault(head.Key.Object) + bytes.Length;
        table.Locate(head, active, offset);
    }

    /// <summary>Writes the footer and syncs; nothing happens if nothing is open.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Seal(SegmentStream stream)
    {
        if (Active(stream) is not { } active)
            return;
        if (active.Entries!.Count == 0)
        {
            _active[(int)stream] = null;
            table.Drop(active);
            return;
        }

        var size = SegmentFormat.FooterBytes(active.Entries.Count);
        if (_footer.Length < size)
            _footer = GC.AllocateUninitializedArray<byte>(size * 2);
        var records = active.Length;
        SegmentFormat.WriteFooter(_footer, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(active.Entries), active.Header, records);
        // Records first: a footer that is durable must not list what is not.
        SyncFile(stream, active);
        try
        {
            Write(active, _footer.AsSpan(0, size));
        }
        catch (IOException)
        {
            Leave(stream);
            throw;
        }

        SyncFile(stream, active);
        active.IsSealed = true;
        Leave(stream);
    }

    /// <summary>Makes what was written durable.</summary>
    /// <exception cref="IOException">The disk failed; what was not synced may be lost, so its file is not continued.</exception>
    public void Sync()
    {
        foreach (var stream in (ReadOnlySpan<SegmentStream>)[SegmentStream.Normal, SegmentStream.Pinned])
        {
            if (Active(stream) is { IsDirty: true } active)
                SyncFile(stream, active);
        }

        UnsyncedBytes = 0;
    }

    /// <summary>The file is not written to any more.</summary>
    private void Leave(SegmentStream stream)
    {
        if (_active[(int)stream] is { } active)
            active.Entries = null;
        _active[(int)stream] = null;
    }

    // The ring may have dropped it, were there ever so many records.
    private Segment? Active(SegmentStream stream) => _active[(int)stream] is { IsGone: false } active ? active : null;

    private void SyncFile(SegmentStream stream, Segment segment)
    {
        try
        {
            segment.File.Sync();
            segment.IsDirty = false;
        }
        catch (IOException)
        {
            Leave(stream);
            throw;
        }
    }

    private void Write(Segment segment, ReadOnlySpan<byte> bytes)
    {
        segment.File.Write(segment.Length, bytes);
        segment.IsDirty = true;
        table.Resize(segment, segment.Length + bytes.Length);
        counters.Written(bytes.Length);
        UnsyncedBytes += bytes.Length;
    }
}
