using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Bench.Load;

/// <summary>
/// What real players send for one file (measured: librespot, ffmpeg, Chromium, GStreamer), on one cold object each. Bytes count as taken when the player's own code has read them; its receive
/// buffer is small and its segments are Ethernet's, so that "dropped after 200 KB" is nearly true on loopback, and a player stays <c>--hold-ms</c> on a connection that it no longer reads before it drops it.
/// </summary>
internal static class Players
{
    private const int ReceiveBufferBytes = 8 * 1024; // The kernel doubles it.

    /// <summary>
    /// Loopback's own segments are 64 KiB, and Linux sizes a sender's buffer by its window in segments: the edge would hand 3 MB to the kernel before it noticed that nobody reads.
    /// </summary>
    private const int SegmentBytes = 1460;

    private const int IpProtoTcp = 6;
    private const int TcpMaxSegment = 2; // TCP_MAXSEG, tcp(7)
    private const int FirstBytes = 64 * 1024;
    private const int NextBytes = 256 * 1024;
    private const int DroppedAfter = 200_000;

    private static readonly Dictionary<string, Action<Player>> s_scenarios = new()
    {
        ["librespot"] = player =>
        {
            player.Closed(0, FirstBytes - 1);
            for (var from = (long)FirstBytes; from < player.Length; from += NextBytes)
                player.Closed(from, Math.Min(from + NextBytes, player.Length) - 1);
        },
        ["head"] = player => player.Closed(0, FirstBytes - 1),
        ["ffmpeg"] = player =>
        {
            player.Dropped("0-", 0, DroppedAfter);
            player.Whole($"{player.Length - FirstBytes}-", player.Length - FirstBytes);
            for (var seek = 1; seek <= 3; seek++)
                player.Dropped($"{player.Length * seek / 4}-", player.Length * seek / 4, DroppedAfter);
        },
        ["chromium"] = player =>
        {
            player.Whole("0-", 0);
            for (var seek = 1; seek <= 3; seek++)
                player.Closed(player.Length * seek / 4, (player.Length * seek / 4) + NextBytes - 1);
        },
        ["gstreamer"] = player =>
        {
            player.Dropped(null, 0, DroppedAfter);
            player.Closed(player.Length - FirstBytes, player.Length - 1);
            player.Whole("1-", 1);
        },
        ["dropped"] = player => player.Dropped("0-", 0, 1),
    };

    public static void Run(Arguments arguments, Dictionary<string, object> report)
    {
        var target = Target.From(arguments);
        using var origin = new OriginView(arguments.Optional("origin"));
        using var metrics = new EdgeMetrics(arguments.Optional("admin"));
        var (paths, scenario, count, hold) = (arguments.Text("paths"), arguments.Text("scenario"), arguments.Count("count"), arguments.Count("hold-ms", 50));
        var concurrency = arguments.Count("concurrency", 1);
        arguments.End();
        if (scenario != "mix" && !s_scenarios.ContainsKey(scenario))
            throw new ArgumentException($"scenarios: mix, {string.Join(", ", s_scenarios.Keys)}");

        origin.Reset();
        metrics.Start();
        var (taken, distinct) = (0L, 0L);
        var errors = new ConcurrentQueue<string>();
        var plays = scenario == "mix" ? [.. s_scenarios.Values] : new[] { s_scenarios[scenario] };
        Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = concurrency }, i =>
        {
            using var player = new Player(target, Misses.Path(paths, i), hold);
            try
            {
                plays[i % plays.Length](player);
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                errors.Enqueue(e.Message);
            }

            Interlocked.Add(ref taken, player.Taken);
            Interlocked.Add(ref distinct, player.DistinctBytes());
        });

        report["scenario"] = scenario;
        report["objects"] = count;
        report["errors"] = errors.Count;
        report["error"] = errors.FirstOrDefault() ?? "";
        report["taken"] = taken;
        report["distinct"] = distinct;
        origin.Report(report);
        metrics.Report(report);
    }

    private sealed class Player(Target target, string path, int hold) : IDisposable
    {
        private readonly string _signed = target.Sign(path);
        private readonly int _start = Content.StartOf(path);
        private readonly byte[] _buffer = new byte[16 * 1024];
        private readonly List<(long From, long To)> _ranges = [];
        private Socket? _kept;

        public long Length => target.ObjectBytes;

        public long Taken { get; private set; }

        /// <summary>A closed range, read whole; its connection is used again.</summary>
        public void Closed(long from, long to)
        {
            _kept ??= Connect();
            Take(_kept, string.Create(CultureInfo.InvariantCulture, $"{from}-{to}"), from, to - from + 1, to - from + 1);
        }

        /// <summary>An open range read to its end.</summary>
        public void Whole(string range, long from)
        {
            _kept ??= Connect();
            Take(_kept, range, from, Length - from, Length - from);
        }

        /// <summary>An open range (or none) of which the player takes some bytes; then it drops the connection.</summary>
        public void Dropped(string? range, long from, long bytes)
        {
            using var socket = Connect();
            Take(socket, range, from, Length - from, bytes);
            Thread.Sleep(hold);
        }

        public long DistinctBytes()
        {
            var (bytes, end) = (0L, 0L);
            foreach (var (from, to) in _ranges.Order())
            {
                bytes += Math.Max(0, to - Math.Max(from, end));
                end = Math.Max(end, to);
            }

            return bytes;
        }

        public void Dispose() => _kept?.Dispose();

        private Socket Connect()
        {
            var socket = new Socket(target.Address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveBufferSize = ReceiveBufferBytes, ReceiveTimeout = 30_000 };
            socket.SetRawSocketOption(IpProtoTcp, TcpMaxSegment, BitConverter.GetBytes(SegmentBytes));
            socket.Connect(target.Address);
            return socket;
        }

        private void Take(Socket socket, string? range, long from, long length, long take)
        {
            socket.Send(Listener.Request(target.Address, _signed, range));
            var filled = 0;
            int end;
            while ((end = _buffer.AsSpan(0, filled).IndexOf("\r\n\r\n"u8)) < 0)
                filled += Receive(socket, _buffer.AsSpan(filled));
            var header = Encoding.ASCII.GetString(_buffer, 0, end);
            if (!header.StartsWith(range is null ? "HTTP/1.1 200" : "HTTP/1.1 206", StringComparison.Ordinal))
                throw new IOException($"{header[..Math.Min(header.Length, 20)]} to {range ?? "no range"}");
            if (!header.Contains(string.Create(CultureInfo.InvariantCulture, $"\r\nContent-Length: {length}"), StringComparison.OrdinalIgnoreCase))
                throw new IOException($"a wrong length to {range ?? "no range"}");
            var body = _buffer.AsMemory((end + 4)..filled);
            var position = 0L;
            while (true)
            {
                if (!Content.At(_start, from + position, body.Length).Span.SequenceEqual(body.Span))
                    throw new IOException($"wrong bytes to {range ?? "no range"}");
                position += body.Length;
                if (position >= take)
                    break;
                body = _buffer.AsMemory(0, Receive(socket, _buffer.AsSpan(0, (int)Math.Min(_buffer.Length, take - position))));
            }

            Taken += position;
            _ranges.Add((from, from + position));
        }

        private static int Receive(Socket socket, Span<byte> into) => into.IsEmpty ? throw new IOException("a header without an end")
            : socket.Receive(into) is > 0 and var read ? read : throw new IOException("closed within an answer");
    }
}
