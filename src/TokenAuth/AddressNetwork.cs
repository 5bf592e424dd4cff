using System.Buffers;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Delivery.TokenAuth;

/// <summary>
/// The value of an <c>ip</c> claim: an address, or a network in CIDR notation whose host bits are ignored. IPv4 is held as IPv4-mapped
/// IPv6 (RFC 4291 §2.5.5.2), so that both spellings of a client match.
/// </summary>
/// <remarks><see cref="IPNetwork"/> says the same, but its parser allocates; a property test holds the two together.</remarks>
internal readonly struct AddressNetwork
{
    private static readonly UInt128 MappedPrefix = new(0, 0xffff_0000_0000);

    private static readonly SearchValues<char> Digits = SearchValues.Create("0123456789");
    private static readonly SearchValues<char> HexDigits = SearchValues.Create("0123456789ABCDEFabcdef");

    private readonly UInt128 _address;
    private readonly int _prefixLength;

    private AddressNetwork(UInt128 address, int prefixLength) => (_address, _prefixLength) = (address, prefixLength);

    public bool Contains(IPAddress? client)
    {
        Span<byte> bytes = stackalloc byte[16];
        if (client is null || !client.TryWriteBytes(bytes, out var length))
            return false;
        UInt128 address = 0;
        foreach (var b in bytes[..length])
            address = address << 8 | b;
        if (client.AddressFamily == AddressFamily.InterNetwork)
            address |= MappedPrefix;
        // A network of IPv6 wider than the mapped range does not mean all of IPv4.
        if (IsMapped(address) != (IsMapped(_address) && _prefixLength >= 96))
            return false;
        return _prefixLength == 0 || (address ^ _address) >> (128 - _prefixLength) == 0;
    }

    public static bool TryParse(ReadOnlySpan<char> text, out AddressNetwork network)
    {
        network = default;
        var slash = text.IndexOf('/');
        var host = slash < 0 ? text : text[..slash];
        var isV4 = host.IndexOf(':') < 0;
        UInt128 address;
        if (isV4)
        {
            if (!TryParseV4(host, out var v4))
                return false;
            address = MappedPrefix | v4;
        }
        else if (!TryParseV6(host, out address))
        {
            return false;
        }

        var bits = isV4 ? 32 : 128;
        var prefixLength = bits;
        if (slash >= 0 && (!TryParseDecimal(text[(slash + 1)..], 3, out prefixLength) || prefixLength > bits))
            return false;
        network = new AddressNetwork(address, prefixLength + 128 - bits);
        return true;
    }

    private static bool IsMapped(UInt128 address) => address >> 32 == 0xffff;

    // Four decimal numbers without leading zeros, which some readers take for octal.
    private static bool TryParseV4(ReadOnlySpan<char> text, out uint address)
    {
        address = 0;
        for (var i = 0; i < 4; i++)
        {
            var dot = text.IndexOf('.');
            if (i < 3 ? dot < 0 : dot >= 0)
                return false;
            if (!TryParseDecimal(i < 3 ? text[..dot] : text, 3, out var number) || number > 255)
                return false;
            address = address << 8 | (uint)number;
            text = text[(dot + 1)..];
        }

        return true;
    }

    // RFC 4291 §2.2: eight groups, one "::" for one or more of them, and the last two may be an IPv4 address. No zone.
    private static bool TryParseV6(ReadOnlySpan<char> text, out UInt128 address)
    {
        address = 0;
        var gap = text.IndexOf("::");
        if (gap < 0)
            return TryParseGroups(text, true, out address, out var all) && all == 8;
        if (!TryParseGroups(text[..gap], false, out var high, out var left) || !TryParseGroups(text[(gap + 2)..], true, out var low, out var right))
            return false;
        if (left + right > 7)
            return false;
        address = left == 0 ? low : high << (128 - 16 * left) | low;
        return true;
    }

    private static bool TryParseGroups(ReadOnlySpan<char> text, bool mayEndInV4, out UInt128 value, out int count)
    {
        value = 0;
        count = 0;
        while (!text.IsEmpty)
        {
            var colon = text.IndexOf(':');
            var group = colon < 0 ? text : text[..colon];
            if (colon < 0 && mayEndInV4 && group.IndexOf('.') >= 0)
            {
                if (!TryParseV4(group, out var v4))
                    return false;
                value = value << 32 | v4;
                count += 2;
                return count <= 8;
            }

            if (group.Length is 0 or > 4 || ++count > 8 || group.ContainsAnyExcept(HexDigits))
                return false;
            var number = ushort.Parse(group, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            value = value << 16 | number;
            if (colon < 0)
                return true;
            text = text[(colon + 1)..];
            if (text.IsEmpty)
                return false;
        }

        return true;
    }

    private static bool TryParseDecimal(ReadOnlySpan<char> text, int maxDigits, out int value)
    {
        value = 0;
        // The characters are checked here: .NET's number parsers take trailing NULs.
        if (text.Length == 0 || text.Length > maxDigits || (text.Length > 1 && text[0] == '0') || text.ContainsAnyExcept(Digits))
            return false;
        value = int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
        return true;
    }
}
