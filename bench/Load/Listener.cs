using System.Buffers.Text;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Delivery.Bench.Load;

/// <summary>One keep-alive connection to a contender: sends a request, takes the times of its answer, checks what came.</summary>
internal sealed class Listener : IDisposable
{
    private const int MaxHeaderBytes = 8 * 1024;

    // One thread runs all listeners.
    private static readonly byte[] s_scratch = new byte[256 * 1024];

    private readonly Socket _socket;
    private byte[]? _split;
    private int _splitLength;
    private bool _inBody;
    private long _expected;
    private long _position;
    private int _start;
    private long _from;

    public Listener(IPEndPoint address)
    {
        _socket = new(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        _socket.Connect(address);
        _socket.Blocking = false;
        Descriptor = (int)_socket.Handle;
    }

    public int Descriptor { get; }

    public bool Busy { get; private set; }

    /// <summary>Set when the answer was wrong or the connection failed; it is not used again.</summary>
    public string? Error { get; private set; }

    /// <summary>Compares the body with what the origin's object holds. Costs a copy; without it the kernel drops the bytes unseen and only their number is checked.</summary>
    public bool Checks { get; init; }

    /// <summary>Timestamps of the request's sending, the body's first byte and its last.</summary>
    public long SentAt { get; private set; }

    public long FirstByteAt { get; private set; }

    public long EndedAt { get; private set; }

    /// <summary>Body bytes of all answers.</summary>
    public long Bytes { get; private set; }

    public static byte[] Request(IPEndPoint address, string target, string? range) => Encoding.ASCII.GetBytes(
        $"GET {target} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\n{(range is null ? "" : $"Range: bytes={range}\r\n")}\r\n");

    /// <param name="request">What <see cref="Request"/> made.</param>
    /// <param name="start">The object's start (<see cref="Content.StartOf"/>).</param>
    /// <param name="from">The first byte that is asked.</param>
    /// <param name="length">Bytes that must come.</param>
    public void Ask(ReadOnlySpan<byte> request, int start, long from, long length)
    {
        (Busy, _inBody, _splitLength, _start, _from, _expected, _position) = (true, false, 0, start, from, length, 0);
        SentAt = Stopwatch.GetTimestamp();
        if (!Epoll.Send(Descriptor, request))
            Fail("the request could not be sent");
    }

    /// <summary>Reads what there is. True when the answer has ended, well or not.</summary>
    public bool Read()
    {
        if (!Busy)
        {
            // A server that closes an idle connection, or speaks unasked.
            Fail("bytes or an end without a request");
            return false;
        }

        while (true)
        {
            var discards = _inBody && !Checks;
            var received = discards ? Epoll.Discard(Descriptor, _expected - _position)
                : Epoll.Receive(Descriptor, s_scratch.AsSpan(0, _inBody ? (int)Math.Min(_expected - _position, s_scratch.Length) : Checks ? s_scratch.Length : MaxHeaderBytes));
            if (received == -1)
                return false;
            if (received <= 0)
                return Fail(received == 0 ? "closed" : "reset");
            if (_inBody ? !Body(discards ? [] : s_scratch.AsSpan(0, (int)received), received) : !Header(s_scratch.AsSpan(0, (int)received)))
                return true;
            if (_inBody && _position == _expected)
            {
                EndedAt = Stopwatch.GetTimestamp();
                Busy = false;
                return true;
            }
        }
    }

    public void GiveUp() => Fail("no answer in time");

    public void Dispose() => _socket.Dispose();

    private bool Header(Span<byte> received)
    {
        if (_splitLength > 0 || received.IndexOf("\r\n\r\n"u8) < 0)
        {
            _split ??= new byte[MaxHeaderBytes + s_scratch.Length];
            if (_splitLength > MaxHeaderBytes)
                return !Fail("a header without an end");
            received.CopyTo(_split.AsSpan(_splitLength));
            _splitLength += received.Length;
            received = _split.AsSpan(0, _splitLength);
        }

        var end = received.IndexOf("\r\n\r\n"u8);
        if (end < 0)
            return true;
        var status = received.Length > 12 && Utf8Parser.TryParse(received[9..12], out int value, out _) ? value : 0;
        if (status is not (200 or 206))
            return !Fail(string.Create(CultureInfo.InvariantCulture, $"status {status}"));
        var length = ContentLength(received[..end]);
        if (length != _expected)
            return !Fail(string.Create(CultureInfo.InvariantCulture, $"length {length}, not {_expected}"));
        _inBody = true;
        var body = received[(end + 4)..];
        return body.IsEmpty || Body(body, body.Length);
    }

    private bool Body(ReadOnlySpan<byte> body, long length)
    {
        if (_position == 0)
            FirstByteAt = Stopwatch.GetTimestamp();
        if (_position + length > _expected)
            return !Fail("more bytes than were promised");
        if (!body.IsEmpty && Checks && !Content.At(_start, _from + _position, body.Length).Span.SequenceEqual(body))
            return !Fail("wrong bytes");
        _position += length;
        Bytes += length;
        return true;
    }

    private bool Fail(string error)
    {
        Error ??= error;
        EndedAt = Stopwatch.GetTimestamp();
        Busy = false;
        return true;
    }

    private static long ContentLength(ReadOnlySpan<byte> header)
    {
        while (true)
        {
            var line = header.IndexOf("\r\n"u8);
            if (line < 0)
                return -1;
            header = header[(line + 2)..];
            if (header.Length > 16 && Ascii.EqualsIgnoreCase(header[..15], "content-length:"u8))
                return Utf8Parser.TryParse(header[15..].TrimStart((byte)' '), out long value, out _) ? value : -1;
        }
    }
}
