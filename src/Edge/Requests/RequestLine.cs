namespace Delivery.Edge.Requests;

/// <summary>What a request line may ask for.</summary>
internal static class RequestLine
{
    /// <summary>
    /// RFC 9112 §3.2.2: a server accepts the absolute form. Its authority ends at the first '/', '?' or '#' (RFC 3986 §3.2), so a '/' in the query starts no path; one with user information is
    /// an error (RFC 9110 §4.2.4). Anything else comes back as it is.
    /// </summary>
    public static ReadOnlySpan<char> OriginForm(ReadOnlySpan<char> target)
    {
        if (target.StartsWith('/'))
            return target;
        var scheme = target.StartsWith("http://", StringComparison.OrdinalIgnoreCase) ? 7 : target.StartsWith("https://", StringComparison.OrdinalIgnoreCase) ? 8 : 0;
        var end = scheme == 0 ? -1 : target[scheme..].IndexOfAny("/?#@");
        return end >= 0 && target[scheme + end] == '/' ? target[(scheme + end)..] : target;
    }
}
