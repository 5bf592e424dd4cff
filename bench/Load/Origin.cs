using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Bench.Load;

/// <summary>
/// A scripted HTTP/1.1 origin: every path is an immutable object of one length, with ranges, a delay before the first byte and a rate. It counts what it is asked and keeps the times of
/// every answer. <c>/_bench/stats</c>, <c>/_bench/log</c> and <c>/_bench/reset</c> are its own.
/// </summary>
/// <remarks>A field of the log's lines each: path, first and last byte asked (the last is -1 for HEAD), timestamps of the request and of the first byte's sending, body bytes sent.</remarks>
internal sealed class Origin(long objectBytes, TimeSpan firstByteDelay, long bytesPerSecond)
{
    private const int MaxRequestBytes = 16 * 1024;
    private const int PieceBytes = 64 * 1024;

    /// <summary>Small, so that "sent" is not far from "received" when the other side drops the answer. The kernel doubles it.</summary>
    private const int SendBufferBytes = 128 * 1024;

    private readonly Lock _gate = new();
    private readonly List<Answer> _answers = [];
    private int _active;

    public async Task RunAsync(IPEndPoint address, CancellationToken cancellationToken)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(address);
        socket.Listen(16_384);
        while (!cancellationToken.IsCancellationRequested)
        {
            var connection = await socket.AcceptAsync(cancellationToken);
            _ = ServeAsync(connection);
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        using var _ = socket;
        socket.NoDelay = true;
        socket.SendBufferSize = SendBufferBytes;
        var buffer = new byte[MaxRequestBytes];
        var piece = new byte[PieceBytes + 1024];
        var filled = 0;
        try
        {
            while (true)
            {
                int end;
                while ((end = buffer.AsSpan(0, filled).IndexOf("\r\n\r\n"u8)) < 0)
                {
                    var read = filled < buffer.Length ? await socket.ReceiveAsync(buffer.AsMemory(filled)) : 0;
                    if (read == 0)
                        return;
                    filled += read;
                }

                var received = Stopwatch.GetTimestamp();
                var request = Request.Parse(Encoding.ASCII.GetString(buffer, 0, end), objectBytes);
                buffer.AsSpan((end + 4)..filled).CopyTo(buffer);
                filled -= end + 4;
                if (!await AnswerAsync(socket, request, received, piece))
                    return;
            }
        }
        catch (SocketException)
        {
            // The other side went away; what was sent is counted.
        }
    }

