using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Policy;

namespace Delivery.Edge.Tests.Cache.Policy;

public sealed class CachePolicyTests
{
    private static readonly ChunkKey Head = new(ObjectHash.OfVersion("/audio/1", "v", 0), 0);
    private static readonly ChunkKey Tail = new(ObjectHash.OfVersion("/audio/1", "v", 0), 3);

    private readonly CachePolicy _policy = new(new());

    [Fact]
    public void Fill_NewKey_GoesOnProbation_AKeyOfTheGhostToMainOnce()
    {
        Assert.Equal(Placement.Probation, _policy.OnFill(Tail, pinned: false));
        Assert.False(_policy.PromoteFromProbation(Tail, 0, pinned: false));
        Assert.Equal(Placement.Main, _policy.OnFill(Tail, pinned: false));
        Assert.Equal(Placement.Probation, _policy.OnFill(Tail, pinned: false));
        Assert.Equal(Placement.Main, _policy.OnFill(Tail, pinned: true));
    }

    [Fact]
    public void Probation_AskedForAgain_IsLeftForMain()
    {
        var options = _policy.Options;
        Assert.True(_policy.PromoteFromProbation(Head, options.HeadUses, pinned: false));
        Assert.False(_policy.PromoteFromProbation(Head, options.HeadUses - 1, pinned: false));
        Assert.True(_policy.PromoteFromProbation(Tail, options.TailUses, pinned: false));
        Assert.False(_policy.PromoteFromProbation(Tail, options.TailUses - 1, pinned: false));
        Assert.True(_policy.PromoteFromProbation(Tail, 0, pinned: true));
    }

    [Fact]
    public void Page_KeepsPinnedHeadsThenHeadsThenTheMostUsed_UpToItsShare()
    {
        ExitEntry[] page =
        [
            new(100, 0, IsHead: false, IsPinned: false),
            new(100, 1, IsHead: false, IsPinned: false),
            new(100, 3, IsHead: false, IsPinned: false),
            new(100, 1, IsHead: true, IsPinned: false),
            new(100, 0, IsHead: true, IsPinned: true),
            new(100, 0, IsHead: true, IsPinned: false),
            new(100, 2, IsHead: false, IsPinned: true),
            new(100, 1, IsHead: false, IsPinned: false),
        ];
        var keep = new bool[page.Length];
        Assert.Equal(400, _policy.OnPageExit(page, 600, keep));
        Assert.Equal([false, false, true, true, true, false, true, false], keep);
        Assert.Equal(600, _policy.OnPageExit(page, 10_000, keep));
        Assert.Equal([false, true, true, true, true, false, true, true], keep);
    }

    [Fact]
    public void Page_OfPinnedHeads_StaysWhole()
    {
        var page = Enumerable.Repeat(new ExitEntry(100, 0, IsHead: true, IsPinned: true), 6).ToArray();
        var keep = new bool[6];
        Assert.Equal(600, _policy.OnPageExit(page, 600, keep));
        Assert.DoesNotContain(false, keep);
    }

    [Fact]
    public void Segment_MostlyUsed_IsQueuedAgainABoundedNumberOfTimes()
    {
        var entries = Enumerable.Range(0, 100).Select(i => new ExitEntry(10, (byte)(i < 70 ? 1 : 0), false, false)).ToArray();
        var keep = new bool[100];
        for (var requeues = 0; requeues < _policy.Options.MaxRequeues; requeues++)
            Assert.Equal(SegmentFate.Requeue, _policy.OnSegmentExit(entries, 1000, requeues, keep));
        Assert.Equal(SegmentFate.Evict, _policy.OnSegmentExit(entries, 1000, _policy.Options.MaxRequeues, keep));
        Assert.Equal(_policy.Options.SegmentKeepShare * 1000, keep.Count(k => k) * 10, 10.0);
    }

    [Fact]
    public void Segment_LittleUsed_KeepsHotUsedAndPinnedChunksUnderTheCap()
    {
        // Four used tails of 100, a used head, one that is hot in RAM, and two pinned, which the cap does not count.
        ExitEntry[] entries =
        [
            new(100, 1, false, false), new(100, 1, false, false), new(100, 1, false, false), new(100, 2, false, false),
            new(100, 1, true, false), new(100, 0, false, false, IsHot: true), new(400, 0, false, true), new(400, 0, true, true),
            new(100, 0, false, false), new(100, 0, true, false),
        ];
        var keep = new bool[entries.Length];
        Assert.Equal(SegmentFate.Evict, _policy.OnSegmentExit(entries, 1500, 0, keep));
        Assert.Equal(300, entries.Where((e, i) => keep[i] && !e.IsPinned).Sum(e => e.Bytes));
        Assert.True(keep[4] && keep[3] && keep[6] && keep[7]);
        Assert.False(keep[8] || keep[9]);
    }
}
