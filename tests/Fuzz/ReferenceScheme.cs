using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace Delivery.Fuzz;

/// <summary>
/// The signed-URL format written a second time, from docs/formats/signed-url.md and without any code of TokenAuth: slow, plain and
/// allocating. What TokenAuth answers must be what this answers.
/// </summary>
public static partial class ReferenceScheme
{
    private static readonly string[] Claims = ["cc", "ip", "kid", "nbf", "nxt", "pfx", "sid", "tid"];

    public static string Verdict(IReadOnlyDictionary<string, byte[]> keys, string path, string query, IPAddress? client, long now)
    {
        var reserved = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var malformed = false;
        foreach (var parameter in query.Split('&'))
        {
            var parts = parameter.Split('=', 2);
            if (parts[0] is not ("sig" or "expires") && !Claims.Contains(parts[0]))
                continue;
            malformed |= parts.Length == 1 || reserved.ContainsKey(parts[0]);
            reserved[parts[0]] = parts.Length == 1 ? "" : parts[1];
        }

        if (!reserved.Remove("sig", out var signature))
            return "missing";
        if (malformed || !reserved.Remove("expires", out var expires))
            return "malformed";
        var message = (reserved.ContainsKey("pfx") ? "" : path) + ":" + expires;
        if (reserved.Count > 0)
            message += ":" + string.Join('&', reserved.Select(claim => claim.Key + "=" + claim.Value));
        if (!path.StartsWith('/') || path.Length + 1 + query.Length > 8192 || !Digits().IsMatch(expires) || Bytes(message) is not { Length: <= 8192 } bytes || Decode(signature) is not { } mac)
            return "malformed";
        if (!keys.TryGetValue(reserved.GetValueOrDefault("kid", ""), out var key))
            return "unknown_key";
        if (!HMACSHA256.HashData(key, bytes).SequenceEqual(mac))
            return "bad_signature";

        if (reserved.TryGetValue("nbf", out var notBefore) && !Digits().IsMatch(notBefore))
            return "malformed";
        var network = reserved.TryGetValue("ip", out var address) ? Network(address) : null;
        if (address is not null && network is null)
            return "malformed";
        if (reserved.TryGetValue("pfx", out var prefix) && !prefix.StartsWith('/'))
            return "malformed";
        if (prefix is not null && (!path.StartsWith(prefix, StringComparison.Ordinal) || !IsCanonicalPath(path)))
            return "wrong_scope";
        if (notBefore is not null && now < long.Parse(notBefore))
            return "not_yet_valid";
        if (now > long.Parse(expires))
            return "expired";
        return network is not null && !Contains(network.Value, client) ? "wrong_scope" : "valid";
    }

    public static bool IsCanonicalPath(string path)
    {
        if (!path.StartsWith('/') || path.Length > 8192 || path.Contains("//", StringComparison.Ordinal))
            return false;
        if (path.Split('/').Any(segment => segment is "." or ".."))
            return false;
        if (path.Any(c => c is <= ' ' or >= '\x7f' or '\\' or ';' or '#' or '?') || BadEscape().IsMatch(path))
            return false;
        // Each run of escapes must be UTF-8 by itself, and must not say anything that the path may not say raw, nor '.', '/' or '%'.
        foreach (Match run in Escapes().Matches(path))
        {
            string decoded;
            try
            {
                decoded = new UTF8Encoding(false, true).GetString(Convert.FromHexString(run.Value.Replace("%", "", StringComparison.Ordinal)));
            }
            catch (DecoderFallbackException)
            {
                return false;
            }

            if (decoded.Any(c => char.IsControl(c) || "/\\;?#.%".Contains(c, StringComparison.Ordinal)))
                return false;
        }

        return true;
    }

    private static byte[]? Bytes(string message)
    {
        try
        {
            return new UTF8Encoding(false, true).GetBytes(message);
        }
        catch (EncoderFallbackException)
        {
            return null;
        }
    }

    // Canonical means: encoding the decoded bytes gives the text back.
    private static byte[]? Decode(string signature)
    {
        var text = signature.Length == 44 && signature.EndsWith('=') ? signature[..43] : signature;
        if (!Base64Url().IsMatch(text))
            return null;
        var bytes = Convert.FromBase64String(text.Replace('-', '+').Replace('_', '/') + "=");
        return Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_') == text ? bytes : null;
    }

    private static (byte[] Address, int Bits)? Network(string text)
    {
        var parts = text.Split('/');
        if (parts.Length > 2 || !StrictAddress().IsMatch(parts[0]) || !IPAddress.TryParse(parts[0], out var address))
            return null;
        var all = address.GetAddressBytes().Length * 8;
        var bits = all;
        if (parts.Length == 2 && (!PrefixLength().IsMatch(parts[1]) || (bits = int.Parse(parts[1])) > all))
            return null;
        return (address.MapToIPv6().GetAddressBytes(), bits + 128 - all);
    }

    private static bool Contains((byte[] Address, int Bits) network, IPAddress? client)
    {
        if (client is null)
            return false;
        var bytes = client.MapToIPv6().GetAddressBytes();
        var networkIsV4 = network.Bits >= 96 && new IPAddress(network.Address).IsIPv4MappedToIPv6;
        if (networkIsV4 != client.MapToIPv6().IsIPv4MappedToIPv6)
            return false;
        for (var bit = 0; bit < network.Bits; bit++)
        {
            if (((bytes[bit / 8] ^ network.Address[bit / 8]) & (0x80 >> (bit % 8))) != 0)
                return false;
        }

        return true;
    }

    [GeneratedRegex(@"\A[0-9]{1,18}\z")]
    private static partial Regex Digits();

    [GeneratedRegex(@"\A[A-Za-z0-9_-]{43}\z")]
    private static partial Regex Base64Url();

    // Dotted quads without leading zeros, or hex groups with ':'; IPAddress.TryParse alone takes octal, hex, short forms, zones and brackets.
    [GeneratedRegex(@"\A((0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}|(?=.*:)[0-9A-Fa-f:]*(:(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3})?)\z")]
    private static partial Regex StrictAddress();

    [GeneratedRegex(@"\A(0|[1-9][0-9]{0,2})\z")]
    private static partial Regex PrefixLength();

    [GeneratedRegex("%(?![0-9A-Fa-f]{2})")]
    private static partial Regex BadEscape();

    [GeneratedRegex("(%[0-9A-Fa-f]{2})+")]
    private static partial Regex Escapes();
}
