using System.Buffers;
using System.Text;

namespace Delivery.TokenAuth;

/// <summary>
/// The one canonical reading of a request target. The path it gives is as sent, and is what a token signs; what two components could read
/// differently is refused here, so that its decoded form (cache key, upstream key) cannot lie elsewhere. See docs/formats/signed-url.md.
/// </summary>
public static class RequestTarget
{
    /// <summary>Longest target, in characters: Kestrel's default bound of a request line. Longer is refused.</summary>
    public const int MaxLength = 8192;

    // Printable ASCII but for '%' (judged apart), '\' and ';' (separators to some), '#' (a fragment is never sent) and '?'.
    private static readonly SearchValues<char> PlainPathCharacters = SearchValues.Create(
        "!\"$&'()*+,-./0123456789:<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~");

    // '#', and every control character. SearchValues, because ContainsAnyInRange allocates (96 bytes a call, .NET 10.0.12).
    private static readonly SearchValues<char> ForbiddenInQuery =
        SearchValues.Create([.. Enumerable.Range(0, 0xa0).Select(c => (char)c).Where(char.IsControl), '#']);

    /// <summary>Splits an origin-form target (RFC 9112 §3.2.1) at its first <c>?</c>; false means 400.</summary>
    /// <param name="target">The target as sent.</param>
    /// <param name="path">The path as sent, undecoded.</param>
    /// <param name="query">The query as sent, without <c>?</c>; empty when there is none.</param>
    public static bool TrySplit(ReadOnlySpan<char> target, out ReadOnlySpan<char> path, out ReadOnlySpan<char> query)
    {
        path = query = default;
        if (target.Length > MaxLength)
            return false;
        var mark = target.IndexOf('?');
        var candidate = mark < 0 ? target : target[..mark];
        var rest = mark < 0 ? default : target[(mark + 1)..];
        if (!IsCanonicalPath(candidate) || !IsCanonicalQuery(rest))
            return false;
        path = candidate;
        query = rest;
        return true;
    }

    internal static bool IsCanonicalPath(ReadOnlySpan<char> path)
    {
        if (path is not ['/', ..] || path.Length > MaxLength || path.IndexOf("//") >= 0)
            return false;
        return !HasDotSegment(path) && HasOnlyCanonicalCharacters(path);
    }

    /// <summary>The value of an ASCII hex digit.</summary>
    internal static int HexDigit(char hex) => char.IsAsciiDigit(hex) ? hex - '0' : (hex | 0x20) - 'a' + 10;

    private static bool HasDotSegment(ReadOnlySpan<char> path)
    {
        for (var at = path.IndexOf("/."); at >= 0;)
        {
            var after = path[(at + 2)..];
            if (after is [] or ['/', ..] or ['.'] or ['.', '/', ..])
                return true;
            var next = after.IndexOf("/.");
            if (next < 0)
                return false;
            at += 2 + next;
        }

        return false;
    }

    private static bool HasOnlyCanonicalCharacters(ReadOnlySpan<char> path)
    {
        for (var rest = path; ;)
        {
            var at = rest.IndexOfAnyExcept(PlainPathCharacters);
            if (at < 0)
                return true;
            rest = rest[at..];
            if (!TryReadEscape(rest, out var length))
                return false;
            rest = rest[length..];
        }
    }

    // One escaped character: an ASCII one that means nothing to anybody, or the contiguous escapes of one well-formed UTF-8 sequence, so
    // that an overlong '/' (%c0%af) is refused as well. %25 is refused, because a second decoding would make any escape of it.
    private static bool TryReadEscape(ReadOnlySpan<char> text, out int length)
    {
        length = 0;
        Span<byte> bytes = stackalloc byte[4];
        var count = 0;
        while (count < bytes.Length && TryReadByte(text[(3 * count)..], out var value))
        {
            bytes[count++] = value;
            if (value < 0x80)
                break;
        }

        if (Rune.DecodeFromUtf8(bytes[..count], out var rune, out var consumed) != OperationStatus.Done)
            return false;
        length = 3 * consumed;
        return !Rune.IsControl(rune) && rune.Value is not ('/' or '\\' or ';' or '?' or '#' or '.' or '%');
    }

    private static bool TryReadByte(ReadOnlySpan<char> text, out byte value)
    {
        value = 0;
        if (text is not ['%', var high, var low, ..] || !char.IsAsciiHexDigit(high) || !char.IsAsciiHexDigit(low))
            return false;
        value = (byte)(HexDigit(high) << 4 | HexDigit(low));
        return true;
    }

    private static bool IsCanonicalQuery(ReadOnlySpan<char> query) =>
        !query.ContainsAny(ForbiddenInQuery);
}
