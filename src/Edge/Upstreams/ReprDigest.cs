namespace Delivery.Edge.Upstreams;

/// <summary><c>Repr-Digest</c> (RFC 9530 §3): the digest of the whole object, whatever part of it is sent.</summary>
internal static class ReprDigest
{
    public const string FieldName = "Repr-Digest";

    private const string Sha256Key = "sha-256=:";

    /// <summary>Lower-case hex; null when there is none that can be read.</summary>
    public static string? Sha256(HttpResponseMessage response)
    {
        if (!response.Headers.NonValidated.TryGetValues(FieldName, out var values) && !response.Content.Headers.NonValidated.TryGetValues(FieldName, out values))
            return null;
        Span<byte> digest = stackalloc byte[32];
        foreach (var value in values)
        {
            foreach (var member in value.Split(','))
            {
                var text = member.AsSpan().Trim();
                if (text.StartsWith(Sha256Key, StringComparison.Ordinal) && text.EndsWith(":") && Convert.TryFromBase64Chars(text[Sha256Key.Length..^1], digest, out var written) && written == digest.Length)
                    return Convert.ToHexStringLower(digest);
            }
        }

        return null;
    }

    /// <summary>The field's value.</summary>
    public static string Of(string sha256) => $"{Sha256Key}{Convert.ToBase64String(Convert.FromHexString(sha256))}:";
}
