namespace Delivery.Edge.Cache.Policy;

/// <summary>The policy's constants. Each default comes from the replay in <c>bench/results/hit-rate.md</c>; none is an operator's setting.</summary>
internal sealed record CachePolicyOptions
{
    /// <summary>
    /// Keys that the ghost remembers: as many as the largest tier holds chunks, so that whatever is asked for twice within one turn of the cache is admitted.
    /// </summary>
    public int GhostKeys { get; init; } = 1 << 16;

    /// <summary>Share of the RAM budget that holds chunks on probation. S3-FIFO's figure (SOSP 2023, §5.2: 10 % is good on every trace there).</summary>
    public double ProbationShare { get; init; } = 0.10;

    /// <summary>Uses on probation that prove a head. One: somebody waits for it at every start, and it is what a listener who skips on asks for.</summary>
    public int HeadUses { get; init; } = 1;

    /// <summary>Uses on probation that prove any other chunk (S3-FIFO: more than one).</summary>
    public int TailUses { get; init; } = 2;

    /// <summary>Share of a page of RAM main that may be written again at its turn: a turn frees a quarter of a page at least.</summary>
    public double MainKeepShare { get; init; } = 0.75;

    /// <summary>Uses of a chunk on disk, since it was written or last kept, after which it is offered to RAM main.</summary>
    public int DiskUsesToRam { get; init; } = 2;

    /// <summary>
    /// Share of a leaving segment that may be written again. Write amplification is at most 1 / (1 - share): 1.25 for 0.2.
    /// </summary>
    public double SegmentKeepShare { get; init; } = 0.20;

    /// <summary>A segment is queued again whole, without a write, when at least this share of its bytes is in use.</summary>
    public double RequeueShare { get; init; } = 0.50;

    /// <summary>Times that a segment may be queued again before it must leave.</summary>
    public int MaxRequeues { get; init; } = 3;

    // The ghost's share of the RAM budget at most: beyond, a longer memory is worth less than the chunks that it displaces.
    private const int GhostBudgetDivisor = 32;

    /// <summary>The constants with a ghost for these tiers.</summary>
    /// <param name="hotBytes">RAM budget; the ghost is paid from it.</param>
    /// <param name="diskBytes">Disk budget; 0 without a disk.</param>
    public static CachePolicyOptions For(long hotBytes, long diskBytes)
    {
        var keys = Math.Max(hotBytes, diskBytes) / Chunk.SizeBytes;
        return new() { GhostKeys = (int)Math.Min(keys, GhostTable.CapacityFor(hotBytes / GhostBudgetDivisor)) };
    }
}
