using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.HotTier;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

[Collection(nameof(Alone))]
public sealed class DiskTierReadTests : IDisposable
{
    private readonly FaultyDisk _disk = new();
    private readonly TierWorld _world;

    public DiskTierReadTests() => _world = new(_disk);

    public void Dispose()
    {
        _world.Close();
        Assert.Equal(0, _disk.OpenFiles);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Range_AtEveryAlignmentToTheBlocks_ComesBackByteForByte(bool inPageCache)
    {
        _disk.InPageCache = inPageCache;
        const int Block = SegmentFormat.BlockBytes;
        foreach (var (i, length) in ((int, int)[])[(0, Chunk.SizeBytes), (1, 5 * Block + 77), (2, Block), (3, Block + 1), (4, Block - 1), (5, 1), (6, 3 * Block)])
        {
            _world.Put(i, length);
            _world.Written();
            var content = TierWorld.Content(i, length);
            int[] edges = [.. new[] { 0, 1, 4096, Block - 1, Block, Block + 1, 2 * Block, 2 * Block + 5, 5 * Block, length - Block, length - 1, length }.Where(e => e >= 0 && e <= length).Distinct()];
            foreach (var from in edges)
            {
                foreach (var to in edges.Where(e => e > from))
                {
                    var part = new byte[to - from];
                    Assert.True(await _world.Tier.ReadAsync(TierWorld.Key(i), length, from, part), $"{i}: {from}..{to}");
                    Assert.True(part.AsSpan().SequenceEqual(content.AsSpan(from, to - from)), $"{i}: {from}..{to}");
                }
            }
        }

        Assert.Equal(inPageCache, _world.Tier.Counters.Reads(DiskReadOutcome.Cached) > 0);
        Assert.Equal(!inPageCache, _world.Tier.Counters.Reads(DiskReadOutcome.Read) > 0);
    }

    [Fact]
    public async Task WrongLengthOrUnknownKey_IsAMiss()
    {
        _world.PutAll(1, 1, 5000);
        Assert.True(_world.Tier.Contains(TierWorld.Key(1), 5000));
        Assert.False(_world.Tier.Contains(TierWorld.Key(1), 4999));
        Assert.False(_world.Tier.Contains(TierWorld.Key(2), 5000));
        Assert.False(await _world.Tier.ReadAsync(TierWorld.Key(1), 4999, 0, new byte[10]));
        Assert.False(await _world.Tier.ReadAsync(TierWorld.Key(2), 5000, 0, new byte[10]));
        _world.Tier.Remove(TierWorld.Key(1));
        Assert.False(_world.Has(1, 5000));
        Assert.False(_world.Tier.Contains(TierWorld.Key(1), 5000));
        _world.PutAll(1, 1, 5000);
        Assert.True(_world.Has(1, 5000));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Metadata_LaterRecordReplacesTheEarlier(bool inPageCache)
    {
        _disk.InPageCache = inPageCache;
        var path = ObjectHash.OfPath(TierWorld.PathOf(1));
        var buffer = new byte[100];
        Assert.Equal(0, await _world.Tier.ReadMetadataAsync(path, buffer));
        _world.PutMetadata(1, [1, 2, 3]);
        _world.PutMetadata(1, [4, 5, 6, 7]);
        _world.Written();
        Assert.Equal(4, await _world.Tier.ReadMetadataAsync(path, buffer));
        Assert.Equal([4, 5, 6, 7], buffer[..4]);
        Assert.Equal(0, await _world.Tier.ReadMetadataAsync(path, new byte[3]));
        _world.Reopen();
        Assert.Equal(4, await _world.Tier.ReadMetadataAsync(path, buffer));
        Assert.Equal([4, 5, 6, 7], buffer[..4]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BitRot_AnywhereInTheRecord_IsAMissAndIsReported(bool inPageCache)
    {
        _disk.InPageCache = inPageCache;
        const int Length = 2 * SegmentFormat.BlockBytes + 100;
        var header = SegmentFormat.RecordHeaderBytes(Length);
        // Header: magic, version, key, path, sequence, length, block CRCs, CRC. Payload: first, middle, last bytes of its blocks.
        int[] places = [0, 5, 9, 30, 35, 50, 57, 61, 65, 69, header - 1, header, header + SegmentFormat.BlockBytes, header + Length - 1];
        for (var i = 0; i < places.Length; i++)
        {
            _world.PutAll(i, 1, Length);
            // Segment 0; each record has the same size.
            _disk.FlipBit(Segment.NameOf(0), SegmentFormat.SegmentHeaderBytes + i * SegmentFormat.RecordBytes(Length) + places[i], i % 8);
            Assert.False(_world.Has(i, Length, 0), $"place {places[i]}");
            // A reader thread answers first and tells the directory then.
            TierWorld.Until(() => !_world.Tier.Contains(TierWorld.Key(i), Length), $"the entry of place {places[i]} stays");
        }

        TierWorld.Until(() => _world.Tier.Counters.Reads(DiskReadOutcome.Damaged) == places.Length, "not counted as reads");
        TierWorld.Until(() => _world.Tier.Counters.DamagedRecords == places.Length, "not counted as records");
        TierWorld.Until(() => _world.Damaged.Count == places.Length, "not reported");
        Assert.Equal(Enumerable.Range(0, places.Length).Select(i => TierWorld.Key(i)).ToHashSet(), _world.Damaged.Select(r => r.Key).ToHashSet());
        // Fetched again, it is there again.
        _world.PutAll(0, 1, Length);
        Assert.True(_world.Has(0, Length));
    }

    [Fact]
    public void BitRot_InABlockThatIsNotAskedFor_CostsNothing()
    {
        _world.PutAll(1, 1);
        _disk.FlipBit(Segment.NameOf(0), SegmentFormat.SegmentHeaderBytes + SegmentFormat.MaxRecordHeaderBytes + 3 * SegmentFormat.BlockBytes, 1);
        Assert.True(_world.Has(1, Chunk.SizeBytes, 0, 3 * SegmentFormat.BlockBytes));
        Assert.True(_world.Has(1, Chunk.SizeBytes, 4 * SegmentFormat.BlockBytes));
        Assert.False(_world.Has(1, Chunk.SizeBytes, 4 * SegmentFormat.BlockBytes - 1));
    }

    [Fact]
    public async Task PageCacheHit_CompletesAtOnceAndAllocatesNothing()
    {
        using var temp = new TempDisk();
        using var world = new TierWorld(temp.Disk);
        world.PutAll(1, 1);
        var key = TierWorld.Key(1);
        var buffer = new byte[65_536];
        for (var i = 0; i < 200; i++)
            Assert.True(await world.Tier.ReadAsync(key, Chunk.SizeBytes, 100, buffer));
        Assert.SkipUnless(temp.Disk.CanReadCached && world.Tier.Counters.Reads(DiskReadOutcome.Cached) == 200, "This file system cannot tell what is in the page cache.");
        Assert.Equal(0, Allocation.Of(() =>
        {
            for (var i = 0; i < 1000; i++)
            {
                var read = world.Tier.ReadAsync(key, Chunk.SizeBytes, i * 10, buffer);
                if (!read.IsCompletedSuccessfully || !read.Result)
                    Assert.Fail("No hit.");
            }
        }));
        world.Close();
    }

    [Fact]
    public async Task ReadByAnotherThread_AllocatesLessThan500Bytes()
    {
        _disk.InPageCache = false;
        _world.PutAll(1, 1);
        var key = TierWorld.Key(1);
        var buffer = new byte[65_536];
        for (var i = 0; i < 200; i++)
            Assert.True(await _world.Tier.ReadAsync(key, Chunk.SizeBytes, 0, buffer));
        var before = GC.GetTotalAllocatedBytes(precise: true);
        for (var i = 0; i < 1000; i++)
        {
            if (!await _world.Tier.ReadAsync(key, Chunk.SizeBytes, 0, buffer))
                Assert.Fail("No hit.");
        }

        var each = (GC.GetTotalAllocatedBytes(precise: true) - before) / 1000;
        // The test's disk makes some 100 of it.
        Assert.True(each < 500, $"{each} bytes a read");
    }

    [Fact]
    public async Task ManyReadersAndAHangingDisk_AreBoundedAndComeBack()
    {
        var options = TierWorld.Small with { ReadTimeout = TimeSpan.FromMilliseconds(100), ReadBufferBytes = 5 * SegmentFormat.MaxRecordBytes, FailuresToTurnOff = 1000 };
        using var world = new TierWorld(_disk, options, open: false);
        _world.Close();
        world.Open();
        world.PutAll(1, 1);
        _disk.InPageCache = false;
        using (var stall = _disk.Stall(DiskOperations.Read))
        {
            var reads = Enumerable.Range(0, 12).Select(_ => world.Tier.ReadAsync(TierWorld.Key(1), Chunk.SizeBytes, 0, new byte[1000]).AsTask()).ToArray();
            // No buffer, no wait.
            Assert.Equal(7, reads.Count(r => r.IsCompleted && !r.Result));
            Assert.Equal(7, world.Tier.Counters.Reads(DiskReadOutcome.Busy));
            Assert.DoesNotContain(true, await Task.WhenAll(reads).WaitAsync(TierWorld.Patience));
            TierWorld.Until(() => world.Tier.Counters.Reads(DiskReadOutcome.TimedOut) == 5, "not counted");
            // Those that hang keep their buffers.
            Assert.Equal(5, world.Tier.ReadsInUse);
            Assert.Equal(2, stall.Waiting);
        }

        TierWorld.Until(() => world.Tier.ReadsInUse == 0, "buffers do not come back");
        Assert.True(world.Has(1));
        world.Close();
        _world.Open();
    }

    [Fact]
    public async Task UseByUse_ChunkIsOfferedToRamWholeAndInTheBackground()
    {
        _world.Close();
        _world.Policy = new(new() { DiskUsesToRam = 2 });
        _world.Open();
        var promoted = new System.Collections.Concurrent.ConcurrentQueue<(CacheRecord Record, byte[] Bytes)>();
        _world.Tier.Promoted = (record, bytes) => promoted.Enqueue((record, bytes.ToArray()));
        _world.PutAll(1, 1, 100_000);
        var part = new byte[10];
        Assert.True(await _world.Tier.ReadAsync(TierWorld.Key(1), 100_000, 0, part));
        Assert.True(await _world.Tier.ReadAsync(TierWorld.Key(1), 100_000, 10, part));
        Assert.Empty(promoted);
        Assert.True(await _world.Tier.ReadAsync(TierWorld.Key(1), 100_000, 0, part));
        TierWorld.Until(() => _world.Tier.PromotionsInUse == 0 && !promoted.IsEmpty, "not offered");
        var (record, bytes) = Assert.Single(promoted);
        Assert.Equal(TierWorld.Record(1, 100_000), record);
        Assert.Equal(TierWorld.Content(1, 100_000), bytes);
    }

    [Fact]
    public void Offers_AreBoundedAndGiveWay()
    {
        _world.Close();
        _world.Policy = new(new() { DiskUsesToRam = 1 });
        _world.Options = TierWorld.Small with { ReadThreads = 1, PromotionQueue = 3 };
        _world.Open();
        _world.PutAll(0, 10, 1000);
        // Hits come from the page cache; only the offers need the disk.
        using (var reads = _disk.Stall(DiskOperations.Read))
        {
            for (var i = 0; i < 10; i++)
            {
                Assert.True(_world.Use(i, 1000));
                if (i == 0)
                    TierWorld.Until(() => reads.Waiting == 1, "the first offer is not read");
            }

            Assert.Equal(4, _world.Tier.PromotionsInUse);
            Assert.Equal(6, _world.Tier.Counters.PromotionsDropped);
        }

        TierWorld.Until(() => _world.Tier.PromotionsInUse == 0, "offers are not read");
        Assert.Equal(4, _world.Tier.Counters.Promoted);
    }
}
