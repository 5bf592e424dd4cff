using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

public sealed class DiskTierEvictionTests : IDisposable
{
    // Full chunks: 31 in a segment, 248 in the eight segments of the budget.
    private const int Lap = 248;

    private readonly FaultyDisk _disk = new();
    private readonly TierWorld _world;

    public DiskTierEvictionTests() => _world = new(_disk);

    public void Dispose()
    {
        _world.Close();
        Assert.Equal(0, _disk.OpenFiles);
    }

    [Fact]
    public async Task ManyLaps_UsedBytesNeverExceedTheBudget()
    {
        using var stop = new CancellationTokenSource();
        var sampler = Task.Run(() =>
        {
            long max = 0;
            while (!stop.IsCancellationRequested)
            {
                max = Math.Max(max, Math.Max(_world.Tier.UsedBytes, FileBytes()));
                Thread.Yield();
            }

            return max;
        });
        var random = new Random(20261121);
        for (var i = 0; i < 5 * Lap; i++)
        {
            _world.Put(i);
            // Some are used, so that copies are part of it; not so many that whole segments are kept.
            if (i > 50 && i % 5 == 0)
                _world.Use(i - random.Next(50));
        }

        _world.Written();
        await stop.CancelAsync();
        Assert.InRange(await sampler, TierWorld.Small.Bytes * 6 / 8, TierWorld.Small.Bytes);
        Assert.True(_world.Tier.Counters.EvictedBytes > 3 * TierWorld.Small.Bytes);
        Assert.True(_world.Tier.Counters.ReinsertedBytes > 0);
        var amplification = _world.Tier.Counters.WrittenBytes / (double)_world.Tier.Counters.AdmittedBytes;
        Assert.InRange(amplification, 1, 1.3);
        Assert.True(_world.Has(5 * Lap - 1));
        Assert.False(_world.Has(0));
    }

    [Fact]
    public void Unused_LeaveFirstInFirstOut()
    {
        _world.PutAll(0, 3 * Lap);
        var present = Enumerable.Range(0, 3 * Lap).Where(i => _world.Has(i)).ToList();
        Assert.InRange(present.Count, Lap * 6 / 8, Lap);
        Assert.Equal(Enumerable.Range(3 * Lap - present.Count, present.Count), present);
        Assert.Equal(0, _world.Tier.Counters.ReinsertedBytes);
    }

    [Fact]
    public void Used_GetASecondChance()
    {
        _world.PutAll(0, 31);
        Assert.True(_world.Use(3));
        _world.Hot[TierWorld.Key(5)] = true;
        // A part of a chunk without its first byte is no use.
        Assert.True(_world.Has(7, Chunk.SizeBytes, 1));
        _world.PutAll(31, Lap);
        Assert.True(_world.Has(3));
        Assert.True(_world.Has(5));
        Assert.False(_world.Has(7));
        Assert.False(_world.Has(4));
        // The chance is one lap long.
        _world.Hot.Clear();
        _world.PutAll(31 + Lap, Lap + 62);
        Assert.False(_world.Has(3));
        Assert.False(_world.Has(5));
    }

    [Fact]
    public void SegmentMostlyInUse_IsKeptWithoutAWrite()
    {
        _world.PutAll(0, 31);
        for (var i = 0; i < 25; i++)
            Assert.True(_world.Use(i));
        _world.PutAll(31, Lap);
        Assert.Equal(31, _world.CountPresent(0, 31));
        Assert.Equal(0, _world.Tier.Counters.ReinsertedBytes);
        // Its times at the end of the line are bounded.
        for (var lap = 1; lap < 8; lap++)
        {
            for (var i = 0; i < 31; i++)
                _world.Use(i);
            _world.PutAll(31 + lap * Lap, Lap);
        }

        Assert.True(_world.CountPresent(0, 31) < 31);
        Assert.True(_world.Tier.Counters.EvictedBytes > 0);
    }

