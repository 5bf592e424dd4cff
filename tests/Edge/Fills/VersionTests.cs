using System.Net;
using Delivery.Edge.Tests.Requests;

namespace Delivery.Edge.Tests.Fills;

public sealed class VersionTests
{
    private const string Path = "/audio/mutable.ogg";

    [Fact]
    public async Task FillOfAnOlderVersion_IsNotWaitedForByWhoWantsTheNewOne()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var (old, fresh) = (EdgeFixture.Bytes(4 * Chunk.SizeBytes, 5), EdgeFixture.Bytes(4 * Chunk.SizeBytes, 6));
        await edge.AddAsync(Path[1..], old);
        var held = edge.Store.Script = new() { HoldAfter = 1000 };
        using var reader = await RawClient.ConnectAsync(edge.Node.Address);
        await reader.SendAsync($"GET {edge.Sign(Path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-131071\r\n\r\n");
        var (_, begin) = await reader.ReadAsync(1000);
        // The object is replaced, and another request finds out, while the old version's first chunk is still on its way.
        edge.Store.Script = null;
        await edge.AddAsync(Path[1..], fresh);
        using (var other = await edge.GetAsync(Path, "bytes=262144-262243"))
            Assert.Equal(fresh[262_144..262_244], await other.Content.ReadAsByteArrayAsync());
        using (var head = await edge.GetAsync(Path, "bytes=0-99"))
        {
            Assert.Equal(HttpStatusCode.PartialContent, head.StatusCode);
            Assert.Equal(fresh[..100], await head.Content.ReadAsByteArrayAsync());
        }

        held.Release();
        var rest = new byte[Chunk.SizeBytes - begin.Length];
        await reader.Stream.ReadExactlyAsync(rest, TestContext.Current.CancellationToken);
        Assert.Equal(old[..Chunk.SizeBytes], begin.Concat(rest));
        await edge.SettledAsync();
        using var whole = await edge.GetAsync(Path);
        Assert.Equal(fresh, await whole.Content.ReadAsByteArrayAsync());
    }
}
