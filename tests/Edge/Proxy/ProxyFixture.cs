using System.Net.Sockets;
using System.Text;
using Delivery.Edge.Limits;
using Delivery.Edge.Proxy;
using Delivery.Edge.Upstreams;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Proxy;

/// <summary>A real node in http mode in front of a scripted origin. Its end is a test of its own: every buffer and exchange is back.</summary>
public sealed class ProxyFixture : IAsyncDisposable
{
    private ProxyFixture()
    {
    }

    public ProxyOrigin Origin { get; } = new();

    public ManualTime Time { get; } = new();

    public EdgeNode Node { get; private set; } = null!;

    public HttpClient Client { get; private set; } = null!;

    internal ProxyParts Parts => Node.Proxy!;

    public static async Task<ProxyFixture> StartAsync(Func<ProxyOptions, ProxyOptions>? configure = null, string[]? furtherUpstreams = null, long hotTierBytes = EdgeOptions.MinHotTierBytes, LimitOptions? limits = null)
    {
        var fixture = new ProxyFixture();
        var options = new EdgeOptions
        {
            Mode = EdgeMode.Http,
            EdgeId = "edge-under-test",
            Host = "localhost",
            Port = 0,
            AdminPort = 0,
            HotTierBytes = hotTierBytes,
            FillBufferBytes = 16 << 20,
            Upstreams = [.. (furtherUpstreams ?? []).Prepend(fixture.Origin.Address).Select((address, i) => new UpstreamOptions { Name = $"origin-{i}", Kind = UpstreamKind.Http, Address = address })],
            Limits = limits ?? new(),
            Proxy = configure?.Invoke(new()) ?? new(),
        };
        fixture.Node = await EdgeNode.StartAsync(options, null, NullLoggerFactory.Instance, fixture.Time, CancellationToken.None);
        fixture.Client = new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, UseCookies = false }) { BaseAddress = fixture.Node.Address };
        return fixture;
    }

    public Task<HttpResponseMessage> SendAsync(string path, HttpMethod? method = null, HttpContent? content = null, params (string Name, string Value)[] fields)
    {
        var request = new HttpRequestMessage(method ?? HttpMethod.Get, path) { Content = content };
        foreach (var (name, value) in fields)
            request.Headers.TryAddWithoutValidation(name, value);
        return Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    public Task<HttpResponseMessage> GetAsync(string path, params (string Name, string Value)[] fields) => SendAsync(path, null, null, fields);

    /// <summary>The body as text, of a response that must be 200.</summary>
    public async Task<string> TextAsync(string path, params (string Name, string Value)[] fields)
    {
        using var response = await GetAsync(path, fields);
        Assert.Equal(200, (int)response.StatusCode);
        return Encoding.Latin1.GetString(await response.Content.ReadAsByteArrayAsync());
    }

    /// <summary>Sends bytes as they are and gives what comes back until the edge closes.</summary>
    public async Task<string> RawAsync(string request)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(Node.Address.Host, Node.Address.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(request));
        using var reader = new StreamReader(stream, Encoding.Latin1);
        return await reader.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(20));
    }

    /// <summary>As a client with a small receive window, so that what it does not read stays with the edge.</summary>
    public async Task<(string Head, NetworkStream Body)> SlowAsync(string request)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(Node.Address.Host, Node.Address.Port);
        var stream = new NetworkStream(socket, ownsSocket: true);
        await stream.WriteAsync(Encoding.Latin1.GetBytes(request));
        var head = new StringBuilder();
        var next = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await stream.ReadExactlyAsync(next);
            head.Append((char)next[0]);
        }

        return (head.ToString(), stream);
    }

    /// <summary>Waits until nothing is under way: what can be stored is stored.</summary>
    public Task SettledAsync() => Poll.UntilAsync(() => Parts.Exchanges.Running == 0 && Node.Buffers.InUse == 0);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await SettledAsync();
        await Node.DisposeAsync();
        Assert.Equal(0, Node.Parts.Cache.Hot.SessionsInUse);
        await Origin.DisposeAsync();
    }

    public static string Header(HttpResponseMessage response, string name) => EdgeFixture.Header(response, name);
}
