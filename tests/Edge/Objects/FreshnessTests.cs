using System.Net;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests.Objects;

/// <summary>Objects that may change: by TTL, entity-tag and revalidation.</summary>
public sealed class FreshnessTests
{
    private const string Path = "/audio/show/latest.mp3";

    private static readonly byte[] Old = EdgeFixture.Bytes(300_000, 5);
    private static readonly byte[] Fresh = EdgeFixture.Bytes(310_000, 6);

    [Fact]
    public async Task FreshObject_IsAHitThatTellsItsAge()
    {
        await using var edge = await StartAsync();
        Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored"));
        edge.Time.Advance(TimeSpan.FromSeconds(20));
        using var hit = await edge.GetAsync(Path);
        Assert.Equal("delivery-edge; hit; ttl=40", EdgeFixture.Header(hit, "Cache-Status"));
        Assert.Equal("20", EdgeFixture.Header(hit, "Age"));
        Assert.Equal("max-age=60, private", EdgeFixture.Header(hit, "Cache-Control"));
        Assert.Equal(0, edge.Store.Finds);
    }

    [Fact]
    public async Task FreshObject_WithAPartMissing_AsksForThatPartAlone()
    {
        await using var edge = await StartAsync();
        using (var head = await edge.GetAsync(Path, "bytes=0-9"))
            Assert.Equal(Old[..10], await head.Content.ReadAsByteArrayAsync());
        await edge.SettledAsync();
        using var tail = await edge.GetAsync(Path, $"bytes={2 * Chunk.SizeBytes}-");
        Assert.Equal("delivery-edge; fwd=partial; stored", EdgeFixture.Header(tail, "Cache-Status"));
        Assert.Equal(Old[(2 * Chunk.SizeBytes)..], await tail.Content.ReadAsByteArrayAsync());
        Assert.Equal(0, edge.Store.Finds);
    }

