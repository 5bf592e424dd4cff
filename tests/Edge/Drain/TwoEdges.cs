using System.Net;
using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Drain;

/// <summary>Two real edges on one store, in real time, behind a client that does what a balancer does: it probes <c>/readyz</c> and sends requests where that says 200.</summary>
internal sealed class TwoEdges(TimeSpan unreadyDelay) : IAsyncDisposable
{
    private static readonly byte[] Content = EdgeFixture.Bytes(900_000);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-pair-");
    private readonly KeyRing _ring = KeyRing.Generate();
    private readonly EdgeNode?[] _nodes = new EdgeNode?[2];
    private readonly Backend?[] _ready = new Backend?[2];
    private readonly int[] _served = new int[2];
    private readonly CancellationTokenSource _probing = new();
    private readonly SocketsHttpHandler _handler = new() { UseProxy = false };
    private FileStore _store = null!;
    private string _path = "";
    private Task _probes = Task.CompletedTask;

    public int Served => ServedBy(0) + ServedBy(1);

    public int ServedBy(int edge) => Volatile.Read(ref _served[edge]);

    public async Task StartAsync()
    {
        await File.WriteAllTextAsync(KeyRingPath, _ring.ToJson());
        _store = FileStore.Open(Path.Combine(_folder.FullName, "store"));
        var key = $"audio/{Convert.ToHexStringLower(SHA256.HashData(Content))[..40]}.ogg";
        await _store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(Content), new ObjectWrite { ContentType = "audio/ogg" }, CancellationToken.None);
        _path = "/" + key;
        for (var i = 0; i < 2; i++)
            _nodes[i] = await StartNodeAsync();
        _probes = ProbeAsync();
        await Poll.UntilAsync(() => _ready[0] is not null && _ready[1] is not null);
    }

    /// <summary>Stops an edge as SIGTERM does, starts another in its place, and waits until the client knows it.</summary>
    public async Task RestartAsync(int edge)
    {
        await _nodes[edge]!.DisposeAsync();
        _nodes[edge] = null;
        var node = await StartNodeAsync();
        Volatile.Write(ref _nodes[edge], node);
        await Poll.UntilAsync(() => Volatile.Read(ref _ready[edge])?.Node == node);
    }

    /// <summary>Asks again and again on keep-alive connections, the whole file slowly now and then; any answer but the right bytes is an exception.</summary>
    public async Task RequestAsync(int number, CancellationToken stop)
    {
        using var client = new HttpClient(_handler, disposeHandler: false);
        for (var i = number; !stop.IsCancellationRequested; i++)
        {
            var edge = i % 2;
            if (Volatile.Read(ref _ready[edge]) is not { } backend)
            {
                edge = 1 - edge;
                backend = Volatile.Read(ref _ready[edge]) ?? throw new InvalidOperationException("No edge is ready.");
            }

            var signed = NativeScheme.Instance.Sign(_ring, _path, new() { Expires = DateTimeOffset.UtcNow.AddHours(1) });
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(backend.Address, signed));
            var start = i * 4099 % 500_000;
            var whole = i % 10 == 0;
            if (!whole)
                request.Headers.TryAddWithoutValidation("Range", $"bytes={start}-{start + 65_535}");
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, CancellationToken.None);
            Assert.Equal(whole ? HttpStatusCode.OK : HttpStatusCode.PartialContent, response.StatusCode);
            var expected = whole ? Content : Content[start..(start + 65_536)];
            Assert.Equal(expected, await ReadAsync(response, slowly: whole));
            Interlocked.Increment(ref _served[edge]);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _probing.CancelAsync();
        await _probes;
        _probing.Dispose();
        _handler.Dispose();
        foreach (var node in _nodes)
        {
            if (node is not null)
                await node.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    private string KeyRingPath => Path.Combine(_folder.FullName, "keys.json");

    // A reader that takes its time: its body is under way when its edge stops.
    private static async Task<byte[]> ReadAsync(HttpResponseMessage response, bool slowly)
    {
        if (!slowly)
            return await response.Content.ReadAsByteArrayAsync();
        var bytes = new MemoryStream();
        await using var body = await response.Content.ReadAsStreamAsync();
        var piece = new byte[65_536];
        for (int count; (count = await body.ReadAsync(piece)) > 0; await Task.Delay(10))
            bytes.Write(piece, 0, count);
        return bytes.ToArray();
    }

    private Task<EdgeNode> StartNodeAsync() => EdgeNode.StartAsync(
        new()
        {
            Host = "localhost",
            Port = 0,
            AdminPort = 0,
            KeyRingPath = KeyRingPath,
            HotTierBytes = EdgeOptions.MinHotTierBytes,
            FillBufferBytes = 16 << 20,
            UnreadyDelay = unreadyDelay,
        },
        _store, NullLoggerFactory.Instance, TimeProvider.System, CancellationToken.None);

    private async Task ProbeAsync()
    {
        using var probe = new HttpClient();
        while (!_probing.IsCancellationRequested)
        {
            for (var i = 0; i < 2; i++)
            {
                var node = Volatile.Read(ref _nodes[i]);
                Volatile.Write(ref _ready[i], node is not null && await IsReadyAsync(probe, node) ? new(node, node.Address) : null);
            }

            await Task.Delay(20);
        }
    }

    private static async Task<bool> IsReadyAsync(HttpClient probe, EdgeNode node)
    {
        try
        {
            using var answer = await probe.GetAsync(new Uri(node.AdminAddress, "/readyz"));
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private sealed record Backend(EdgeNode Node, Uri Address);
}