    private async Task<bool> AnswerAsync(Socket socket, Request request, long received, byte[] piece)
    {
        if (request.Path.StartsWith("/_bench/", StringComparison.Ordinal))
        {
            var text = Encoding.ASCII.GetBytes(Own(request.Path));
            await SendAllAsync(socket, Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {text.Length}\r\n\r\n"));
            await SendAllAsync(socket, text);
            return true;
        }

        if (request.Method is not ("GET" or "HEAD"))
        {
            await SendAllAsync(socket, "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray());
            return false;
        }

        var answer = new Answer(request, received);
        lock (_gate)
        {
            _answers.Add(answer);
            _active++;
        }

        try
        {
            if (firstByteDelay > TimeSpan.Zero)
                await Task.Delay(firstByteDelay);
            var header = Encoding.ASCII.GetBytes(Header(request));
            header.CopyTo(piece, 0);
            var pending = header.Length;
            var start = Content.StartOf(request.Path);
            var position = request.From;
            var end = request.Method == "HEAD" || request.Status == 416 ? position : request.To + 1;
            answer.FirstByteAt = Stopwatch.GetTimestamp();
            do
            {
                var length = (int)Math.Min(end - position, PieceBytes);
                Content.At(start, position, length).CopyTo(piece.AsMemory(pending));
                await SendAllAsync(socket, piece.AsMemory(0, pending + length));
                answer.Sent += length;
                position += length;
                pending = 0;
                if (bytesPerSecond > 0 && TimeSpan.FromSeconds((double)answer.Sent / bytesPerSecond) - Stopwatch.GetElapsedTime(answer.FirstByteAt) is { Ticks: > 10_000 } ahead)
                    await Task.Delay(ahead);
            }
            while (position < end);
            return true;
        }
        finally
        {
            lock (_gate)
                _active--;
        }
    }

    private string Header(Request request)
    {
        var head = string.Create(CultureInfo.InvariantCulture, $"HTTP/1.1 {request.Status} {(request.Status switch { 200 => "OK", 206 => "Partial Content", _ => "Range Not Satisfiable" })}\r\n");
        head += $"Date: {DateTime.UtcNow:R}\r\nContent-Type: audio/ogg\r\nAccept-Ranges: bytes\r\nETag: \"{Content.StartOf(request.Path):x8}\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n";
        head += "Cache-Control: public, max-age=31536000, immutable\r\n";
        return request.Status switch
        {
            416 => head + $"Content-Range: bytes */{objectBytes}\r\nContent-Length: 0\r\n\r\n",
            206 => head + $"Content-Range: bytes {request.From}-{request.To}/{objectBytes}\r\nContent-Length: {request.To - request.From + 1}\r\n\r\n",
            _ => head + $"Content-Length: {objectBytes}\r\n\r\n",
        };
    }

    private string Own(string path)
    {
        lock (_gate)
        {
            switch (path)
            {
                case "/_bench/reset":
                    _answers.Clear();
                    return "";
                case "/_bench/log":
                    return string.Concat(_answers.Select(answer => string.Create(
                        CultureInfo.InvariantCulture, $"{answer.Request.Path} {answer.Request.From} {(answer.Request.Method == "HEAD" ? -1 : answer.Request.To)} {answer.ReceivedAt} {answer.FirstByteAt} {answer.Sent}\n")));
                default:
                    var gets = _answers.Where(answer => answer.Request.Method == "GET").ToList();
                    return string.Create(CultureInfo.InvariantCulture, $$"""
                        {"gets":{{gets.Count}},"heads":{{_answers.Count - gets.Count}},"bytes":{{gets.Sum(answer => answer.Sent)}},"distinctRanges":{{gets.Select(answer => (answer.Request.Path, answer.Request.From, answer.Request.To)).Distinct().Count()}},"active":{{_active}}}

                        """);
            }
        }
    }

    private static async Task SendAllAsync(Socket socket, ReadOnlyMemory<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[await socket.SendAsync(bytes)..];
    }

    private sealed class Answer(Request request, long receivedAt)
    {
        public Request Request { get; } = request;

        public long ReceivedAt { get; } = receivedAt;

        public long FirstByteAt { get; set; }

        public long Sent { get; set; }
    }

    /// <summary>A request as far as this origin reads it. Preconditions are not read: its objects never change, and a cache that sends <c>If-Range</c> has the right validator.</summary>
    private sealed record Request(string Method, string Path, int Status, long From, long To)
    {
        public static Request Parse(string head, long length)
        {
            var lines = head.Split("\r\n");
            var words = lines[0].Split(' ');
            var path = words.Length > 1 ? words[1].Split('?')[0] : "";
            var range = lines.Skip(1).FirstOrDefault(line => line.StartsWith("Range:", StringComparison.OrdinalIgnoreCase))?[6..].Trim();
            if (range?.StartsWith("bytes=", StringComparison.Ordinal) != true || range.Contains(',') || words[0] == "HEAD")
                return new(words[0], path, 200, 0, length - 1);
            var bounds = range[6..].Split('-');
            var (from, to) = bounds[0].Length == 0 ? (Math.Max(0, length - Number(bounds[1])), length - 1) : (Number(bounds[0]), bounds[1].Length == 0 ? length - 1 : Math.Min(Number(bounds[1]), length - 1));
            return from > to ? new(words[0], path, 416, 0, -1) : new(words[0], path, 206, from, to);
        }

        private static long Number(string text) => long.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
    }
}
