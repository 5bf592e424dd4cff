using System.Net;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests.Cache;

/// <summary>The disk tier as listeners meet it: through HTTP, over restarts.</summary>
public sealed class DiskServingTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(5 * Chunk.SizeBytes + 77, 3);

    [Fact]
    public async Task Restart_WithUpstreamAway_ServesWhatWasOnDisk()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        var path = await edge.AddFileAsync(Content);
        await StoreAsync(edge, path, Content);
        await edge.RestartAsync();
        Break(edge);

        using var whole = await edge.GetAsync(path);
        Assert.Equal("delivery-edge; hit", EdgeFixture.Header(whole, "Cache-Status"));
        Assert.Equal($"\"{path[7..47]}\"", EdgeFixture.Header(whole, "ETag"));
        Assert.Equal("audio/ogg", EdgeFixture.Header(whole, "Content-Type"));
        Assert.Equal(Content, await whole.Content.ReadAsByteArrayAsync());
        foreach (var (from, to) in new[] { (0, 65_535), (1, 1), (16_383, 16_384), (70_000, 300_000), (Content.Length - 1, Content.Length - 1), (131_071, 131_072) })
        {
            using var part = await edge.GetAsync(path, $"bytes={from}-{to}");
            Assert.Equal(HttpStatusCode.PartialContent, part.StatusCode);
            Assert.Equal(Content[from..(to + 1)], await part.Content.ReadAsByteArrayAsync());
        }

        using var head = await edge.GetAsync(path, method: HttpMethod.Head);
        Assert.Equal(Content.Length, head.Content.Headers.ContentLength);
    }

    [Fact]
    public async Task ReUse_BringsAnObjectToDisk_AndAScanDoesNotFlushIt()
    {
        // Listeners come back to the first objects; a scan of twice the disk passes once.
        await using var edge = await EdgeFixture.StartWithDiskAsync(o => o with { HotTierBytes = EdgeOptions.MinHotTierBytes });
        var popular = new List<(string Path, byte[] Content)>();
        for (var i = 0; i < 5; i++)
        {
            var content = EdgeFixture.Bytes(300_000, 100 + i);
            popular.Add((await edge.AddFileAsync(content), content));
        }

        for (var i = 0; i < 130; i++)
        {
            await ReadAsync(edge, await edge.AddFileAsync(EdgeFixture.Bytes(2 << 20, 1000 + i)));
            foreach (var (path, content) in i % 10 == 0 ? popular : [])
                Assert.Equal(content, await ReadAsync(edge, path));
        }

        await edge.SettledAsync();
        await Poll.UntilAsync(() => edge.Node.Parts.Cache.Disk!.WriteBuffersInUse == 0);
        Assert.True(edge.Node.Parts.Cache.Disk!.UsedBytes <= EdgeOptions.MinDiskTierBytes);
        await edge.RestartAsync();
        Break(edge);
        foreach (var (path, content) in popular)
            Assert.Equal(content, await ReadAsync(edge, path));
    }

    [Fact]
    public async Task Purge_BeforeARestart_HoldsAfterIt()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        var purged = await edge.AddFileAsync(Content);
        var kept = await edge.AddFileAsync(Content[..200_000]);
        await StoreAsync(edge, purged, Content);
        await StoreAsync(edge, kept, Content[..200_000]);
        using (var admin = new HttpClient { BaseAddress = edge.Node.AdminAddress })
        using (var response = await admin.PostAsync($"/purge?path={purged}", null))
            Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);

        await edge.RestartAsync();
        Assert.Equal(1, edge.Node.Parts.Cache.Sequence);
        Break(edge);
        using (var gone = await edge.GetAsync(purged))
            Assert.Equal(HttpStatusCode.ServiceUnavailable, gone.StatusCode);
        Assert.Equal(Content[..200_000], await ReadAsync(edge, kept));
    }

    [Fact]
    public async Task MutableObject_AfterARestart_IsAskedForAndItsChunksAreUsed()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        await edge.AddAsync("audio/mutable.ogg", Content);
        await StoreAsync(edge, "/audio/mutable.ogg", Content);
        await edge.RestartAsync();
        var (finds, bytes) = (edge.Store.Finds, edge.Store.BytesRead);
        using (var head = await edge.GetAsync("/audio/mutable.ogg", method: HttpMethod.Head))
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        Assert.Equal(Content, await ReadAsync(edge, "/audio/mutable.ogg"));
        Assert.Equal((finds + 1, bytes), (edge.Store.Finds, edge.Store.BytesRead));
    }

    [Fact]
    public async Task BitRot_IsNeverServed_AndIsRepaired()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        var path = await edge.AddFileAsync(Content);
        await StoreAsync(edge, path, Content);
        await edge.RestartAsync(() => Rot(edge.CacheFolder));
        Assert.Equal(Content, await ReadAsync(edge, path));
        await edge.SettledAsync();
        Assert.True(edge.Node.Parts.Cache.Disk!.Counters.DamagedRecords > 0);

        // Refetched chunks are on disk again: a later restart needs no upstream.
        await Poll.UntilAsync(() => StoredChunks(edge, path, Content) == Chunk.CountOf(Content.Length));
        await edge.RestartAsync();
        Break(edge);
        Assert.Equal(Content, await ReadAsync(edge, path));
    }

    [Fact]
    public async Task FolderInUse_OrNoFolder_IsAStartError()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        var second = await Assert.ThrowsAsync<EdgeStartException>(() => EdgeFixture.StartAsync(o => o with { CacheFolder = edge.CacheFolder }));
        Assert.Contains(edge.CacheFolder, second.Message, StringComparison.Ordinal);
        var file = Path.Combine(edge.Folder, "file");
        await File.WriteAllTextAsync(file, "no folder");
        await Assert.ThrowsAsync<EdgeStartException>(() => EdgeFixture.StartAsync(o => o with { CacheFolder = file }));
    }

    [Fact]
    public async Task DiskHits_CountAsHits_AndCarryOnInRam()
    {
        await using var edge = await EdgeFixture.StartWithDiskAsync();
        var path = await edge.AddFileAsync(Content);
        await StoreAsync(edge, path, Content);
        await edge.RestartAsync();
        Break(edge);
        for (var i = 0; i < 6; i++)
            Assert.Equal(Content, await ReadAsync(edge, path));
        Assert.Equal(6, edge.Node.Parts.Meter.Requests(2, CacheState.Hit));
        // Used again and again on disk: offered to RAM.
        var known = Known(edge, path);
        await Poll.UntilAsync(() => edge.Node.Parts.Cache.Hot.Contains(known.ChunkKey(0), known.ChunkLength(0)));
    }

    /// <summary>Puts an object on disk, as a prewarmed one is: pinned, then read once.</summary>
    private static async Task StoreAsync(EdgeFixture edge, string path, byte[] content)
    {
        using (var head = await edge.GetAsync(path, method: HttpMethod.Head))
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        var known = Known(edge, path);
        var pin = new PinEntry(known.Hash, known.PathHash, known.Length, edge.Time.GetUtcNow().AddDays(1).ToUnixTimeSeconds());
        Assert.True(edge.Node.Parts.Cache.Pin(pin).IsPinned);
        Assert.Equal(content, await ReadAsync(edge, path));
        await Poll.UntilAsync(() => StoredChunks(edge, path, content) == Chunk.CountOf(content.Length));
        if (known.IsImmutable)
            await Poll.UntilAsync(() => edge.Node.Parts.Cache.HasMetadata(known.PathHash));
    }

    private static EdgeObject Known(EdgeFixture edge, string path)
    {
        Assert.True(edge.Node.Parts.Objects.TryFind(path, edge.Time.GetUtcNow(), out var known));
        return known;
    }

    private static int StoredChunks(EdgeFixture edge, string path, byte[] content)
    {
        var known = Known(edge, path);
        return Enumerable.Range(0, (int)Chunk.CountOf(content.Length)).Count(i => edge.Node.Parts.Cache.IsStored(known.ChunkKey(i), known.ChunkLength(i)));
    }

    private static void Break(EdgeFixture edge) => edge.Store.Script = new() { Fail = StoreError.Unavailable };

    private static async Task<byte[]> ReadAsync(EdgeFixture edge, string path)
    {
        using var response = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await response.Content.ReadAsByteArrayAsync();
    }

    // One byte in every 50 KB of every segment: no chunk is spared.
    private static void Rot(string folder)
    {
        foreach (var file in Directory.GetFiles(folder, "segment-*"))
        {
            var bytes = File.ReadAllBytes(file);
            for (var i = 10_000; i < bytes.Length - 10_000; i += 50_000)
                bytes[i] ^= 1;
            File.WriteAllBytes(file, bytes);
        }
    }
}
