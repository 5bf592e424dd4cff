using System.Net.Sockets;
using System.Text;

namespace Delivery.Edge.Tests.Requests;

/// <summary>Bytes on a socket: for what HttpClient would never send, and for seeing how a response really ends.</summary>
public sealed class RawClient : IDisposable
{
    private readonly TcpClient _tcp = new();

    public NetworkStream Stream { get; private set; } = null!;

    /// <summary>Whether each write is a segment of its own.</summary>
    public bool NoDelay
    {
        get => _tcp.NoDelay;
        set => _tcp.NoDelay = value;
    }

    public static async Task<RawClient> ConnectAsync(Uri address)
    {
        var client = new RawClient();
        await client._tcp.ConnectAsync(address.Host, address.Port);
        client.Stream = client._tcp.GetStream();
        return client;
    }

    /// <summary>Sends one request and reads until the edge closes; a reset ends the text as well.</summary>
    public static async Task<string> ExchangeAsync(Uri address, string requestLine, string headers = "")
    {
        using var client = await ConnectAsync(address);
        await client.SendAsync($"{requestLine}\r\nHost: edge\r\nConnection: close\r\n{headers}\r\n");
        return await client.ReadToEndAsync();
    }

    public async Task SendAsync(string text) => await Stream.WriteAsync(Encoding.Latin1.GetBytes(text));

    public async Task<string> ReadToEndAsync()
    {
        var text = new StringBuilder();
        var buffer = new byte[65_536];
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        try
        {
            for (int count; (count = await Stream.ReadAsync(buffer, bound.Token)) > 0;)
                text.Append(Encoding.Latin1.GetString(buffer, 0, count));
        }
        catch (IOException)
        {
            text.Append("<reset>");
        }

        return text.ToString();
    }

    /// <summary>Reads headers and <paramref name="bodyBytes"/> of the body.</summary>
    public async Task<(string Headers, byte[] Body)> ReadAsync(int bodyBytes)
    {
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        var headers = new StringBuilder();
        var one = new byte[1];
        while (!headers.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await Stream.ReadExactlyAsync(one, bound.Token);
            headers.Append((char)one[0]);
        }

        var body = new byte[bodyBytes];
        await Stream.ReadExactlyAsync(body, bound.Token);
        return (headers.ToString(), body);
    }

    /// <summary>Leaves without a farewell.</summary>
    public void Reset() => _tcp.Client.Close(0);

    public void Dispose() => _tcp.Dispose();
}
