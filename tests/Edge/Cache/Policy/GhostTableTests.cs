using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Policy;

namespace Delivery.Edge.Tests.Cache.Policy;

public sealed class GhostTableTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    [InlineData(5_000)]
    [InlineData(100_000)]
    public void Keys_AreForgottenFirstInFirstOut(int capacity)
    {
        var ghost = new GhostTable(capacity);
        var added = capacity * 5;
        for (var i = 0; i < added; i++)
            ghost.Add(Key(i));
        Assert.True(ghost.Contains(Key(added - 1)));
        // A bucket that is full forgets early, never late: what is too old is gone, but for fingerprints that coincide.
        var tooOld = Enumerable.Range(0, added - capacity - capacity / 1000).Count(i => ghost.Contains(Key(i)));
        Assert.InRange(tooOld, 0, 3 + added / 2000);
        var remembered = Enumerable.Range(added - capacity, capacity).Count(i => ghost.Contains(Key(i)));
        Assert.InRange(remembered, capacity * 0.93, capacity);
        var young = Enumerable.Range(added - capacity / 2, capacity / 2).Count(i => ghost.Contains(Key(i)));
        Assert.InRange(young, capacity / 2 * 0.99, capacity / 2);
    }

    [Fact]
    public void Remove_ForgetsOnce()
    {
        var ghost = new GhostTable(1000);
        ghost.Add(Key(1));
        ghost.Add(Key(2));
        Assert.False(ghost.Remove(Key(3)));
        Assert.True(ghost.Remove(Key(1)));
        Assert.False(ghost.Remove(Key(1)));
        Assert.True(ghost.Contains(Key(2)));
    }

    [Fact]
    public void AddedAgain_IsYoungAgain()
    {
        var ghost = new GhostTable(1000);
        for (var i = 0; i < 3000; i++)
        {
            ghost.Add(Key(i));
            if (i % 500 == 0)
                ghost.Add(Key(0));
        }

        Assert.True(ghost.Contains(Key(0)));
    }

    [Fact]
    public void Memory_IsFiveBytesForAKeyAndFixed()
    {
        foreach (var capacity in new[] { 1000, 8 << 20 })
            Assert.InRange(GhostTable.BytesFor(capacity) / (double)capacity, 5, 5.2);
        foreach (var bytes in new[] { 1L << 20, 2L << 20, 1L << 30 })
            Assert.InRange(GhostTable.BytesFor(GhostTable.CapacityFor(bytes)), bytes * 0.99, bytes);
        var ghost = new GhostTable(10_000);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 20_000; i++)
        {
            var key = new ChunkKey(new((ulong)i * 0x9E3779B97F4A7C15, (ulong)i * 0xD6E8FEB86659FD93), i);
            ghost.Add(key);
            ghost.Remove(key);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    // Half of a SHA-256 has uniform bits; so have these.
    private static ChunkKey Key(int i) => new(new(Mix(2 * (ulong)(i / 8)), Mix(2 * (ulong)(i / 8) + 1)), i % 8);

    private static ulong Mix(ulong x)
    {
        x = (x + 1) * 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        return x ^ (x >> 31);
    }
}
