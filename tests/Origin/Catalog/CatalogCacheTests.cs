using Delivery.Origin.Catalog;

namespace Delivery.Origin.Tests.Catalog;

public class CatalogCacheTests
{
    private readonly ManualTime _time = new(OriginHarness.Start);
    private int _reads;

    [Fact]
    public async Task ParallelAsks_ShareOneRead_AndOnesLeavingDoesNotFailTheOthers()
    {
        var gate = new TaskCompletionSource<string?>();
        var cache = Cache(_ => gate.Task);
        using var leaver = new CancellationTokenSource();
        var leaving = cache.GetAsync("a", leaver.Token);
        var staying = Enumerable.Range(0, 10).Select(_ => cache.GetAsync("a", default)).ToList();
        await leaver.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => leaving);
        gate.SetResult("value");
        Assert.All(await Task.WhenAll(staying), v => Assert.Equal("value", v));
        Assert.Equal(1, _reads);
    }

    [Fact]
    public async Task Answer_IsTrustedWhileFresh_AbsenceToo_AndFailuresNever()
    {
        var answers = new Queue<Func<Task<string?>>>([() => throw new InvalidOperationException("away"), () => Task.FromResult<string?>(null), () => Task.FromResult<string?>("now")]);
        var cache = Cache(_ => answers.Dequeue()());
        await Assert.ThrowsAsync<InvalidOperationException>(() => cache.GetAsync("a", default));
        Assert.Null(await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromSeconds(5) - TimeSpan.FromTicks(1));
        Assert.Null(await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.Equal("now", await cache.GetAsync("a", default));
        Assert.Equal(3, _reads);
    }

    [Fact]
    public async Task WhatMayBeStale_IsReadAgainAfterAMoment()
    {
        var answers = new Queue<string>(["stale 1", "stale 2", "now"]);
        var cache = Cache(_ => Task.FromResult<string?>(answers.Dequeue()));
        Assert.Equal("stale 1", await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromSeconds(1) - TimeSpan.FromTicks(1));
        Assert.Equal("stale 1", await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.Equal("stale 2", await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("now", await cache.GetAsync("a", default));
        _time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal("now", await cache.GetAsync("a", default));
        Assert.Equal(3, _reads);
    }

    [Fact]
    public async Task Removed_IsReadAgain()
    {
        var cache = Cache(_ => Task.FromResult<string?>("v"));
        await cache.GetAsync("a", default);
        cache.Remove("a");
        await cache.GetAsync("a", default);
        Assert.Equal(2, _reads);
    }

    [Fact]
    public async Task Memory_IsBounded_AndTheRecentlyUsedStay()
    {
        var cache = Cache(id => Task.FromResult<string?>(id), capacity: 100);
        for (var i = 0; i < 10_000; i++)
        {
            Assert.Equal("hot", await cache.GetAsync("hot", default));
            Assert.Equal($"id{i}", await cache.GetAsync($"id{i}", default));
            Assert.InRange(cache.Count, 1, 102);
        }

        Assert.Equal(10_001, _reads);
        await cache.GetAsync("id9999", default);
        Assert.Equal(10_001, _reads);
    }

    private CatalogCache<string> Cache(Func<string, Task<string?>> read, int capacity = 1000) =>
        new(capacity, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(30), _time, value => value.StartsWith("stale", StringComparison.Ordinal), (id, _) =>
        {
            Interlocked.Increment(ref _reads);
            return read(id);
        });
}
