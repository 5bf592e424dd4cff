using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace Delivery.Edge.Tests.Requests;

public sealed class MultipartTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(5 * Chunk.SizeBytes + 100);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task SeveralRanges_ColdAndWarm_ComeAsPartsWithTheirContentRange(bool isWarm)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        if (isWarm)
        {
            using (var whole = await edge.GetAsync(path))
                await whole.Content.ReadAsByteArrayAsync();
            await edge.SettledAsync();
        }

        (int Start, int End)[] wanted = [(0, 10), (Chunk.SizeBytes - 5, Chunk.SizeBytes + 5), (3 * Chunk.SizeBytes, Content.Length)];
        using var response = await edge.GetAsync(path, $"bytes=0-9,{Chunk.SizeBytes - 5}-{Chunk.SizeBytes + 4},{3 * Chunk.SizeBytes}-");
        Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
        Assert.Equal("", EdgeFixture.Header(response, "Content-Range"));
        Assert.Equal(isWarm ? "delivery-edge; hit" : "delivery-edge; fwd=uri-miss; stored", EdgeFixture.Header(response, "Cache-Status"));
        var type = response.Content.Headers.ContentType!;
        Assert.Equal("multipart/byteranges", type.MediaType);
        var body = await response.Content.ReadAsByteArrayAsync();
        Assert.Equal(response.Content.Headers.ContentLength, body.Length);
        var parts = Parse(body, type.Parameters.Single(p => p.Name == "boundary").Value!);
        Assert.Equal(wanted.Select(w => $"bytes {w.Start}-{w.End - 1}/{Content.Length}"), parts.Select(p => p.Range));
        Assert.All(parts, part => Assert.Equal("audio/ogg", part.Type));
        foreach (var (part, (start, end)) in parts.Zip(wanted))
            Assert.Equal(Content[start..end], part.Bytes);
    }

    [Fact]
    public async Task OverlappingRanges_AreTheWholeOnce()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var response = await edge.GetAsync(path, "bytes=0-,0-,0-,0-,0-,0-,0-,0-");
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(Content, await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task OneSatisfiableOfSeveral_IsAnOrdinaryPart()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var response = await edge.GetAsync(path, $"bytes=5-9,{Content.Length}-");
        Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
        Assert.Equal(new ContentRangeHeaderValue(5, 9, Content.Length), response.Content.Headers.ContentRange);
        Assert.Equal(Content[5..10], await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task NoneSatisfiable_Is416WithTheLength()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var response = await edge.GetAsync(path, $"bytes={Content.Length}-,99999999999999999999-");
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, response.StatusCode);
        Assert.Equal($"bytes */{Content.Length}", EdgeFixture.Header(response, "Content-Range"));
    }

    [Fact]
    public async Task IfRangeOfAnotherVersion_IsTheWhole()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var response = await edge.GetAsync(path, "bytes=0-1,4-5", r => r.Headers.TryAddWithoutValidation("If-Range", "\"other\""));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(Content, await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task UpstreamFails_InALaterPart_LooksBroken()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using (var head = await edge.GetAsync(path, "bytes=0-9"))
            await head.Content.ReadAsByteArrayAsync();
        await edge.SettledAsync();
        edge.Store.Script = new() { Fail = ObjectStore.StoreError.Unavailable };
        using var response = await edge.GetAsync(path, $"bytes=0-9,{2 * Chunk.SizeBytes}-{2 * Chunk.SizeBytes + 9}");
        Assert.Equal("delivery-edge; fwd=partial; stored", EdgeFixture.Header(response, "Cache-Status"));
        await Assert.ThrowsAsync<HttpRequestException>(() => response.Content.ReadAsByteArrayAsync());
    }

    // RFC 2046 §5.1.1, as strict as it is written.
    private static List<(string Range, string Type, byte[] Bytes)> Parse(byte[] body, string boundary)
    {
        var parts = new List<(string, string, byte[])>();
        var text = Encoding.Latin1.GetString(body);
        var pieces = text.Split($"\r\n--{boundary}");
        Assert.Equal("", pieces[0]);
        Assert.Equal("--\r\n", pieces[^1]);
        foreach (var piece in pieces[1..^1])
        {
            var end = piece.IndexOf("\r\n\r\n", StringComparison.Ordinal);
            var fields = piece[2..end].Split("\r\n").ToDictionary(l => l[..l.IndexOf(':', StringComparison.Ordinal)], l => l[(l.IndexOf(':', StringComparison.Ordinal) + 2)..]);
            parts.Add((fields["Content-Range"], fields["Content-Type"], Encoding.Latin1.GetBytes(piece[(end + 4)..])));
        }

        return parts;
    }
}
