using System.Buffers;
using System.Text;
using System.Text.Unicode;

namespace Delivery.TokenAuth;

/// <summary>The message under the MAC, composed by one piece of code for signing, verifying and explaining.</summary>
internal static class SignedMessage
{
    /// <summary>Longest message, in bytes of UTF-8: as long as the longest request target. A longer one is malformed.</summary>
    public const int MaxBytes = RequestTarget.MaxLength;

    /// <summary>
    /// Writes <c>{path}:{expires}</c>, and with claims <c>:{name=value&amp;…}</c>. False when it does not fit, or holds a lone surrogate,
    /// which has no UTF-8: replaced by U+FFFD, it would let two different URLs share a signature.
    /// </summary>
    public static bool TryWrite(ReadOnlySpan<char> path, scoped in TokenQuery token, Span<byte> destination, out int written)
    {
        written = 0;
        // A URL for a prefix is signed without a path.
        var complete = (token.Has(Claim.Prefix) || TryAppend(path, destination, ref written))
            && TryAppend((byte)':', destination, ref written)
            && TryAppend(token.Expires, destination, ref written);
        var separator = (byte)':';
        for (var claim = Claim.Country; claim <= Claim.TrackId && complete; claim++)
        {
            if (!token.Has(claim))
                continue;
            complete = TryAppend(separator, destination, ref written) && TryAppend(token.Parameter(claim), destination, ref written);
            separator = (byte)'&';
        }

        return complete;
    }

    /// <summary>
    /// Whether the message is also that of another path with an expiry that can lie ahead: <c>/a:100:sid=x:9999999999</c> is <c>/a</c> with a claim, and
    /// <c>/a:100:sid=x</c> without one. Signing refuses such a message; verifying cannot, as other signers' URLs stay valid.
    /// </summary>
    /// <remarks>
    /// A time is looked for between <c>:</c> and the end or <c>:{claim}=</c>. Fewer than 10 digits are before September 2001, so the groups of an IPv6 address
    /// are none. A prefix's message starts with its time and cannot be read otherwise.
    /// </remarks>
    public static bool HasSecondReading(ReadOnlySpan<byte> message, scoped in TokenQuery token)
    {
        if (token.Has(Claim.Prefix))
            return false;
        var readings = 0;
        for (var rest = message; rest.IndexOf((byte)':') is var colon and >= 0;)
        {
            rest = rest[(colon + 1)..];
            var digits = rest.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
            var after = digits < 0 ? [] : rest[digits..];
            if (digits < 0)
                digits = rest.Length;
            if (digits is >= 10 and <= 18 && (after.IsEmpty || StartsWithClaim(after)))
                readings++;
        }

        return readings > (token.Expires.Length >= 10 ? 1 : 0);
    }

    private static bool StartsWithClaim(ReadOnlySpan<byte> text)
    {
        if (text[0] != ':')
            return false;
        foreach (var name in TokenQuery.ClaimNames)
        {
            if (text.Length > name.Length + 1 && Ascii.Equals(text.Slice(1, name.Length), name) && text[name.Length + 1] == '=')
                return true;
        }

        return false;
    }

    private static bool TryAppend(byte character, Span<byte> destination, ref int written)
    {
        if (written == destination.Length)
            return false;
        destination[written++] = character;
        return true;
    }

    private static bool TryAppend(ReadOnlySpan<char> text, Span<byte> destination, ref int written)
    {
        // Nearly all targets are ASCII throughout, for which this takes a third of the time.
        if (Ascii.FromUtf16(text, destination[written..], out var ascii) == OperationStatus.Done)
        {
            written += ascii;
            return true;
        }

        var status = Utf8.FromUtf16(text, destination[written..], out _, out var bytes, replaceInvalidSequences: false);
        written += bytes;
        return status == OperationStatus.Done;
    }
}
