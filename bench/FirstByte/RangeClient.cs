using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Bench.FirstByte;

/// <summary>One keep-alive connection that asks ranges and times the body's first byte. A bare socket: the client must cost next to nothing.</summary>
internal sealed class RangeClient : IDisposable
{
    private readonly Socket _socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly byte[] _buffer = new byte[256 * 1024];
    private readonly string _host;

    public RangeClient(Uri address)
    {
        _host = address.Authority;
        _socket.Connect(IPAddress.Loopback, address.Port);
    }

    /// <returns>The status, the body's length, and the time from sending to the body's first byte.</returns>
    public (int Status, long Bytes, TimeSpan FirstByte) Get(string target, long lastByte)
    {
        var request = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"GET {target} HTTP/1.1\r\nHost: {_host}\r\nRange: bytes=0-{lastByte}\r\n\r\n"));
        var started = Stopwatch.GetTimestamp();
        _socket.Send(request);
        var filled = 0;
        int headerEnd;
        do
        {
            var read = _socket.Receive(_buffer.AsSpan(filled));
            if (read == 0)
                throw new IOException("The edge closed the connection.");
            filled += read;
            headerEnd = _buffer.AsSpan(0, filled).IndexOf("\r\n\r\n"u8);
        }
        while (headerEnd < 0);

        var header = Encoding.ASCII.GetString(_buffer, 0, headerEnd);
        var status = int.Parse(header.AsSpan(9, 3), CultureInfo.InvariantCulture);
        var length = Length(header);
        long received = filled - headerEnd - 4;
        while (received == 0 && length > 0)
            received += Receive();
        var firstByte = Stopwatch.GetElapsedTime(started);
        while (received < length)
            received += Receive();
        return (status, received, firstByte);
    }

    public void Dispose() => _socket.Dispose();

    private int Receive()
    {
        var read = _socket.Receive(_buffer);
        return read > 0 ? read : throw new IOException("The edge closed the connection within a body.");
    }

    private static long Length(string header)
    {
        const string name = "\r\nContent-Length:";
        var at = header.IndexOf(name, StringComparison.OrdinalIgnoreCase);
        if (at < 0)
            return 0;
        var start = at + name.Length;
        var end = header.IndexOf('\r', start);
        return long.Parse(header.AsSpan(start, (end < 0 ? header.Length : end) - start), CultureInfo.InvariantCulture);
    }
}
