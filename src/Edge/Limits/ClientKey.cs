using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;

namespace Delivery.Edge.Limits;

/// <summary>Who a client is to limits: an IPv4 address, or an IPv6 /64, which is what one subscriber is given (RFC 6177 §2), so that its 2^64 addresses are one client.</summary>
internal static class ClientKey
{
    /// <summary>IPv4 and IPv4-mapped addresses give the same; no global IPv6 network starts with the 32 zero bits of an IPv4 client's.</summary>
    public static ulong Of(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        if (!address.TryWriteBytes(bytes, out var length))
            return 0;
        if (length == 4)
            return BinaryPrimitives.ReadUInt32BigEndian(bytes);
        return address.IsIPv4MappedToIPv6 ? BinaryPrimitives.ReadUInt32BigEndian(bytes[12..]) : BinaryPrimitives.ReadUInt64BigEndian(bytes);
    }

    /// <summary>What stands for a token: its session id or its signature. Both are of the signer's choice, so a plain hash will do; <see cref="RateTable"/> seeds it.</summary>
    public static ulong Of(ReadOnlySpan<char> text)
    {
        // FNV-1a over 64-bit steps.
        var hash = 0xcbf29ce484222325 ^ (ulong)text.Length;
        var words = MemoryMarshal.Cast<char, ulong>(text);
        foreach (var word in words)
            hash = Step(hash, word);
        foreach (var c in text[(words.Length * 4)..])
            hash = Step(hash, c);
        return hash;

        static ulong Step(ulong hash, ulong word)
        {
            hash = (hash ^ word) * 0x9e3779b97f4a7c15;
            return hash ^ (hash >> 32);
        }
    }
}
