using System.Buffers;
using System.Buffers.Binary;
using System.Net;

namespace Delivery.Edge.Connections;

/// <summary>What the bytes at the start of a connection are to PROXY protocol.</summary>
internal enum ProxyHeaderParse
{
    /// <summary>A header's beginning: more bytes are needed.</summary>
    Incomplete,

    /// <summary>No valid version 2 header, and no more bytes will make it one.</summary>
    Invalid,

    /// <summary>A header.</summary>
    Complete,
}

/// <summary>
/// PROXY protocol version 2 (haproxy.org, proxy-protocol.txt §2.2):
/// <code>
/// 0  0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a   12-byte signature
/// 12 version (2) and command: 0 LOCAL, 1 PROXY
/// 13 family: 1 IPv4, 2 IPv6, 3 UNIX, 0 none; and transport: 1 stream, 2 datagram, 0 none
/// 14 length of the rest, big-endian
/// 16 source address, destination address, source port, destination port; then TLVs, which are skipped
/// </code>
/// </summary>
internal static class ProxyHeader
{
    /// <summary>A header's length at most, in bytes. Addresses take 36; the longest TLVs, of TLS client certificates, some hundreds. HAProxy's own bound is lower.</summary>
    public const int MaxBytes = 4096;

    private const int FixedBytes = 16;
    private const int IPv4Bytes = 12;
    private const int IPv6Bytes = 36;

    private static ReadOnlySpan<byte> Signature => [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

    /// <summary>Reads a header at the start of what has arrived.</summary>
    /// <param name="input">What has arrived.</param>
    /// <param name="source">The client's address and port; null when the sender speaks for itself (LOCAL) or says no address: then the socket's holds.</param>
    /// <param name="end">Where the connection's own bytes begin.</param>
    public static ProxyHeaderParse Parse(ReadOnlySequence<byte> input, out IPEndPoint? source, out SequencePosition end)
    {
        (source, end) = (null, input.Start);
        Span<byte> start = stackalloc byte[FixedBytes + IPv6Bytes];
        var count = (int)Math.Min(start.Length, input.Length);
        input.Slice(0, count).CopyTo(start);
        start = start[..count];
        // As soon as a byte is wrong, so that a stranger is not waited for.
        var signature = Math.Min(count, Signature.Length);
        if (!start[..signature].SequenceEqual(Signature[..signature]))
            return ProxyHeaderParse.Invalid;
        if (count > 12 && start[12] is not (0x20 or 0x21))
            return ProxyHeaderParse.Invalid;
        if (count < FixedBytes)
            return ProxyHeaderParse.Incomplete;
        var isLocal = start[12] == 0x20;
        int length = BinaryPrimitives.ReadUInt16BigEndian(start[14..]);
        if (FixedBytes + length > MaxBytes)
            return ProxyHeaderParse.Invalid;
        var needed = isLocal ? 0 : AddressBytes(start[13]);
        if (needed < 0 || length < needed)
            return ProxyHeaderParse.Invalid;
        if (input.Length < FixedBytes + length)
            return ProxyHeaderParse.Incomplete;
        end = input.GetPosition(FixedBytes + length);
        var block = start[FixedBytes..];
        source = needed switch
        {
            IPv4Bytes => new(new IPAddress(block[..4]), BinaryPrimitives.ReadUInt16BigEndian(block[8..])),
            IPv6Bytes => new(new IPAddress(block[..16]), BinaryPrimitives.ReadUInt16BigEndian(block[32..])),
            _ => null,
        };
        return ProxyHeaderParse.Complete;
    }

    // §2.2: what is not understood is skipped as if nothing was said (0 bytes); what the specification does not define is refused (-1).
    private static int AddressBytes(byte family) => family switch
    {
        0x11 => IPv4Bytes,
        0x21 => IPv6Bytes,
        0x00 or 0x12 or 0x22 or 0x31 or 0x32 => 0,
        _ => -1,
    };
}
