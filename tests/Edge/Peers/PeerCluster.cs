using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Delivery.Edge.Cache;
using Delivery.Edge.Purges;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Peers;

/// <summary>Edges that ask each other, and one store behind them. Its end is a test of its own: every buffer, lease, place, question and body of every edge is back.</summary>
public sealed class PeerCluster : IAsyncDisposable
{
    private static int _ports;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-peers-");
    private readonly List<PeerEdge> _edges = [];

    public PeerCluster()
    {
        Ring = Write("keys.json");
        PeerRing = Write("peers.json");
        Store = new(FileStore.Open(Path.Combine(_folder.FullName, "store")));
    }

    public ManualTime Time { get; } = new();

    public ScriptedStore Store { get; }

    public KeyRing Ring { get; }

    public KeyRing PeerRing { get; }

    public static UpstreamOptions StoreBehind { get; } = new() { Kind = UpstreamKind.Store };

    public static UpstreamOptions Shield(PeerEdge shield) => new() { Kind = UpstreamKind.Peer, Name = "shield", Address = shield.Node.PeerAddress!.ToString() };

    /// <summary>
    /// A port that edges can be told of before it is open. Below those that the system gives away by itself (from 32,768), and another one in each process, or a test beside this one could take it first.
    /// </summary>
    public static int FreePort()
    {
        while (true)
        {
            var port = 16_384 + ((Environment.ProcessId * 61) + Interlocked.Increment(ref _ports)) % 16_000;
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                return port;
            }
            catch (SocketException)
            {
                // Somebody's.
            }
        }
    }

    public async Task<PeerEdge> StartAsync(string id, IReadOnlyList<UpstreamOptions> upstreams, Func<EdgeOptions, EdgeOptions>? configure = null)
    {
        var options = new EdgeOptions
        {
            EdgeId = id,
            Host = "localhost",
            Port = 0,
            AdminPort = 0,
            PeerPort = 0,
            KeyRingPath = Path.Combine(_folder.FullName, "keys.json"),
            PeerKeyRingPath = Path.Combine(_folder.FullName, "peers.json"),
            HotTierBytes = EdgeOptions.MinHotTierBytes,
            FillBufferBytes = 16 << 20,
            UpstreamRetries = 0,
            // By the machine's clock, and the machine may be busy.
            UpstreamConnectTimeout = TimeSpan.FromSeconds(30),
            DrainTimeout = TimeSpan.Zero,
            Upstreams = upstreams,
        };
        options = configure?.Invoke(options) ?? options;
        var store = options.Upstreams.Any(u => u.Kind == UpstreamKind.Store) ? Store : null;
        var edge = new PeerEdge(this, await EdgeNode.StartAsync(options, store, NullLoggerFactory.Instance, Time, CancellationToken.None));
        _edges.Add(edge);
        return edge;
    }

    /// <summary>The edges of one site, in front of the store.</summary>
    public async Task<IReadOnlyList<PeerEdge>> StartSiblingsAsync(params string[] ids)
    {
        var members = ids.Select(id => (Id: id, Port: FreePort())).ToList();
        var siblings = new UpstreamOptions { Kind = UpstreamKind.Siblings, Members = [.. members.Select(m => new SiblingOptions { Id = m.Id, Address = $"http://127.0.0.1:{m.Port}" })] };
        var edges = new List<PeerEdge>();
        foreach (var (id, port) in members)
            edges.Add(await StartAsync(id, [siblings, StoreBehind], o => o with { PeerPort = port }));
        return edges;
    }

    public async Task<string> AddFileAsync(byte[] content)
    {
        var key = $"audio/{Convert.ToHexStringLower(SHA256.HashData(content))[..40]}.ogg";
        await AddAsync(key, content);
        return "/" + key;
    }

    public async Task AddAsync(string key, byte[] content) =>
        await Store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(content), new ObjectWrite { ContentType = "audio/ogg" }, CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        Store.ReleaseAll();
        foreach (var edge in _edges)
            await edge.DisposeAsync();
        Assert.Equal(0, Store.OpenReads);
        _folder.Delete(recursive: true);
    }

    private KeyRing Write(string name)
    {
        var ring = KeyRing.Generate();
        File.WriteAllText(Path.Combine(_folder.FullName, name), ring.ToJson());
        return ring;
    }
}

/// <summary>One edge of a cluster.</summary>
public sealed class PeerEdge(PeerCluster cluster, EdgeNode node) : IAsyncDisposable
{
    private readonly HttpClient _client = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false });
    private bool _disposed;

    public EdgeNode Node { get; } = node;

    public Task<HttpResponseMessage> GetAsync(string path, string? range = null, HttpMethod? method = null) =>
        SendAsync(Node.Address, cluster.Ring, path, range, method);

    /// <summary>As another edge asks, well-behaved unless told otherwise.</summary>
    public Task<HttpResponseMessage> AskAsync(
        string path, string? range = null, HttpMethod? method = null, KeyRing? ring = null, Action<HttpRequestMessage>? change = null, string sequence = "0") =>
        SendAsync(Node.PeerAddress!, ring ?? cluster.PeerRing, path, range, method, request =>
        {
            request.Headers.TryAddWithoutValidation("Delivery-Log-Sequence", sequence);
            change?.Invoke(request);
        });

    public async Task<byte[]> ReadAsync(string path, string? range = null)
    {
        using var response = await GetAsync(path, range);
        Assert.True(response.IsSuccessStatusCode, $"{response.StatusCode}");
        return await response.Content.ReadAsByteArrayAsync();
    }

    public Task<HttpResponseMessage> SendAsync(Uri address, KeyRing ring, string path, string? range, HttpMethod? method, Action<HttpRequestMessage>? change = null)
    {
        var request = new HttpRequestMessage(method ?? HttpMethod.Get, new Uri(address, NativeScheme.Instance.Sign(ring, path, new() { Expires = cluster.Time.GetUtcNow().AddMinutes(1) })));
        if (range is not null)
            request.Headers.TryAddWithoutValidation("Range", range);
        change?.Invoke(request);
        return _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    public void Purge(string path, long sequence) => new Purger(Node.Parts.Cache, Node.Parts.Objects).Purge(path, sequence);

    public Task SettledAsync() => Poll.UntilAsync(() => Node.Parts.Fills is { Running: 0, Joinable: 0 } && Node.Buffers.InUse == 0
        && Node.Upstreams.Asking == 0 && Node.Upstreams.Links.All(l => l.InFlight == 0));

    /// <summary>Stops at once, as a killed process does for those who ask it.</summary>
    public ValueTask KillAsync()
    {
        _disposed = true;
        _client.Dispose();
        return Node.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        await SettledAsync();
        await KillAsync();
        Assert.Equal(0, Node.Parts.Cache.Hot.SessionsInUse);
        Assert.Equal((0, 0), (Node.Parts.Limits.Requests, Node.Parts.Limits.Misses));
    }

    internal long Sent => Node.Peers!.Parts.Meter.SentBytes;

}
