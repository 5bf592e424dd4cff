namespace Delivery.Edge.Cache.Policy;

/// <summary>The policy's constants. Each default comes from the replay in <c>bench/results/hit-rate.md</c>; none is an operator's setting.</summary>
internal sealed record CachePolicyOptions
{
    /// <summary>
    /// Keys that the ghost remembers: twice as many as the largest tier holds chunks (S3-FIFO: once). Twice gains 0.6 to 1 point at a cache of 10 % and up to 0.6 where
    /// the tail is long (Zipf 0.7), and costs up to 0.2 at 1 % and below elsewhere.
    /// </summary>
    public int GhostKeys { get; init; } = 1 << 16;

    /// <summary>Share of the RAM budget that holds chunks on probation. S3-FIFO's figure (SOSP 2023, §5.2: 10 % is good on every trace there).</summary>
    public double ProbationShare { get; init; } = 0.10;

    /// <summary>Uses on probation that prove a head. One: somebody waits for it at every start, and it is what a listener who skips on asks for.</summary>
    public int HeadUses { get; init; } = 1;

    /// <summary>Uses on probation that prove any other chunk (S3-FIFO: more than one).</summary>
    public int TailUses { get; init; } = 2;

    /// <summary>
    /// Share of a page of RAM main that may be written again at its turn, so that each page that is cleared frees a quarter at least. Without a disk, 0.9 would be worth
    /// up to 0.4 points of all hits, and would cost up to 4 of the heads': what is given up at the cap are tails first.
    /// </summary>
    public double MainKeepShare { get; init; } = 0.75;

    /// <summary>Uses of a chunk on disk, since it was written or last kept, after which it is offered to RAM main.</summary>
    public int DiskUsesToRam { get; init; } = 2;

    /// <summary>
    /// Share of a leaving segment that may be written again. Write amplification is at most 1 / (1 - share): 1.28 for 0.22, below the 1.3 that was promised.
    /// </summary>
    public double SegmentKeepShare { get; init; } = 0.22;

    /// <summary>
    /// A segment is queued again whole, without a write, when at least this share of its bytes is in use. Less keeps too many dead bytes, more writes too many
    /// used ones again or gives them up; 0.5 to 0.75 differ by a tenth of a point.
    /// </summary>
    public double RequeueShare { get; init; } = 0.65;

    /// <summary>Times that a segment may be queued again before it must leave: 3 cost half a point at a cache of 1 %, more than 20 gain nothing.</summary>
    public int MaxRequeues { get; init; } = 20;

    /// <summary>
    /// Segments that may be queued again in a row; the next one leaves, so that an eviction never asks the whole disk. 4 cost a third of a point, more than 16 gain nothing.
    /// </summary>
    public int MaxRequeuesInARow { get; init; } = 16;

    private const int GhostLaps = 2;

    // The ghost's share of the RAM budget at most: beyond, a longer memory is worth less than the chunks that it displaces.
    private const int GhostBudgetDivisor = 32;

    /// <summary>The constants with a ghost for these tiers.</summary>
    /// <param name="hotBytes">RAM budget; the ghost is paid from it.</param>
    /// <param name="diskBytes">Disk budget; 0 without a disk.</param>
    public static CachePolicyOptions For(long hotBytes, long diskBytes)
    {
        var keys = GhostLaps * (Math.Max(hotBytes, diskBytes) / Chunk.SizeBytes);
        return new() { GhostKeys = (int)Math.Min(keys, GhostTable.CapacityFor(hotBytes / GhostBudgetDivisor)) };
    }
}
