using System.Globalization;

namespace Delivery.Edge.Upstreams;

/// <summary><c>Content-Range</c> as a server sends it (RFC 9110 §14.4), to the letter: what could be read in two ways is not read.</summary>
internal static class ContentRangeField
{
    /// <summary><c>bytes first-last/total</c>, with first ≤ last &lt; total.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out long first, out long last, out long total)
    {
        first = last = total = 0;
        if (!TryUnit(ref text))
            return false;
        var dash = text.IndexOf('-');
        var slash = text.IndexOf('/');
        return dash > 0 && slash > dash && TryParseNumber(text[..dash], out first) && TryParseNumber(text[(dash + 1)..slash], out last) && TryParseNumber(text[(slash + 1)..], out total)
            && first <= last && last < total;
    }

    /// <summary><c>bytes */total</c>, as with 416.</summary>
    public static bool TryParseUnsatisfied(ReadOnlySpan<char> text, out long total)
    {
        total = 0;
        return TryUnit(ref text) && text.StartsWith("*/") && TryParseNumber(text[2..], out total);
    }

    /// <summary>Digits alone; false for what does not fit into 63 bits.</summary>
    public static bool TryParseNumber(ReadOnlySpan<char> text, out long number) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    // RFC 9110 §14.1: range units are compared without regard to case.
    private static bool TryUnit(ref ReadOnlySpan<char> text)
    {
        if (!text.StartsWith("bytes ", StringComparison.OrdinalIgnoreCase))
            return false;
        text = text[6..];
        return true;
    }
}
