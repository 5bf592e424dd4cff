using System.Numerics;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;

namespace Delivery.Bench.HitRate;

/// <summary>
/// The edge's two tiers without their bytes: the same layout, pages, segments and order of events as <see cref="HotTierStore"/> and the disk tier, and the
/// real <see cref="CachePolicy"/> with its ghost, which makes every decision. tests/Edge holds it against the real hot tier.
/// </summary>
internal sealed class EdgeCache : ReplayedCache
{
    private readonly Trace _trace;
    private readonly CachePolicy _policy;
    private readonly ReplayedShards _probation;
    private readonly ReplayedShards _main;
    private readonly ReplayedDisk? _disk;

    /// <param name="name">Its name in the results.</param>
    /// <param name="trace">What will be asked for.</param>
    /// <param name="ramBytes">RAM budget, index and ghost included, as an operator sets it.</param>
    /// <param name="diskBytes">Disk budget; 0 = no disk.</param>
    /// <param name="options">The policy's constants.</param>
    public EdgeCache(string name, Trace trace, long ramBytes, long diskBytes, CachePolicyOptions options)
        : base(name)
    {
        _trace = trace;
        _policy = new(options);
        _probation = new(trace, HotTierStore.ProbationLayout(ramBytes, options));
        _main = new(trace, HotTierStore.MainLayout(ramBytes, options));
        if (diskBytes > 0)
            _disk = new(trace, diskBytes, _policy, _main.Contains);
    }

    public override double WriteAmplification => _disk?.WriteAmplification ?? 0;

    public override Served Request(int chunk)
    {
        if (_main.TryUse(chunk, out var marked) || _probation.TryUse(chunk, out marked))
        {
            // The use that proves a chunk sends it to disk at once.
            if (marked != 0 && marked == _policy.UsesToProve(_trace.Key(chunk)))
                Prove(chunk);
            return Served.Ram;
        }

        if (_disk is not null && _disk.TryUse(chunk, out var uses))
        {
            if (_policy.PromoteFromDisk(_trace.Key(chunk), uses))
                WriteMain(chunk);
            return Served.Disk;
        }

        Fill(chunk);
        return Served.Upstream;
    }

    private void Fill(int chunk)
    {
        if (_policy.OnFill(_trace.Key(chunk), pinned: false) == Placement.Main)
        {
            WriteMain(chunk);
            Prove(chunk);
            return;
        }

        var shard = _probation.Of(chunk);
        while (shard.IsFull)
            TurnProbation(shard);
        shard.Append(chunk, 0);
    }

    private void TurnProbation(ReplayedShard shard)
    {
        foreach (var chunk in shard.OldestPage)
        {
            if (_main.Contains(chunk))
                continue;
            var proven = _policy.PromoteFromProbation(_trace.Key(chunk), shard.Uses(chunk), pinned: false);
            if (proven || !_main.Of(chunk).HasBeenFull)
                WriteMain(chunk);
            if (proven || _disk is { HasRoom: true })
                Prove(chunk);
        }

        shard.DropOldestPage();
    }

    private void WriteMain(int chunk)
    {
        var shard = _main.Of(chunk);
        while (shard.IsFull)
            TurnMain(shard);
        shard.Append(chunk, 0);
    }

    private void TurnMain(ReplayedShard shard)
    {
        var page = shard.OldestPage;
        Span<ExitEntry> entries = new ExitEntry[page.Count];
        Span<bool> keep = new bool[page.Count];
        for (var i = 0; i < page.Count; i++)
            entries[i] = new(ChunkValue.RecordBytes(_trace.Bytes[page[i]]), shard.Uses(page[i]), _trace.IsHead(page[i]), IsPinned: false);
        _policy.OnPageExit(entries, shard.PageBytes, keep);
        for (var i = 0; i < page.Count; i++)
        {
            if (!keep[i])
                continue;
            shard.Append(page[i], CachePolicy.UsesAfterLap(entries[i].Uses));
            Prove(page[i]);
        }

        shard.DropOldestPage();
    }

