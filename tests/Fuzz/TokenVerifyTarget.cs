using System.Net;
using System.Security.Cryptography;
using System.Text;
using Delivery.TokenAuth;

namespace Delivery.Fuzz;

/// <summary>
/// Input: the client's address, a line break, and a request target. A target that holds <c>sig=SIGN</c> is signed here first, rightly, so that
/// mutations reach the checks behind the MAC.
/// </summary>
public sealed class TokenVerifyTarget : FuzzTarget
{
    private const long Now = 1_800_000_000;

    private static readonly Dictionary<string, byte[]> Keys = new()
    {
        [""] = SHA256.HashData("default"u8),
        ["k1"] = SHA256.HashData("k1"u8),
        ["k2"] = "secret-7"u8.ToArray(),
    };

    private static readonly KeyRing Ring = KeyRing.Parse(Encoding.UTF8.GetBytes(
        $$"""{"keys":{{{string.Join(',', Keys.Select(key => $"\"{key.Key}\":\"{Convert.ToBase64String(key.Value)}\""))}}},"signing":"k1"}"""));

    public override string Name => "token-verify";

    public override IReadOnlyList<string> Dictionary { get; } =
    [
        "expires=1800000000", "expires=", "sig=SIGN", "sig=", "&", "=", "?", "kid=k1", "kid=k2", "kid=", "nbf=1799999999", "nbf=1800000001", "ip=203.0.113.0/24",
        "ip=2001:db8::/32", "ip=::ffff:203.0.113.7", "sid=s", "tid=t", "cc=SE", "nxt=audio/x.ogg", "pfx=/audio/", "pfx=/", ":", "::", "/", "/..", "%2e", "%", "\u00e9",
        "\ufffd", "999999999999999999", "0", "-1", "CMCD=bl%3D2100", "203.0.113.7", "2001:db8::1", "\n",
    ];

    public override string Run(ReadOnlySpan<byte> input)
    {
        var text = Text(input);
        var lineBreak = text.IndexOf('\n', StringComparison.Ordinal);
        var client = IPAddress.TryParse(lineBreak < 0 ? "" : text[..lineBreak], out var address) ? address : null;
        var target = text[(lineBreak + 1)..];
        var mark = target.IndexOf('?', StringComparison.Ordinal);
        var path = mark < 0 ? target : target[..mark];
        var query = SignWhereAsked(path, mark < 0 ? "" : target[(mark + 1)..]);

        var actual = NativeScheme.Instance.Verify(Ring, path, query, client, Now, out var claims).ToWire();
        var expected = ReferenceScheme.Verdict(Keys, path, query, client, Now);
        Require(actual == expected, $"verdict {actual}, the reference says {expected}");
        Require(claims.IsAuthentic || (claims.Expires == 0 && claims.TrackId.IsEmpty && claims.SessionId.IsEmpty), "claims are given without a MAC");
        Require(actual != "valid" || claims.IsAuthentic, "valid without claims");
        var explained = TokenExplanation.Of(Ring, target, client, Now);
        Require(explained.ToString().Length > 0 && (explained.Verdict is not null || !RequestTarget.TrySplit(target, out _, out _)), "no explanation");
        return actual;
    }

    // UTF-8, or after 0xff UTF-16 taken unit by unit, so that lone surrogates occur.
    private static string Text(ReadOnlySpan<byte> input)
    {
        if (input is not [0xff, ..])
            return Encoding.UTF8.GetString(input);
        var units = new char[(input.Length - 1) / 2];
        for (var i = 0; i < units.Length; i++)
            units[i] = (char)(input[1 + 2 * i] | input[2 + 2 * i] << 8);
        return new string(units);
    }

    private static string SignWhereAsked(string path, string query)
    {
        if (!query.Contains("sig=SIGN", StringComparison.Ordinal))
            return query;
        var claims = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var parts in query.Split('&').Select(parameter => parameter.Split('=', 2)).Where(parts => parts.Length == 2))
            claims[parts[0]] = parts[1];
        foreach (var name in claims.Keys.Except(["expires", "cc", "ip", "kid", "nbf", "nxt", "pfx", "sid", "tid"]).ToArray())
            claims.Remove(name);
        claims.Remove("expires", out var expires);
        var message = $"{(claims.ContainsKey("pfx") ? "" : path)}:{expires}{(claims.Count > 0 ? ":" : "")}{string.Join('&', claims.Select(claim => $"{claim.Key}={claim.Value}"))}";
        var key = Keys.GetValueOrDefault(claims.GetValueOrDefault("kid", ""), [0]);
        var mac = Convert.ToBase64String(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(message))).Replace('+', '-').Replace('/', '_');
        return query.Replace("sig=SIGN", "sig=" + mac, StringComparison.Ordinal);
    }
}
