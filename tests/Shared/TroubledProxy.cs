using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Tests;

/// <summary>What a <see cref="TroubledProxy"/> does to the connections through it from the moment it is given.</summary>
public sealed class Trouble
{
    private long _asked;
    private long _answered;
    private int _times;

    public static Trouble None => new();

    /// <summary>Bytes of requests that still pass; then the connection is reset.</summary>
    public long CutRequestsAfter { get; init; } = long.MaxValue;

    /// <summary>Bytes of answers that still pass; then the connection is reset. 0: the request arrives, and its answer is lost.</summary>
    public long CutAnswersAfter { get; init; } = long.MaxValue;

    /// <summary>Bytes of answers that still pass; then nothing more comes, and the connection stays open.</summary>
    public long HoldAnswersAfter { get; init; } = long.MaxValue;

    /// <summary>How often it cuts; then everything passes.</summary>
    public int Times { get; init; } = int.MaxValue;

    /// <summary>How often it has cut or begun to hold.</summary>
    public int Happened => Volatile.Read(ref _times);

    internal int Passing(int count, bool isAnswer, out bool cut, out bool hold)
    {
        lock (this)
        {
            (cut, hold) = (false, false);
            if (_times >= Times)
                return count;
            ref var passed = ref isAnswer ? ref _answered : ref _asked;
            var cutAt = isAnswer ? CutAnswersAfter : CutRequestsAfter;
            var holdAt = isAnswer ? HoldAnswersAfter : long.MaxValue;
            var passing = (int)Math.Min(count, Math.Min(cutAt, holdAt) - passed);
            passed += passing;
            if (passing == count)
                return count;
            cut = cutAt <= holdAt;
            hold = !cut;
            _times++;
            // Each further one counts its bytes anew.
            (_asked, _answered) = (0, 0);
            return passing;
        }
    }
}

/// <summary>Stands between a client and a real server, and breaks what the test says: a network that fails, as no fault of the server.</summary>
public sealed class TroubledProxy : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly string _host;
    private readonly int _port;
    private readonly Task _accepting;
    private volatile Trouble _trouble = Trouble.None;
    private int _connections;

    public TroubledProxy(Uri server)
    {
        (_host, _port) = (server.Host, server.Port);
        _listener.Start();
        Address = new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
        _accepting = AcceptAsync();
    }

    public Uri Address { get; }

    /// <summary>Connections that were made so far.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>Is told what clients send, piece by piece, as Latin-1.</summary>
    public Action<string>? Asked { get; set; }

    public Trouble Trouble
    {
        get => _trouble;
        set => _trouble = value;
    }

    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
            return;
        await _stop.CancelAsync();
        _listener.Stop();
        await _accepting;
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        var running = new List<Task>();
        try
        {
            while (true)
            {
                var client = await _listener.AcceptSocketAsync(_stop.Token);
                Interlocked.Increment(ref _connections);
                running.RemoveAll(t => t.IsCompleted);
                running.Add(Task.Run(() => ServeAsync(client)));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
        }

        await Task.WhenAll(running);
    }

    private async Task ServeAsync(Socket client)
    {
        using var server = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        using (client)
        {
            client.NoDelay = true;
            try
            {
                await server.ConnectAsync(_host, _port, _stop.Token);
                await await Task.WhenAny(PumpAsync(client, server, isAnswer: false), PumpAsync(server, client, isAnswer: true));
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
            }
            finally
            {
                // A reset, so that neither side takes it for an orderly end.
                client.Close(0);
                server.Close(0);
            }
        }
    }

    private async Task PumpAsync(Socket from, Socket to, bool isAnswer)
    {
        var buffer = new byte[64 * 1024];
        int count;
        while ((count = await from.ReceiveAsync(buffer, _stop.Token)) > 0)
        {
            if (!isAnswer)
                Asked?.Invoke(Encoding.Latin1.GetString(buffer, 0, count));
            var passing = _trouble.Passing(count, isAnswer, out var cut, out var hold);
            for (var sent = 0; sent < passing;)
                sent += await to.SendAsync(buffer.AsMemory(sent, passing - sent), _stop.Token);
            if (hold)
                await Task.Delay(Timeout.Infinite, _stop.Token);
            if (cut)
                return;
        }
    }
}
