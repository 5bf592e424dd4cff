using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Tests.Cache.HotTier;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

/// <summary>Everything at once, from a seed: reads, writes, removals, pins, faults, kills. The model: a read gives exactly the bytes of its chunk, or nothing.</summary>
[Collection(nameof(Alone))]
public sealed class DiskTierStressTests
{
    private const int Keys = 400;
    private const int Tasks = 4;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task EverythingAtOnce_NoWrongByteNothingLost(int seed)
    {
        var disk = new FaultyDisk();
        using var world = new TierWorld(disk, TierWorld.Small with { ReadTimeout = TimeSpan.FromMilliseconds(500), ScrubBytesPerSecond = 1 << 30, MaxChunks = 1024 });
        world.Policy = new(new() { DiskUsesToRam = 2 });
        world.Close();
        long hits = 0;
        for (var round = 0; round < 4; round++)
        {
            world.Open();
            // Chunks that go to RAM are whole and right too.
            var wrong = 0;
            world.Tier.Promoted = (record, bytes) =>
            {
                if (!bytes.Span.SequenceEqual(TierWorld.Content((int)record.Sequence, record.Length)))
                    Interlocked.Increment(ref wrong);
            };
            await Task.WhenAll(Enumerable.Range(0, Tasks).Select(t => Task.Run(async () =>
            {
                var random = new Random(seed * 1000 + round * 10 + t);
                for (var op = 0; op < 400; op++)
                    Interlocked.Add(ref hits, await Step(world, disk, random));
            })));
            Assert.Equal(0, Volatile.Read(ref wrong));
            Assert.True(world.Tier.UsedBytes <= TierWorld.Small.Bytes, $"seed {seed}, round {round}");
            if (round % 2 == 0)
            {
                TierWorld.Until(() => world.Tier.State == DiskTierState.On, "not on again");
                world.Close();
                Assert.Equal(0, disk.OpenFiles);
            }
            else
            {
                disk.Kill();
                world.Tier.Dispose();
            }
        }

        Assert.True(hits > 200, $"seed {seed}: only {hits} hits");
    }

    // 1 for a hit.
    private static async Task<int> Step(TierWorld world, FaultyDisk disk, Random random)
    {
        var i = random.Next(Keys);
        var length = LengthOf(i);
        switch (random.Next(40))
        {
            case < 12:
                world.Tier.Write(TierWorld.Record(i, length), TierWorld.Content(i, length), pinned: world.Pins.ContainsKey(TierWorld.Version(i)));
                return 0;
            case 12:
                world.Tier.Remove(TierWorld.Key(i));
                return 0;
            case 13:
                if (world.Pins.Count < 10)
                    world.Pins[TierWorld.Version(i)] = true;
                else
                    world.Pins.Clear();
                return 0;
            case 14:
                disk.InPageCache = !disk.InPageCache;
                return 0;
            case 15:
                using (disk.Fail(random.Next(2) == 0 ? DiskOperations.Read : DiskOperations.Write, FaultyDisk.EIO, times: 2, written: 700))
                    await Task.Yield();
                return 0;
            case 16:
                var path = ObjectHash.OfPath(TierWorld.PathOf(i));
                world.Tier.Write(new(CacheRecord.MetadataKey(path), path, i, 300), TierWorld.Content(i / 8, 300), pinned: false);
                var metadata = new byte[300];
                if (await world.Tier.ReadMetadataAsync(path, metadata) != 0)
                    Assert.Equal(TierWorld.Content(i / 8, 300), metadata);
                return 0;
            default:
                var offset = random.Next(3) == 0 ? random.Next(length) : 0;
                var part = new byte[random.Next(1, length - offset + 1)];
                if (!await world.Tier.ReadAsync(TierWorld.Key(i), length, offset, part))
                    return 0;
                Assert.True(part.AsSpan().SequenceEqual(TierWorld.Content(i, length).AsSpan(offset, part.Length)), $"chunk {i} has other bytes");
                return 1;
        }
    }

    private static int LengthOf(int i) => i % 3 == 0 ? Chunk.SizeBytes : 1 + i * 300;
}
