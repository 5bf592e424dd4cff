using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Edge.Tests.Proxy;

/// <summary>
/// An HTTP origin that says what a test tells it to, byte by byte: it stalls, cuts, lies about lengths and resets. Counts what it is asked. On raw sockets, as a proper server would not let
/// it do any of this.
/// </summary>
public sealed class ProxyOrigin : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly ConcurrentDictionary<string, Func<OriginRequest, OriginConnection, Task>> _scripts = new();
    private readonly ConcurrentQueue<OriginRequest> _requests = new();
    private readonly ConcurrentDictionary<OriginConnection, Task> _connections = new();
    private readonly Task _accepting;

    public ProxyOrigin()
    {
        _listener.Start();
        Address = $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";
        _accepting = AcceptAsync();
    }

    public string Address { get; }

    /// <summary>What it was asked, in order.</summary>
    public IReadOnlyList<OriginRequest> Requests => [.. _requests];

    /// <summary>What the script of a path threw, other than because the edge had hung up.</summary>
    public ConcurrentQueue<Exception> Faults { get; } = new();

    public int Asked(string path) => _requests.Count(r => r.Target.Split('?')[0] == path);

    public void On(string path, Func<OriginRequest, OriginConnection, Task> script) => _scripts[path] = script;

    /// <summary>Always the same answer.</summary>
    public void On(string path, string body, params string[] fields) => On(path, (_, connection) => connection.RespondAsync(200, Encoding.Latin1.GetBytes(body), fields));

    public async ValueTask DisposeAsync()
    {
        _listener.Stop();
        foreach (var connection in _connections.Keys)
            connection.Reset();
        await Task.WhenAll(_connections.Values);
        await _accepting;
        Assert.Empty(Faults);
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var connection = new OriginConnection(await _listener.AcceptSocketAsync());
                _connections[connection] = Task.Run(() => ServeAsync(connection));
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Stopped.
        }
    }

    private async Task ServeAsync(OriginConnection connection)
    {
        try
        {
            while (await connection.ReadRequestAsync() is { } request)
            {
                _requests.Enqueue(request);
                if (_scripts.TryGetValue(request.Target.Split('?')[0], out var script))
                    await script(request, connection);
                else
                    await connection.RespondAsync(404, [], []);
            }
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException)
        {
            // The edge hung up, or this test did.
        }
        catch (Exception exception)
        {
            Faults.Enqueue(exception);
        }
        finally
        {
            connection.Dispose();
        }
    }
}

public sealed record OriginRequest(string Method, string Target, IReadOnlyList<string> Lines, byte[] Body)
{
    /// <summary>A field's values, joined; empty without it.</summary>
    public string this[string name] => string.Join(", ", Lines.Where(l => l.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase)).Select(l => l[(name.Length + 1)..].Trim()));
}

public sealed class OriginConnection(Socket socket) : IDisposable
{
    private readonly NetworkStream _stream = new(socket, ownsSocket: true);
    private byte[] _unread = [];

    public Task SendAsync(string text) => SendAsync(Encoding.Latin1.GetBytes(text));

    public Task SendAsync(byte[] bytes) => _stream.WriteAsync(bytes).AsTask();

    public Task RespondAsync(int status, byte[] body, params string[] fields) =>
        SendAsync([.. Encoding.Latin1.GetBytes($"HTTP/1.1 {status} Status\r\nContent-Length: {body.Length}\r\n{string.Concat(fields.Select(f => f + "\r\n"))}\r\n"), .. body]);

    /// <summary>The header section alone, with a length or chunked.</summary>
    public Task HeadAsync(long? length, params string[] fields) =>
        SendAsync($"HTTP/1.1 200 OK\r\n{(length is { } bytes ? $"Content-Length: {bytes}" : "Transfer-Encoding: chunked")}\r\n{string.Concat(fields.Select(f => f + "\r\n"))}\r\n");

    public Task ChunkAsync(byte[] bytes) => SendAsync([.. Encoding.ASCII.GetBytes($"{bytes.Length:x}\r\n"), .. bytes, .. "\r\n"u8]);

    /// <summary>FIN.</summary>
    public void Dispose() => _stream.Dispose();

    /// <summary>RST.</summary>
    public void Reset()
    {
        try
        {
            socket.LingerState = new(true, 0);
        }
        catch (ObjectDisposedException)
        {
            // Its script has just ended by itself.
        }

        _stream.Dispose();
    }

    /// <summary>Returns when the edge has hung up.</summary>
    public async Task HungUpAsync()
    {
        var buffer = new byte[1];
        try
        {
            while (await _stream.ReadAsync(buffer) > 0)
            {
            }
        }
        catch (IOException)
        {
            // By a reset.
        }
    }

    internal async Task<OriginRequest?> ReadRequestAsync()
    {
        var head = new List<byte>();
        while (!(head.Count >= 4 && head[^4] == '\r' && head[^3] == '\n' && head[^2] == '\r' && head[^1] == '\n'))
        {
            if (await ReadByteAsync() is not { } next)
                return null;
            head.Add(next);
        }

        var lines = Encoding.Latin1.GetString([.. head]).Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var parts = lines[0].Split(' ');
        var request = new OriginRequest(parts[0], parts[1], lines[1..], []);
        if (request["Content-Length"] is { Length: > 0 } length)
            return request with { Body = await ReadBytesAsync(int.Parse(length)) };
        if (request["Transfer-Encoding"] != "chunked")
            return request;
        var body = new List<byte>();
        while (true)
        {
            var size = Convert.ToInt32(await ReadLineAsync(), 16);
            body.AddRange(await ReadBytesAsync(size));
            await ReadLineAsync();
            if (size == 0)
                return request with { Body = [.. body] };
        }
    }

    private async Task<string> ReadLineAsync()
    {
        var line = new StringBuilder();
        while (await ReadByteAsync() is { } next && next != '\n')
            line.Append((char)next);
        return line.ToString().TrimEnd('\r');
    }

    private async Task<byte[]> ReadBytesAsync(int count)
    {
        var bytes = new byte[count];
        for (var i = 0; i < count; i++)
            bytes[i] = await ReadByteAsync() ?? throw new IOException("The body ended early.");
        return bytes;
    }

    private async ValueTask<byte?> ReadByteAsync()
    {
        if (_unread.Length == 0)
        {
            var buffer = new byte[64 * 1024];
            var count = await _stream.ReadAsync(buffer);
            if (count == 0)
                return null;
            _unread = buffer[..count];
        }

        var next = _unread[0];
        _unread = _unread[1..];
        return next;
    }
}
