using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;

namespace Delivery.Edge.Tests.Cache.HotTier;

public sealed class HotTierLayoutTests
{
    [Fact]
    public void Budgets_AreUsedToTwoPercentAndNeverExceeded()
    {
        const int Seed = 20261121;
        var random = new Random(Seed);
        long[] known = [64L << 20, 100L << 20, 256L << 20, 1L << 30, 12L << 30, (12L << 30) + 12345, 4L << 40];
        foreach (var budget in known.Concat(Enumerable.Range(0, 2000).Select(_ => (long)Math.Pow(2, 26 + random.NextDouble() * 16))))
        {
            var options = CachePolicyOptions.For(budget, random.Next(2) * budget * 20);
            var probation = HotTierStore.ProbationLayout(budget, options);
            var main = HotTierStore.MainLayout(budget, options);
            var total = GhostTable.BytesFor(options.GhostKeys) + probation.TotalBytes + main.TotalBytes;
            // The smallest shard is 4 MiB, so the least budgets are met to that only.
            Assert.True(total <= budget && total > budget - Math.Max(budget / 50, 5L << 20), $"seed {Seed}: {total} of {budget}");
            Assert.InRange((double)probation.LogBytes / budget, 0.045, 0.1);
            foreach (var shard in probation.Shards.Concat(main.Shards))
            {
                Assert.True(long.IsPow2(shard.LogBytes) && long.IsPow2(shard.PageBytes) && long.IsPow2(shard.IndexBytes));
                Assert.True(shard.Pages >= 8);
                Assert.True(shard.PageBytes > 3 * ChunkValue.MaxRecordBytes);
            }

            Assert.InRange(main.Shards.Count, 1, 9);
        }
    }

    [Fact]
    public void Keys_GoToShardsInProportionToTheirSizes()
    {
        var layout = HotTierLayout.For((12L << 30) + (100L << 20));
        Assert.True(layout.Shards.Count > 1);
        var counts = new int[layout.Shards.Count];
        const int Keys = 200_000;
        for (var i = 0; i < Keys; i++)
            counts[layout.ShardOf(new(ObjectHash.OfVersion($"/audio/{i / 8}", "v", 0), i % 8))]++;
        var total = layout.Shards.Sum(s => s.LogBytes);
        for (var i = 0; i < counts.Length; i++)
        {
            var expected = (double)Keys * layout.Shards[i].LogBytes / total;
            Assert.InRange(counts[i], expected - 5 * Math.Sqrt(expected) - 1, expected + 5 * Math.Sqrt(expected) + 1);
        }
    }
}
