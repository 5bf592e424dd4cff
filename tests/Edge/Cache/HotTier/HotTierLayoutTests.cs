using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;

namespace Delivery.Edge.Tests.Cache.HotTier;

public sealed class HotTierLayoutTests
{
    [Theory]
    [InlineData(64L << 20)]
    [InlineData(100L << 20)]
    [InlineData(1L << 30)]
    [InlineData(12L << 30)]
    [InlineData((12L << 30) + 12345)]
    [InlineData(4L << 40)]
    public void Budget_IsUsedAndNeverExceeded(long budget)
    {
        var layout = HotTierLayout.For(budget);
        Assert.InRange(layout.TotalBytes, budget * 3 / 4, budget);
        Assert.All(layout.Shards, s => Assert.True(long.IsPow2(s.LogBytes) && long.IsPow2(s.PageBytes) && long.IsPow2(s.IndexBytes)));
        Assert.All(layout.Shards, s => Assert.True(s.LogBytes / s.PageBytes >= 8));
        Assert.All(layout.Shards, s => Assert.True(s.PageBytes > ChunkValue.MaxBytes + 64));
    }

    [Fact]
    public void Keys_GoToShardsInProportionToTheirSizes()
    {
        var layout = HotTierLayout.For(12L << 30);
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
