using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Ingest;

/// <summary>
/// <c>Repr-Digest</c> and <c>Content-Digest</c> (RFC 9530): a dictionary such as <c>sha-256=:base64:</c>. Without a content coding both mean
/// the same bytes.
/// </summary>
internal static class DigestField
{
    private static readonly string[] Names = ["Repr-Digest", "Content-Digest"];

    /// <summary>The promised SHA-256 in lower-case hex, or null when no field was sent; a field that cannot be checked is given as <paramref name="faultyField"/>.</summary>
    public static string? Read(IHeaderDictionary headers, out string? faultyField)
    {
        faultyField = null;
        string? promised = null;
        foreach (var name in Names)
        {
            var value = headers[name];
            if (value.Count == 0)
                continue;
            // RFC 9530 §2 lets a recipient ignore what it does not know. Refusing instead tells the sender that nothing would have been checked.
            var digest = ReadSha256(value.ToString());
            if (digest is null || (promised is not null && promised != digest))
            {
                faultyField = name;
                return null;
            }

            promised = digest;
        }

        return promised;
    }

    private static string? ReadSha256(string field)
    {
        // RFC 8941 §3.2, §3.3.5: neither a byte sequence nor an algorithm's key can hold a comma.
        Span<byte> hash = stackalloc byte[32];
        string? found = null;
        foreach (var member in field.Split(',', StringSplitOptions.TrimEntries))
        {
            var equals = member.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0 || member[..equals] != "sha-256")
                continue;
            var item = member[(equals + 1)..];
            if (item.Length != 46 || item[0] != ':' || item[^1] != ':' || !Convert.TryFromBase64String(item[1..^1], hash, out var length) || length != hash.Length)
                return null;
            found = Convert.ToHexStringLower(hash); // RFC 8941 §3.2: of a key given twice, the last counts.
        }

        return found;
    }
}