    [Fact]
    public async Task UrlThatExpiresSooner_BoundsMaxAge()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        edge.Time.Advance(TimeSpan.FromSeconds(20));
        using var hit = await edge.SendAsync(edge.Sign(Path, TimeSpan.FromSeconds(10)));
        // Counted from the object's birth: 20 s ago, and 10 s to come.
        Assert.Equal("max-age=30, private", EdgeFixture.Header(hit, "Cache-Control"));
    }

    [Fact]
    public async Task StaleObject_StillTheSame_IsRefreshedWithoutItsBytes()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        var bytes = edge.Store.BytesRead;
        edge.Time.Advance(TimeSpan.FromSeconds(121));
        Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; fwd=stale; stored"));
        Assert.Equal((1, bytes), (edge.Store.Finds, edge.Store.BytesRead));
        Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; hit; ttl=60"));
        Assert.Equal(1, edge.Store.Finds);
    }

    [Fact]
    public async Task StaleObject_Replaced_IsServedInItsNewVersion()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        await edge.AddAsync(Path[1..], Fresh);
        edge.Time.Advance(TimeSpan.FromSeconds(121));
        Assert.Equal(Fresh, await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored"));
    }

    [Fact]
    public async Task StaleObject_Deleted_Is404()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        await edge.Store.DeleteAsync(ObjectKey.Parse(Path[1..]), CancellationToken.None);
        edge.Time.Advance(TimeSpan.FromSeconds(121));
        using var response = await edge.GetAsync(Path);
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
    }

    [Fact]
    public async Task StaleWhileRevalidate_ServesAtOnceAndAsksOnceBehind()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        await edge.AddAsync(Path[1..], Fresh);
        edge.Time.Advance(TimeSpan.FromSeconds(70));
        var script = edge.Store.Script = new() { HoldOpen = true };
        for (var i = 0; i < 3; i++)
            Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; hit; ttl=-10"));
        await Poll.UntilAsync(() => script.Arrived == 1);
        script.Release();
        await edge.SettledAsync();
        Assert.Equal(1, edge.Store.Finds);
        Assert.Equal(Fresh, await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored"));
    }

    [Theory]
    [InlineData(StoreError.Unavailable)]
    [InlineData(StoreError.Denied)]
    public async Task StaleIfError_ServesWhatItHas_UntilItsTimeIsOver(StoreError error)
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        edge.Store.Script = new() { Fail = error };
        edge.Time.Advance(TimeSpan.FromHours(1));
        Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; fwd=stale; detail=stale-if-error"));
        edge.Time.Advance(TimeSpan.FromHours(24));
        using var response = await edge.GetAsync(Path);
        Assert.Equal(error == StoreError.Denied ? HttpStatusCode.BadGateway : HttpStatusCode.ServiceUnavailable, response.StatusCode);
    }

    [Fact]
    public async Task NoTtl_AsksEveryTime_AndSendsNoByteTwice()
    {
        await using var edge = await StartAsync(o => o with { ObjectTtl = TimeSpan.Zero, StaleWhileRevalidate = TimeSpan.Zero });
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        for (var i = 1; i <= 3; i++)
        {
            Assert.Equal(Old, await ReadAsync(edge, "delivery-edge; fwd=stale; stored"));
            Assert.Equal(i, edge.Store.Finds);
        }

        Assert.Equal(Old.Length, edge.Store.BytesRead);
    }

    [Fact]
    public async Task ManyRequestsForAStaleObject_ShareOneRevalidation()
    {
        await using var edge = await StartAsync(o => o with { StaleWhileRevalidate = TimeSpan.Zero });
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        edge.Time.Advance(TimeSpan.FromSeconds(61));
        var script = edge.Store.Script = new() { HoldOpen = true };
        var requests = Enumerable.Range(0, 20).Select(_ => edge.GetAsync(Path, "bytes=0-9")).ToArray();
        await Poll.UntilAsync(() => script.Arrived == 1);
        script.Release();
        foreach (var request in requests)
        {
            using var response = await request;
            Assert.Equal(Old[..10], await response.Content.ReadAsByteArrayAsync());
        }

        Assert.Equal(1, edge.Store.Finds);
    }

    [Fact]
    public async Task ClientsDirectives_DoNotReachUpstream()
    {
        await using var edge = await StartAsync();
        await ReadAsync(edge, "delivery-edge; fwd=uri-miss; stored");
        using var response = await edge.GetAsync(Path, change: r => r.Headers.TryAddWithoutValidation("Cache-Control", "no-cache, max-age=0"));
        Assert.Equal("delivery-edge; hit; ttl=60", EdgeFixture.Header(response, "Cache-Status"));
        Assert.Equal(0, edge.Store.Finds);
    }

    [Fact]
    public async Task NameThatIsItsContentsDigest_IsNeverAskedAbout()
    {
        await using var edge = await StartAsync();
        var path = await edge.AddFileAsync(Old);
        using (var cold = await edge.GetAsync(path))
            await cold.Content.ReadAsByteArrayAsync();
        await edge.SettledAsync();
        edge.Time.Advance(TimeSpan.FromDays(400));
        using var hit = await edge.GetAsync(path);
        Assert.Equal("delivery-edge; hit", EdgeFixture.Header(hit, "Cache-Status"));
        Assert.Equal("", EdgeFixture.Header(hit, "Age"));
        Assert.Equal(0, edge.Store.Finds);
    }

    private static async Task<EdgeFixture> StartAsync(Func<EdgeOptions, EdgeOptions>? configure = null)
    {
        var edge = await EdgeFixture.StartAsync(configure);
        await edge.AddAsync(Path[1..], Old, "audio/mpeg");
        return edge;
    }

    private static async Task<byte[]> ReadAsync(EdgeFixture edge, string cacheStatus)
    {
        using var response = await edge.GetAsync(Path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(cacheStatus, EdgeFixture.Header(response, "Cache-Status"));
        var body = await response.Content.ReadAsByteArrayAsync();
        if (edge.Store.Script is null)
            await edge.SettledAsync();
        return body;
    }
}