    [Fact]
    public void Pins_SurviveTenLaps_WhereverTheyWereWritten()
    {
        // One album of 40 chunks written as pinned; one of 24 pinned only after it was written, among others.
        for (var i = 10_000; i < 10_040; i++)
            _world.Pins[TierWorld.Version(i)] = true;
        _world.PutAll(10_000, 40, pinned: true);
        _world.PutAll(20_000, 24);
        for (var i = 20_000; i < 20_024; i++)
            _world.Pins[TierWorld.Version(i)] = true;
        _world.PutAll(0, 10 * Lap);
        Assert.Equal(40, _world.CountPresent(10_000, 40));
        Assert.Equal(24, _world.CountPresent(20_000, 24));
        Assert.True(_world.Tier.UsedBytes <= TierWorld.Small.Bytes);
        // Copied once, not once a lap.
        Assert.InRange(_world.Tier.Counters.ReinsertedBytes, 0, 24L * 132 * 1024);

        _world.Reopen();
        Assert.Equal(40, _world.CountPresent(10_000, 40));
        Assert.Equal(24, _world.CountPresent(20_000, 24));

        // Unpinned, they leave like others.
        _world.Pins.Clear();
        _world.PutAll(100_000, 3 * Lap);
        Assert.Equal(0, _world.CountPresent(10_000, 40) + _world.CountPresent(20_000, 24));
    }

    [Fact]
    public void MorePinnedThanTheShare_OthersStillHaveRoom()
    {
        for (var i = 0; i < 2 * Lap; i++)
        {
            _world.Pins[TierWorld.Version(i)] = true;
            _world.Put(i, pinned: true);
        }

        _world.PutAll(10_000, Lap);
        Assert.True(_world.Tier.UsedBytes <= TierWorld.Small.Bytes);
        Assert.InRange(_world.CountPresent(10_000, Lap), Lap / 4, Lap);
        Assert.InRange(_world.CountPresent(0, 2 * Lap), Lap / 4, Lap / 2 + 31);
    }

    [Fact]
    public void MoreRecordsThanTheDirectoryHolds_OldestLeaveEarly_PinsStay()
    {
        _world.Close();
        _world.Options = TierWorld.Small with { MaxChunks = 1024 };
        _world.Open();
        for (var i = 100_000; i < 100_100; i++)
        {
            _world.Pins[TierWorld.Version(i)] = true;
            _world.Put(i, 100, pinned: true);
        }

        // Ten rings' worth of entries in a tenth of the budget's bytes.
        _world.PutAll(0, 50_000, 100);
        Assert.Equal(100, Enumerable.Range(100_000, 100).Count(i => _world.Has(i, 100)));
        var present = Enumerable.Range(0, 50_000).Where(i => _world.Has(i, 100)).ToList();
        Assert.InRange(present.Count, 1024 * 3 / 4, 16_384);
        Assert.Equal(Enumerable.Range(50_000 - present.Count, present.Count), present);
        Assert.InRange(_world.Tier.UsedBytes, 0, TierWorld.Small.Bytes / 2);
    }

    [Fact]
    public async Task ReadersInFlight_OfAnEvictedSegment_GetTheirBytesOrAMiss()
    {
        const int Seed = 20261122;
        using var stop = new CancellationTokenSource();
        var newest = 0;
        var readers = Enumerable.Range(0, 3).Select(r => Task.Run(async () =>
        {
            var random = new Random(Seed + r);
            var part = new byte[70_000];
            long hits = 0;
            while (!stop.IsCancellationRequested)
            {
                var i = Math.Max(0, Volatile.Read(ref newest) - random.Next(Lap + 40));
                var offset = random.Next(Chunk.SizeBytes - part.Length);
                if (!await _world.Tier.ReadAsync(TierWorld.Key(i), Chunk.SizeBytes, offset, part))
                    continue;
                hits++;
                if (!part.AsSpan().SequenceEqual(TierWorld.Content(i).AsSpan(offset, part.Length)))
                    return -1;
            }

            return hits;
        })).ToArray();
        for (var i = 0; i < 4 * Lap; i++)
        {
            _disk.InPageCache = i / 40 % 2 == 0;
            _world.Put(i);
            Volatile.Write(ref newest, i);
        }

        await stop.CancelAsync();
        var counts = await Task.WhenAll(readers);
        Assert.All(counts, hits => Assert.True(hits > 0, $"seed {Seed}: wrong bytes, or no hit at all"));
        _disk.InPageCache = true;
        Assert.True(_disk.OpenFiles <= _world.Tier.Segments + 1);
    }

    private long FileBytes()
    {
        long sum = 0;
        foreach (var name in _disk.List())
        {
            try
            {
                using var file = _disk.Open(name, write: false);
                sum += file.Length;
            }
            catch (FileNotFoundException)
            {
                // Unlinked meanwhile.
            }
        }

        return sum;
    }
}
