using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using Delivery.Edge;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests;

/// <summary>A real node on free ports over a real file store in a fresh folder. Its end is a test of its own: every buffer, lease, session and place is back.</summary>
public sealed class EdgeFixture : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-test-");
    private EdgeOptions _options = null!;

    private EdgeFixture()
    {
    }

    public EdgeNode Node { get; private set; } = null!;

    public ScriptedStore Store { get; private set; } = null!;

    public KeyRing Ring { get; private set; } = null!;

    public ManualTime Time { get; } = new();

    public HttpClient Client { get; private set; } = null!;

    public string Folder => _folder.FullName;

    public string CacheFolder => Path.Combine(Folder, "cache");

    public static async Task<EdgeFixture> StartAsync(Func<EdgeOptions, EdgeOptions>? configure = null)
    {
        var fixture = new EdgeFixture { Ring = KeyRing.Generate() };
        var ringPath = Path.Combine(fixture.Folder, "keys.json");
        await File.WriteAllTextAsync(ringPath, fixture.Ring.ToJson());
        fixture.Store = new(FileStore.Open(Path.Combine(fixture.Folder, "store")));
        var options = new EdgeOptions
        {
            Host = "localhost",
            Port = 0,
            TlsPort = 0,
            AdminPort = 0,
            KeyRingPath = ringPath,
            HotTierBytes = EdgeOptions.MinHotTierBytes,
            FillBufferBytes = 16 << 20,
            // The moment before a retry would never come: time stands still.
            UpstreamRetries = 0,
        };
        fixture._options = configure?.Invoke(options) ?? options;
        await fixture.StartNodeAsync();
        return fixture;
    }

    /// <summary>With a disk tier.</summary>
    public static Task<EdgeFixture> StartWithDiskAsync(Func<EdgeOptions, EdgeOptions>? configure = null) => StartAsync(o =>
    {
        var withDisk = o with { CacheFolder = Path.Combine(Path.GetDirectoryName(o.KeyRingPath)!, "cache"), DiskTierBytes = EdgeOptions.MinDiskTierBytes, AdminPurge = true };
        return configure?.Invoke(withDisk) ?? withDisk;
    });

    /// <summary>Stops the node, lets <paramref name="between"/> happen, starts it on the same folders.</summary>
    public async Task RestartAsync(Action? between = null)
    {
        await StopNodeAsync();
        between?.Invoke();
        await StartNodeAsync();
    }

    /// <summary>Stores bytes as a rendition is stored, and gives its public path.</summary>
    public async Task<string> AddFileAsync(byte[] content, string extension = "ogg", string contentType = "audio/ogg")
    {
        var key = $"audio/{Convert.ToHexStringLower(SHA256.HashData(content))[..40]}.{extension}";
        await AddAsync(key, content, contentType);
        return "/" + key;
    }

    public async Task AddAsync(string key, byte[] content, string contentType = "audio/ogg") =>
        await Store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(content), new ObjectWrite { ContentType = contentType }, CancellationToken.None);

    public string Sign(string path, TimeSpan? validFor = null) =>
        NativeScheme.Instance.Sign(Ring, path, new() { Expires = Time.GetUtcNow() + (validFor ?? TimeSpan.FromHours(1)) });

    public Task<HttpResponseMessage> GetAsync(string path, string? range = null, Action<HttpRequestMessage>? change = null, HttpMethod? method = null) =>
        SendAsync(Sign(path), range, change, method);

    public Task<HttpResponseMessage> SendAsync(string target, string? range = null, Action<HttpRequestMessage>? change = null, HttpMethod? method = null)
    {
        var request = new HttpRequestMessage(method ?? HttpMethod.Get, target);
        if (range is not null)
            request.Headers.TryAddWithoutValidation("Range", range);
        change?.Invoke(request);
        return Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    /// <summary>Waits until every fill has ended and every admitted chunk is written.</summary>
    public Task SettledAsync() => Poll.UntilAsync(() => Node.Parts.Fills is { Running: 0, Joinable: 0 } && Node.Buffers.InUse == 0);

    public async ValueTask DisposeAsync()
    {
        Store.ReleaseAll();
        await StopNodeAsync();
        Assert.Equal(0, Store.OpenReads);
        _folder.Delete(recursive: true);
    }

    private async Task StartNodeAsync()
    {
        Node = await EdgeNode.StartAsync(_options, Store, NullLoggerFactory.Instance, Time, CancellationToken.None);
        Client = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false }) { BaseAddress = Node.Address };
    }

    private async Task StopNodeAsync()
    {
        await Poll.UntilAsync(() => Node.Parts.Fills.Running == 0);
        await SettledAsync();
        Client.Dispose();
        await Node.DisposeAsync();
        Assert.Equal(0, Node.Parts.Cache.Hot.SessionsInUse);
        Assert.Equal((0, 0), (Node.Parts.Limits.Requests, Node.Parts.Limits.Misses));
    }

    /// <summary>Bytes that tell their place, so that a byte from elsewhere is seen.</summary>
    public static byte[] Bytes(int length, int seed = 1)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public static string Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) || response.Content.Headers.TryGetValues(name, out values) ? string.Join(", ", values) : "";
}

/// <summary>Waiting for a condition, with a bound: the one place where a test lets time pass.</summary>
public static class Poll
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(20);

    public static async Task UntilAsync(Func<bool> condition, [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(condition))] string text = "")
    {
        for (var started = Environment.TickCount64; !condition(); await Task.Delay(2))
            Assert.True(Environment.TickCount64 - started < Bound.TotalMilliseconds, $"Never true: {text}");
    }
}