    private void Prove(int chunk)
    {
        if (_disk is not null && !_disk.Contains(chunk))
            _disk.Write(chunk);
    }
}

/// <summary>A layout's shards; they share arrays of one entry for each chunk.</summary>
internal sealed class ReplayedShards
{
    private readonly Trace _trace;
    private readonly HotTierLayout _layout;
    private readonly ReplayedShard[] _shards;
    private readonly byte[] _uses;
    private readonly int[] _pageOf;

    public ReplayedShards(Trace trace, HotTierLayout layout)
    {
        _trace = trace;
        _layout = layout;
        _uses = new byte[trace.Chunks];
        _pageOf = new int[trace.Chunks];
        _shards = [.. layout.Shards.Select(s => new ReplayedShard(trace, s, _uses, _pageOf))];
    }

    public bool Contains(int chunk) => _pageOf[chunk] != 0;

    public ReplayedShard Of(int chunk) => _shards[_shards.Length == 1 ? 0 : _layout.ShardOf(_trace.Key(chunk))];

    /// <param name="chunk">The chunk.</param>
    /// <param name="marked">Its mark, if this use raised it; else 0.</param>
    public bool TryUse(int chunk, out byte marked)
    {
        marked = 0;
        if (_pageOf[chunk] == 0)
            return false;
        if (_uses[chunk] < CachePolicy.MaxUses)
            marked = ++_uses[chunk];
        return true;
    }
}

/// <summary>The ring of pages of one <see cref="HotTierShard"/>.</summary>
/// <param name="trace">For the chunks' lengths.</param>
/// <param name="size">The ring's size.</param>
/// <param name="uses">Mark of each chunk.</param>
/// <param name="pageOf">Page of each chunk, from 1; 0 = absent.</param>
internal sealed class ReplayedShard(Trace trace, HotTierShardSize size, byte[] uses, int[] pageOf)
{
    private readonly List<int>[] _pages = [.. Enumerable.Range(0, size.Pages).Select(_ => new List<int>())];
    private readonly List<int> _oldest = [];
    private long _tailOffset = 64; // FASTER's first address.
    private int _tail = 1;
    private int _begin = 1;

    public long PageBytes => size.PageBytes;

    public bool IsFull => _begin < _tail + HotTierShard.FreePages - size.Pages;

    public bool HasBeenFull => _begin > 1 || IsFull;

    /// <summary>The live chunks of the oldest page, copied: survivors may be written to the same ring meanwhile.</summary>
    public List<int> OldestPage
    {
        get
        {
            _oldest.Clear();
            foreach (var chunk in _pages[_begin % size.Pages])
            {
                if (pageOf[chunk] == _begin)
                    _oldest.Add(chunk);
            }

            return _oldest;
        }
    }

    public byte Uses(int chunk) => uses[chunk];

    public void Append(int chunk, byte marked)
    {
        var bytes = ChunkValue.RecordBytes(trace.Bytes[chunk]);
        if (_tailOffset + bytes > size.PageBytes)
        {
            _tail++;
            _tailOffset = 0;
        }

        _tailOffset += bytes;
        _pages[_tail % size.Pages].Add(chunk);
        pageOf[chunk] = _tail;
        uses[chunk] = marked;
    }

    public void DropOldestPage()
    {
        var page = _pages[_begin % size.Pages];
        foreach (var chunk in page)
        {
            if (pageOf[chunk] == _begin)
                pageOf[chunk] = 0;
        }

        page.Clear();
        _begin++;
    }
}

/// <summary>Segments, first in, first out, with a second chance.</summary>
/// <param name="trace">For the chunks' lengths.</param>
/// <param name="budgetBytes">All segments, those that are being written included.</param>
/// <param name="policy">Decides.</param>
/// <param name="isHot">Whether a chunk is in RAM main.</param>
internal sealed class ReplayedDisk(Trace trace, long budgetBytes, CachePolicy policy, Func<int, bool> isHot)
{
    // Header, block checksums, footer entry.
    private const int RecordOverhead = 192;

