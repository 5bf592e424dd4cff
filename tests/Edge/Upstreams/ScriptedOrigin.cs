using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>An HTTP/1.1 origin over real sockets that answers ranges rightly, and anything else on command.</summary>
public sealed class ScriptedOrigin : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentQueue<OriginRequest> _requests = [];
    private readonly ConcurrentDictionary<Task, bool> _serving = new();
    private readonly Task _accepting;
    private int _accepted;
    private int _open;

    public ScriptedOrigin(byte[] content)
    {
        Content = content;
        _listener.Start();
        Address = new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
        _accepting = AcceptAsync();
    }

    public Uri Address { get; }

    public byte[] Content { get; set; }

    public string ETag { get; set; } = "\"v1\"";

    /// <summary>Changes the right answer into the one that is sent.</summary>
    public Func<OriginRequest, OriginAnswer, OriginAnswer>? Script { get; set; }

    public IReadOnlyList<OriginRequest> Requests => [.. _requests];

    public int Accepted => Volatile.Read(ref _accepted);

    public int OpenConnections => Volatile.Read(ref _open);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _accepting;
        await Task.WhenAll(_serving.Keys);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var socket = await _listener.AcceptSocketAsync(_stop.Token);
                Interlocked.Increment(ref _accepted);
                Interlocked.Increment(ref _open);
                var serving = ServeAsync(socket);
                _serving.TryAdd(serving, true);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        try
        {
            using var stream = new NetworkStream(socket, ownsSocket: true);
            while (await ReadRequestAsync(stream) is { } request)
            {
                var right = Right(request);
                var answer = Script?.Invoke(request, right) ?? right;
                _requests.Enqueue(request);
                if (!await SendAsync(stream, socket, request, answer))
                    return;
            }
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
        {
        }
        finally
        {
            Interlocked.Decrement(ref _open);
        }
    }

    private async Task<OriginRequest?> ReadRequestAsync(NetworkStream stream)
    {
        var text = new StringBuilder();
        var one = new byte[1];
        while (!text.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            if (await stream.ReadAsync(one, _stop.Token) == 0)
                return null;
            text.Append((char)one[0]);
        }

        var lines = text.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var line = lines[0].Split(' ');
        return new(line[0], line[1], lines[1..].Select(l => l.Split(':', 2)).ToDictionary(p => p[0], p => p[1].Trim(), StringComparer.OrdinalIgnoreCase));
    }

    // Ends when the client has gone, too: a server that waits for ever would look like a connection that leaks.
    private async Task WaitAsync(Task what, Socket socket)
    {
        while (!what.IsCompleted)
        {
            if (socket.Poll(0, SelectMode.SelectRead) && socket.Available == 0)
                throw new IOException("The client has gone.");
            await Task.WhenAny(what, Task.Delay(5, _stop.Token));
        }

        await what;
    }

    private OriginAnswer Right(OriginRequest request)
    {
        var headers = new Dictionary<string, string> { ["Content-Type"] = "audio/ogg", ["ETag"] = ETag };
        var (status, body) = (200, Content);
        if (request.Range is { } range && (request.Headers.GetValueOrDefault("If-Range") ?? ETag) == ETag)
        {
            if (range.First >= Content.Length)
                return new() { Status = 416, Headers = { ["Content-Range"] = $"bytes */{Content.Length}" } };
            var last = Math.Min(range.Last, Content.Length - 1);
            (status, body) = (206, Content[(int)range.First..(int)(last + 1)]);
            headers["Content-Range"] = string.Create(CultureInfo.InvariantCulture, $"bytes {range.First}-{last}/{Content.Length}");
        }

        headers["Content-Length"] = body.Length.ToString(CultureInfo.InvariantCulture);
        return new() { Status = status, Headers = headers, Body = request.Method == "HEAD" ? [] : body };
    }

    private async Task<bool> SendAsync(NetworkStream stream, Socket socket, OriginRequest request, OriginAnswer answer)
    {
        await WaitAsync(answer.BeforeHead, socket);
        var head = new StringBuilder(answer.Interim).Append(CultureInfo.InvariantCulture, $"HTTP/1.1 {answer.Status} Scripted\r\n");
        foreach (var (name, value) in answer.Headers)
            head.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");
        head.Append(answer.MoreHeaders).Append("\r\n");
        if (answer.Status == 0)
        {
            socket.Close(0);
            return false;
        }

        await stream.WriteAsync(Encoding.Latin1.GetBytes(head.ToString()), _stop.Token);
        if (request.Method == "HEAD")
            return true;
        var body = answer.Chunked
            ? [.. Encoding.Latin1.GetBytes($"{answer.Body.Length:x}\r\n"), .. answer.Body, .. Encoding.Latin1.GetBytes("\r\n0\r\n\r\n")]
            : answer.Body;
        var sent = Math.Min(answer.HoldAfter, Math.Min(answer.CutAfter, body.Length));
        await stream.WriteAsync(body.AsMemory(0, sent), _stop.Token);
        if (answer.HoldAfter < body.Length)
        {
            await WaitAsync(answer.Held, socket);
            await stream.WriteAsync(body.AsMemory(sent, Math.Min(answer.CutAfter, body.Length) - sent), _stop.Token);
        }

        if (answer.CutAfter >= body.Length)
            return !answer.Close;
        if (answer.Reset)
        {
            // What is on its way must be read first: a reset overtakes it.
            await WaitAsync(answer.BeforeReset, socket);
            socket.Close(0);
        }

        return false;
    }
}

public sealed record OriginRequest(string Method, string Target, IReadOnlyDictionary<string, string> Headers)
{
    public (long First, long Last)? Range
    {
        get
        {
            if (Headers.GetValueOrDefault("Range") is not { } text)
                return null;
            var parts = text["bytes=".Length..].Split('-');
            return (long.Parse(parts[0], CultureInfo.InvariantCulture), parts[1].Length == 0 ? long.MaxValue - 1 : long.Parse(parts[1], CultureInfo.InvariantCulture));
        }
    }
}

public sealed record OriginAnswer
{
    /// <summary>0: the connection is reset in the place of an answer.</summary>
    public int Status { get; init; }

    public Dictionary<string, string> Headers { get; init; } = [];

    /// <summary>Lines that a dictionary cannot hold, each with its end.</summary>
    public string MoreHeaders { get; init; } = "";

    public string Interim { get; init; } = "";

    public byte[] Body { get; init; } = [];

    public bool Chunked { get; init; }

    /// <summary>Bytes of the body after which the connection ends.</summary>
    public int CutAfter { get; init; } = int.MaxValue;

    /// <summary>By a reset and not by a close.</summary>
    public bool Reset { get; init; }

    public bool Close { get; init; }

    /// <summary>Bytes of the body after which nothing comes until <see cref="Held"/>.</summary>
    public int HoldAfter { get; init; } = int.MaxValue;

    public Task Held { get; init; } = Task.CompletedTask;

    public Task BeforeHead { get; init; } = Task.CompletedTask;

    public Task BeforeReset { get; init; } = Task.CompletedTask;

    public OriginAnswer With(string name, string? value)
    {
        var headers = new Dictionary<string, string>(Headers);
        if (value is null)
            headers.Remove(name);
        else
            headers[name] = value;
        return this with { Headers = headers };
    }
}
