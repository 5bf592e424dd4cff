using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Fills directory and table from the files that are there. Sealed files are believed by their footer; others are followed from header to header, cut behind
/// the last good record, and sealed. Payloads are not read: what is damaged in them is found when they are.
/// </summary>
internal sealed partial class DiskTierRecovery(
    ICacheDisk disk, Guid cacheId, bool dropAll, Func<CacheRecord, bool> isLive, SegmentTable table, SegmentWriter segments, SegmentEvictor evictor, DiskTierOptions options,
    DiskTierCounters counters, ILogger log)
{
    private readonly List<SegmentEntry> _entries = [];

    /// <exception cref="IOException">The folder, or not one of its segments, can be read: nothing was changed, and it may be tried again.</exception>
    public void Run()
    {
        var ids = new List<long>();
        foreach (var name in disk.List())
        {
            if (Segment.TryParseName(name, out var id))
                ids.Add(id);
            else if (name == DiskProbe.FileName)
                TryDelete(name);
        }

        // By id: of two records of one key the later one wins.
        ids.Sort();
        segments.NextId = ids.Count == 0 ? 0 : ids[^1] + 1;
        if (dropAll)
        {
            foreach (var id in ids)
                TryDelete(Segment.NameOf(id));
            return;
        }

        var failed = new List<(long Id, IOException Exception)>();
        foreach (var id in ids)
        {
            try
            {
                Load(id);
            }
            catch (IOException e)
            {
                failed.Add((id, e));
            }
        }

        // One bad file among good ones is the file's fault, and nobody needs it. Were all of them bad, it would be the disk's, and that may pass.
        if (failed.Count > 0 && failed.Count == ids.Count)
            throw failed[0].Exception;
        foreach (var (id, _) in failed)
            Reject(id);
        // The budget is smaller than it was, or the power went before unlinking was durable.
        while ((table.UsedBytes > options.Bytes || table.Count > table.MaxCount) && evictor.DropOldest())
        {
        }

        LogRecovered(log, table.Count, table.UsedBytes, counters.DroppedSegments);
    }

    private void Load(long id)
    {
        var file = disk.Open(Segment.NameOf(id), write: false);
        try
        {
            _entries.Clear();
            var scan = SegmentScan.Of(file, _entries);
            // The directory keeps offsets in 32 bits; no file of ours is longer.
            if (scan.State == SegmentState.Unreadable || scan.Header.SegmentId != id || scan.Header.CacheId != cacheId || file.Length > uint.MaxValue || _entries.Count == 0)
            {
                file.Dispose();
                Reject(id);
                return;
            }

            var isSealed = scan.State == SegmentState.Sealed || TrySeal(id, scan);
            var segment = new Segment(scan.Header, file) { Length = file.Length, Records = _entries.Count, IsSealed = isSealed };
            if (segment.IsKept)
                segment.Versions = SegmentEvictor.VersionsOf(_entries);
            table.Add(segment);
            foreach (var (record, offset) in _entries)
            {
                if (isLive(record))
                    table.Locate(record, segment, offset);
            }
        }
        catch (IOException)
        {
            file.Dispose();
            throw;
        }
    }

    // A disk that does not let itself be written to is served from all the same.
    private bool TrySeal(long id, in SegmentScan scan)
    {
        try
        {
            using var file = disk.Open(Segment.NameOf(id), write: true);
            var footer = new byte[SegmentFormat.FooterBytes(_entries.Count)];
            SegmentFormat.WriteFooter(footer, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_entries), scan.Header, scan.Tail);
            file.Truncate(scan.Tail);
            file.Sync();
            file.Write(scan.Tail, footer);
            file.Sync();
            counters.Written(footer.Length);
            return true;
        }
        catch (IOException)
        {
            // The next start follows the headers again.
            return false;
        }
    }

    private void Reject(long id)
    {
        counters.SegmentDropped();
        TryDelete(Segment.NameOf(id));
    }

    private void TryDelete(string name)
    {
        try
        {
            disk.Delete(name);
        }
        catch (IOException)
        {
            // Tried again at the next start.
        }
    }

    [LoggerMessage(1053, LogLevel.Information, "The disk tier has {Segments} segments, {Bytes} bytes; {Dropped} were dropped as unusable")]
    private static partial void LogRecovered(ILogger logger, int segments, long bytes, long dropped);
}