    // As DiskTierOptions.SegmentBytes: some 64 segments, 4 to 256 MiB.
    private readonly long _segmentBytes = Math.Clamp((long)BitOperations.RoundUpToPowerOf2((ulong)budgetBytes / 64 + 1) / 2, 4L << 20, 256L << 20);
    private readonly Queue<Segment> _sealed = [];
    private readonly int[] _segmentOf = new int[trace.Chunks];
    private readonly byte[] _uses = new byte[trace.Chunks];
    private Segment _new = new(1);
    private Segment _kept = new(2);
    private int _lastId = 2;
    private long _admitted;
    private long _written;

    public double WriteAmplification => _admitted == 0 ? 0 : (double)_written / _admitted;

    /// <summary>As DiskTierStore.HasRoom: more than eviction keeps free.</summary>
    public bool HasRoom => (_sealed.Count + 6) * _segmentBytes <= budgetBytes;

    public bool Contains(int chunk) => _segmentOf[chunk] != 0;

    public bool TryUse(int chunk, out byte uses)
    {
        uses = 0;
        if (_segmentOf[chunk] == 0)
            return false;
        if (_uses[chunk] < CachePolicy.MaxUses)
            _uses[chunk]++;
        uses = _uses[chunk];
        return true;
    }

    public void Write(int chunk)
    {
        _admitted += trace.Bytes[chunk] + RecordOverhead;
        _uses[chunk] = 0;
        Append(ref _new, chunk);
    }

    private void Append(ref Segment open, int chunk)
    {
        var bytes = trace.Bytes[chunk] + RecordOverhead;
        if (open.Bytes + bytes > _segmentBytes)
        {
            _sealed.Enqueue(open);
            open = new(++_lastId);
            MakeRoom();
        }

        open.Bytes += bytes;
        open.Chunks.Add(chunk);
        _segmentOf[chunk] = open.Id;
        _written += bytes;
    }

    private void MakeRoom()
    {
        // Two are written to, and room for two more is made beforehand (DiskTierWriter.Roll).
        for (var inARow = 0; (_sealed.Count + 4) * _segmentBytes > budgetBytes;)
        {
            inARow = Evict(_sealed.Dequeue(), inARow) == SegmentFate.Requeue ? inARow + 1 : 0;
        }
    }

    private SegmentFate Evict(Segment segment, int inARow)
    {
        var live = segment.Chunks.Where(c => _segmentOf[c] == segment.Id).ToArray();
        var entries = new ExitEntry[live.Length];
        for (var i = 0; i < live.Length; i++)
            entries[i] = new(trace.Bytes[live[i]] + RecordOverhead, _uses[live[i]], trace.IsHead(live[i]), IsPinned: false, isHot(live[i]));
        var keep = new bool[live.Length];
        var fate = policy.OnSegmentExit(entries, segment.Bytes, inARow < policy.Options.MaxRequeuesInARow ? segment.Requeues : int.MaxValue, keep);
        foreach (var chunk in live)
            _uses[chunk] = CachePolicy.UsesAfterLap(_uses[chunk]);
        if (fate == SegmentFate.Requeue)
        {
            segment.Requeues++;
            _sealed.Enqueue(segment);
            return fate;
        }

        foreach (var chunk in live)
            _segmentOf[chunk] = 0;
        for (var i = 0; i < live.Length; i++)
        {
            if (keep[i])
                Append(ref _kept, live[i]);
        }

        return fate;
    }

    private sealed class Segment(int id)
    {
        public int Id { get; } = id;

        public List<int> Chunks { get; } = [];

        public long Bytes { get; set; }

        public int Requeues { get; set; }
    }
}
