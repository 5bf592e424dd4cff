namespace Delivery.Edge.Cache.Policy;

/// <summary>Where a fill's chunk goes.</summary>
internal enum Placement
{
    /// <summary>RAM, first in, first out, until it is used again or leaves.</summary>
    Probation,

    /// <summary>RAM main, and the disk.</summary>
    Main,
}

/// <summary>What becomes of the oldest segment.</summary>
internal enum SegmentFate
{
    /// <summary>It is unlinked, after the entries that are to be kept were written again.</summary>
    Evict,

    /// <summary>It goes to the end of the queue as it is.</summary>
    Requeue,
}

/// <summary>A chunk in a page or a segment that is about to leave.</summary>
/// <param name="Bytes">What it takes there.</param>
/// <param name="Uses">Its mark.</param>
/// <param name="IsHead">The first chunk of its object.</param>
/// <param name="IsPinned">Of a pinned object.</param>
/// <param name="IsHot">In RAM main: its uses are counted there, so a segment must not take it for unused.</param>
internal readonly record struct ExitEntry(int Bytes, byte Uses, bool IsHead, bool IsPinned, bool IsHot = false)
{
    public bool IsUsed => Uses > 0 || IsHot;
}

/// <summary>
/// Who is admitted where, and who stays. Decisions only: no bytes, no clocks, no I/O, so that the replay in <c>bench/HitRate</c> runs this very code.
/// </summary>
/// <remarks><code>
/// fill ──▶ probation (RAM) ── used again ──▶ main (RAM) + disk ── leaves RAM main: unused, on disk alone; used, written to its tail again
///   │            └── unused: forgotten but for its name, in the ghost          └── leaves the disk: used, written again or its segment queued again
///   └── name in the ghost, pinned or prewarmed ──▶ main (RAM) + disk
/// </code>
/// S3-FIFO (Yang et al., SOSP 2023) over two tiers. The hot tier's writer thread calls what knows the ghost; the rest has no state and may be called by any.
/// </remarks>
internal sealed class CachePolicy(CachePolicyOptions options)
{
    /// <summary>A mark counts to 3, as in S3-FIFO; more only makes what was hot yesterday stay longer.</summary>
    public const int MaxUses = 3;

    public CachePolicyOptions Options { get; } = options;

    public GhostTable Ghost { get; } = new(options.GhostKeys);

    /// <summary>Places a fill's chunk. The name is taken out of the ghost: it has done its work.</summary>
    public Placement OnFill(in ChunkKey key, bool pinned) => Ghost.Remove(key) || pinned ? Placement.Main : Placement.Probation;

    /// <summary>Uses that prove a chunk: with the last of them it goes to disk, at the page turn to main.</summary>
    public int UsesToProve(in ChunkKey key) => key.Index == 0 ? Options.HeadUses : Options.TailUses;

    /// <summary>Whether a chunk that leaves probation is proven; if not, the ghost remembers its name.</summary>
    public bool PromoteFromProbation(in ChunkKey key, int uses, bool pinned)
    {
        if (pinned || uses >= UsesToProve(key))
            return true;
        Ghost.Add(key);
        return false;
    }

    /// <summary>
    /// Marks who of a leaving page of RAM main is written again. Heads of pinned objects always are; they have a share that is granted elsewhere. Then used heads,
    /// then what was used most, as long as <see cref="CachePolicyOptions.MainKeepShare"/> of the page lasts, so that a turn frees space.
    /// </summary>
    /// <returns>Bytes kept.</returns>
    public long OnPageExit(ReadOnlySpan<ExitEntry> entries, long pageBytes, Span<bool> keep)
    {
        long kept = 0;
        for (var i = 0; i < entries.Length; i++)
        {
            keep[i] = entries[i] is { IsPinned: true, IsHead: true };
            kept += keep[i] ? entries[i].Bytes : 0;
        }

        return Select(entries, (long)(pageBytes * Options.MainKeepShare), kept, keep);
    }

    /// <summary>The mark of a chunk that was kept: a use less, as in S3-FIFO's main queue.</summary>
    public static byte UsesAfterLap(byte uses) => (byte)Math.Max(0, uses - 1);

    /// <summary>Whether a chunk that was just read from disk goes to RAM main.</summary>
    public bool PromoteFromDisk(in ChunkKey key, int uses) => uses >= Options.DiskUsesToRam;

    /// <summary>
    /// Decides the fate of the oldest segment of the normal stream. Pinned entries are kept beyond any cap: they go to the pinned stream, once. The others that are kept
    /// should be written to a segment of their own, apart from new chunks: it will be mostly in use at its turn, and be queued again without a write.
    /// </summary>
    /// <param name="entries">What is live in it.</param>
    /// <param name="segmentBytes">The segment's size, dead entries included.</param>
    /// <param name="requeues">
    /// How often it has been queued again; <see cref="int.MaxValue"/> when <see cref="CachePolicyOptions.MaxRequeuesInARow"/> others have been, so that it must leave.
    /// </param>
    /// <param name="keep">Receives who is written again, if the segment is evicted.</param>
    public SegmentFate OnSegmentExit(ReadOnlySpan<ExitEntry> entries, long segmentBytes, int requeues, Span<bool> keep)
    {
        long used = 0;
        for (var i = 0; i < entries.Length; i++)
        {
            keep[i] = entries[i].IsPinned;
            used += entries[i].IsUsed ? entries[i].Bytes : 0;
        }

        if (requeues < Options.MaxRequeues && used >= segmentBytes * Options.RequeueShare)
            return SegmentFate.Requeue;
        Select(entries, (long)(segmentBytes * Options.SegmentKeepShare), 0, keep);
        return SegmentFate.Evict;
    }

    // In order of rank, and within a rank as they lie, until the room is gone. Four passes over some dozens of entries (a segment: some thousands).
    private static long Select(ReadOnlySpan<ExitEntry> entries, long room, long kept, Span<bool> keep)
    {
        for (var rank = 0; rank <= MaxUses; rank++)
        {
            for (var i = 0; i < entries.Length; i++)
            {
                if (keep[i] || !entries[i].IsUsed || RankOf(entries[i]) != rank || kept + entries[i].Bytes > room)
                    continue;
                keep[i] = true;
                kept += entries[i].Bytes;
            }
        }

        return kept;
    }

    private static int RankOf(in ExitEntry entry) => entry.IsHead ? 0 : MaxUses + 1 - Math.Clamp(entry.Uses + (entry.IsHot ? 1 : 0), 1, MaxUses);
}
