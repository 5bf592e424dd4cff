using System.Net;

namespace Delivery.Edge.Tests.Purges;

public sealed class PurgeTests
{
    private const string Path = "/audio/mutable.ogg";

    private static readonly byte[] Old = EdgeFixture.Bytes(200_000, 5);
    private static readonly byte[] Fresh = EdgeFixture.Bytes(200_000, 6);

    [Fact]
    public async Task Purge_TheNextRequestGetsWhatUpstreamHasNow()
    {
        await using var edge = await StartAsync();
        await edge.AddAsync(Path[1..], Old);
        Assert.Equal(Old, await ReadAsync(edge));
        await edge.SettledAsync();
        await edge.AddAsync(Path[1..], Fresh);
        Assert.Equal(Old, await ReadAsync(edge));

        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, $"path={Path}"));
        Assert.Equal(Fresh, await ReadAsync(edge));
        Assert.Equal(1, edge.Node.Parts.Cache.Sequence);
        // Another path is not touched by it, and what was fetched after the purge is a hit.
        await edge.SettledAsync();
        using var again = await edge.GetAsync(Path);
        Assert.Equal("delivery-edge; hit; ttl=60", EdgeFixture.Header(again, "Cache-Status"));
    }

    [Fact]
    public async Task Purge_SameBytesUpstream_AreFetchedAnewAllTheSame()
    {
        // A content-addressed name has the same version before and after; what was cached under it is still not to be served.
        await using var edge = await StartAsync();
        var path = await edge.AddFileAsync(Old);
        Assert.Equal(Old, await ReadAsync(edge, path: path));
        await edge.SettledAsync();
        var opens = edge.Store.Opens.Count;
        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, $"path={path}&sequence=40"));
        Assert.Equal(Old, await ReadAsync(edge, path: path));
        Assert.True(edge.Store.Opens.Count > opens);
        await edge.SettledAsync();
        // Older sequences purge nothing: the bytes are here still, though metadata may be asked for again.
        var bytes = edge.Store.BytesRead;
        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, $"path={path}&sequence=39"));
        edge.Store.Script = new() { CutAfter = 0 };
        using (var head = await edge.GetAsync(path, method: HttpMethod.Head))
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        Assert.Equal(Old, await ReadAsync(edge, path: path));
        Assert.Equal((40, bytes), (edge.Node.Parts.Cache.Sequence, edge.Store.BytesRead));
    }

    [Fact]
    public async Task PurgeAll_ForgetsEveryPath()
    {
        await using var edge = await StartAsync();
        await edge.AddAsync(Path[1..], Old);
        Assert.Equal(Old, await ReadAsync(edge));
        await edge.SettledAsync();
        await edge.AddAsync(Path[1..], Fresh);
        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, "all=true"));
        Assert.Equal(0, edge.Node.Parts.Objects.Count);
        Assert.Equal(Fresh, await ReadAsync(edge));
    }

    [Fact]
    public async Task FillUnderWay_DuringAPurge_IsNotJoinedByLaterRequestsNorKept()
    {
        await using var edge = await StartAsync();
        await edge.AddAsync(Path[1..], Old);
        var script = new UpstreamScript { HoldAfter = 1000 };
        edge.Store.Script = script;
        // A closed range, and so one fill: of an open one, what the first fill does not bring is gone with the old version.
        var before = ReadAsync(edge, $"bytes=0-{Old.Length - 1}");
        await Poll.UntilAsync(() => edge.Store.BytesRead >= 1000);

        edge.Store.Script = null;
        await edge.AddAsync(Path[1..], Fresh);
        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, $"path={Path}"));
        // While the old fill still hangs.
        Assert.Equal(Fresh, await ReadAsync(edge));
        script.Release();
        Assert.Equal(Old, await before);
        await edge.SettledAsync();
        Assert.Equal(Fresh, await ReadAsync(edge));
        using var hit = await edge.GetAsync(Path);
        Assert.Equal("delivery-edge; hit; ttl=60", EdgeFixture.Header(hit, "Cache-Status"));
    }

    [Fact]
    public async Task MetadataUnderWay_DuringAPurge_IsNotBelievedAfterIt()
    {
        await using var edge = await StartAsync();
        var script = new UpstreamScript { HoldOpen = true };
        edge.Store.Script = script;
        // Not there yet: the answer under way will be "absent".
        var before = edge.GetAsync(Path, method: HttpMethod.Head);
        await Poll.UntilAsync(() => edge.Store.Finds == 1);
        edge.Store.Script = null;
        Assert.Equal(HttpStatusCode.NoContent, await PurgeAsync(edge, $"path={Path}"));
        script.Release();
        using (var absent = await before)
            Assert.Equal(HttpStatusCode.NotFound, absent.StatusCode);
        await edge.AddAsync(Path[1..], Fresh);
        Assert.Equal(Fresh, await ReadAsync(edge));
    }

    [Theory]
    [InlineData("")]
    [InlineData("path=")]
    [InlineData("path=audio/x")]
    [InlineData("path=/audio/../x")]
    [InlineData("path=/audio/x%3Fy=1")]
    [InlineData("path=/audio/x&all=true")]
    [InlineData("path=/audio/x&sequence=0")]
    [InlineData("path=/audio/x&sequence=-1")]
    [InlineData("path=/audio/x&sequence=99999999999999999999")]
    public async Task WrongQuestions_Are400(string query)
    {
        await using var edge = await StartAsync();
        Assert.Equal(HttpStatusCode.BadRequest, await PurgeAsync(edge, query));
        Assert.Equal(0, edge.Node.Parts.Cache.Sequence);
    }

    [Fact]
    public async Task WebPages_AreRefused()
    {
        await using var edge = await StartAsync();
        using var client = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/purge?all=true");
        request.Headers.TryAddWithoutValidation("Origin", "https://evil.example");
        using var response = await client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
    }

    [Fact]
    public async Task Endpoint_IsClosedByDefault()
    {
        await using var edge = await EdgeFixture.StartAsync();
        Assert.Equal(HttpStatusCode.NotFound, await PurgeAsync(edge, "all=true"));
    }

    private static Task<EdgeFixture> StartAsync() => EdgeFixture.StartAsync(o => o with { AdminPurge = true });

    private static async Task<byte[]> ReadAsync(EdgeFixture edge, string? range = null, string path = Path)
    {
        using var response = await edge.GetAsync(path, range);
        Assert.Equal(range is null ? HttpStatusCode.OK : HttpStatusCode.PartialContent, response.StatusCode);
        return await response.Content.ReadAsByteArrayAsync();
    }

    private static async Task<HttpStatusCode> PurgeAsync(EdgeFixture edge, string query)
    {
        using var client = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        using var response = await client.PostAsync($"/purge?{query}", null);
        return response.StatusCode;
    }
}
