using System.Net;
using System.Security.Cryptography;
using Delivery.Edge.Tests.Requests;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>An edge that fills from two stores, of which each names versions in its own way.</summary>
public sealed class TwoStoresTests : IAsyncLifetime
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-stores-");
    private readonly KeyRing _ring = KeyRing.Generate();
    private readonly ManualTime _time = new();
    private ScriptedStore _primary = null!;
    private ScriptedStore _secondary = null!;
    private EdgeNode? _node;
    private HttpClient _client = null!;

    private string FolderOf(string store) => Path.Combine(_folder.FullName, store);

    private EdgeOptions Options => new()
    {
        Host = "localhost",
        Port = 0,
        AdminPort = 0,
        KeyRingPath = FolderOf("keys.json"),
        HotTierBytes = EdgeOptions.MinHotTierBytes,
        FillBufferBytes = 16 << 20,
        UpstreamRetries = 0,
        Upstreams =
        [
            new() { Kind = UpstreamKind.Store, Address = $"file://{FolderOf("primary")}" },
            new() { Kind = UpstreamKind.Store, Name = "secondary-store", Address = $"file://{FolderOf("secondary")}" },
        ],
    };

    public async ValueTask InitializeAsync()
    {
        await File.WriteAllTextAsync(FolderOf("keys.json"), _ring.ToJson());
        _primary = new(FileStore.Open(FolderOf("primary")));
        _secondary = new(FileStore.Open(FolderOf("secondary")));
    }

    public async ValueTask DisposeAsync()
    {
        if (_node is not null)
        {
            _primary.ReleaseAll();
            await Poll.UntilAsync(() => _node.Parts.Fills is { Running: 0, Joinable: 0 } && _node.Buffers.InUse == 0);
            _client.Dispose();
            await _node.DisposeAsync();
        }

        Assert.Equal((0, 0), (_primary.OpenReads, _secondary.OpenReads));
        _primary.Dispose();
        _secondary.Dispose();
        _folder.Delete(recursive: true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BodyThatBreaksInOneStore_IsTakenUpInTheOther(bool isError)
    {
        await StartAsync();
        var bytes = EdgeFixture.Bytes(3 * Chunk.SizeBytes + 17);
        var path = await AddFileAsync(bytes, _primary, _secondary);
        _primary.Script = new() { CutAfter = 4711, ThrowAtCut = isError };
        using var response = await GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(bytes, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        Assert.NotEmpty(_secondary.Opens);
        Assert.Equal($"\"{path["/audio/".Length..^".ogg".Length]}\"", response.Headers.ETag!.Tag);
    }

    [Fact]
    public async Task PrimaryAway_IsServedFromTheSecondary()
    {
        await StartAsync();
        var bytes = EdgeFixture.Bytes(2 * Chunk.SizeBytes);
        var path = await AddFileAsync(bytes, _primary, _secondary);
        _primary.Script = new() { Fail = StoreError.Unavailable };
        using var response = await GetAsync(path, "bytes=0-65535");
        Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
        Assert.Equal(bytes[..65536], await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task FileThatOnlyOneStoreHas_IsServed_AndOneThatNoneHasIs404()
    {
        await StartAsync();
        var bytes = EdgeFixture.Bytes(1000);
        var path = await AddFileAsync(bytes, _secondary);
        using var response = await GetAsync(path);
        Assert.Equal(bytes, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        using var missing = await GetAsync("/audio/0123456789abcdef0123456789abcdef01234567.ogg");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
    }

    [Fact]
    public async Task ObjectThatMayChange_BrokenInOneStore_IsNeverMixedWithTheOthersVersion()
    {
        await StartAsync();
        var (first, second) = (EdgeFixture.Bytes(2 * Chunk.SizeBytes, 1), EdgeFixture.Bytes(2 * Chunk.SizeBytes, 2));
        await AddAsync("audio/jingle.ogg", first, _primary);
        await AddAsync("audio/jingle.ogg", second, _secondary);
        _primary.Script = new() { CutAfter = 5000, ThrowAtCut = true };
        using var reader = await RawClient.ConnectAsync(_node!.Address);
        await reader.SendAsync($"GET {Sign("/audio/jingle.ogg")} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
        using var received = new MemoryStream();
        try
        {
            await reader.Stream.CopyToAsync(received, TestContext.Current.CancellationToken);
        }
        catch (IOException)
        {
            // Cut: the one honest end of a body that cannot go on.
        }

        var answer = received.ToArray();
        var body = answer[(answer.AsSpan().IndexOf("\r\n\r\n"u8) + 4)..];
        Assert.True(body.AsSpan().SequenceEqual(first.AsSpan(0, Math.Min(body.Length, first.Length))) || body.AsSpan().SequenceEqual(second), $"{body.Length} bytes of two versions");
        // With the first store away for good, the version that can be had is served whole.
        _primary.Script = new() { Fail = StoreError.Unavailable };
        using var response = await GetAsync("/audio/jingle.ogg");
        Assert.Equal(second, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task StoresByAddress_AreOpenedByTheEdgeItself()
    {
        var bytes = EdgeFixture.Bytes(1000);
        var path = await AddFileAsync(bytes, _secondary);
        await StartAsync(own: true);
        using var response = await GetAsync(path);
        Assert.Equal(bytes, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task StoreThatCannotBeOpened_IsNamed()
    {
        await File.WriteAllTextAsync(FolderOf("file"), "no folder");
        var options = Options with { Upstreams = [new() { Kind = UpstreamKind.Store, Name = "dr", Address = FolderOf("file") }] };
        var error = await Assert.ThrowsAsync<EdgeStartException>(() => EdgeNode.StartAsync(options, null, NullLoggerFactory.Instance, _time, CancellationToken.None));
        Assert.Contains($"The store '{FolderOf("file")}' of upstream 'dr' cannot be used", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StoreThatNoUpstreamTakes_IsRefused()
    {
        var error = await Assert.ThrowsAsync<EdgeStartException>(() => EdgeNode.StartAsync(Options, _primary, NullLoggerFactory.Instance, _time, CancellationToken.None));
        Assert.Contains("no upstream is of kind Store without an Address", error.Message, StringComparison.Ordinal);
    }

    private async Task StartAsync(bool own = false)
    {
        _node = own
            ? await EdgeNode.StartAsync(Options, null, NullLoggerFactory.Instance, _time, CancellationToken.None)
            : await EdgeNode.StartWithAsync(Options, upstream => upstream.Name is null ? _primary : _secondary, NullLoggerFactory.Instance, _time, CancellationToken.None);
        _client = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false }) { BaseAddress = _node.Address };
    }

    private static async Task<string> AddFileAsync(byte[] content, params ScriptedStore[] stores)
    {
        var key = $"audio/{Convert.ToHexStringLower(SHA256.HashData(content))[..40]}.ogg";
        foreach (var store in stores)
            await AddAsync(key, content, store);
        return "/" + key;
    }

    private static async Task AddAsync(string key, byte[] content, ScriptedStore store) =>
        await store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(content), new ObjectWrite { ContentType = "audio/ogg" }, CancellationToken.None);

    private string Sign(string path) => NativeScheme.Instance.Sign(_ring, path, new() { Expires = _time.GetUtcNow() + TimeSpan.FromHours(1) });

    private Task<HttpResponseMessage> GetAsync(string path, string? range = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, Sign(path));
        if (range is not null)
            request.Headers.TryAddWithoutValidation("Range", range);
        return _client.SendAsync(request);
    }
}
