using System.Net;

namespace Delivery.Edge.Tests;

public sealed class GetTests
{
    [Fact]
    public async Task SignedGet_ColdThenWarm_GivesTheBytesAndSaysWhereFrom()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(3 * Chunk.SizeBytes + 1234);
        var path = await edge.AddFileAsync(content);

        using var cold = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, cold.StatusCode);
        Assert.Equal(content, await cold.Content.ReadAsByteArrayAsync());
        Assert.Equal("delivery-edge; fwd=uri-miss; stored", EdgeFixture.Header(cold, "Cache-Status"));
        await edge.SettledAsync();

        using var warm = await edge.GetAsync(path);
        Assert.Equal(content, await warm.Content.ReadAsByteArrayAsync());
        Assert.Equal("delivery-edge; hit", EdgeFixture.Header(warm, "Cache-Status"));
        Assert.Equal(content.Length, edge.Store.BytesRead);
        Assert.Equal(0, edge.Store.Finds);
        Assert.Equal(content.Length, warm.Content.Headers.ContentLength);
        Assert.Equal($"\"{path[7..47]}\"", EdgeFixture.Header(warm, "ETag"));
        Assert.Equal("bytes", EdgeFixture.Header(warm, "Accept-Ranges"));
        Assert.Equal("private, max-age=3600, immutable", string.Join(", ", EdgeFixture.Header(warm, "Cache-Control").Split(", ").Order().Reverse().OrderBy(p => p switch { "private" => 0, "immutable" => 2, _ => 1 })));
        Assert.Equal("audio/ogg", EdgeFixture.Header(warm, "Content-Type"));
    }
}
