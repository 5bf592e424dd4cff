using System.Buffers;
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
            && TryAppend(":", destination, ref written)
            && TryAppend(token.Expires, destination, ref written);
        var separator = ":";
        for (var claim = Claim.Country; claim <= Claim.TrackId && complete; claim++)
        {
            if (!token.Has(claim))
                continue;
            complete = TryAppend(separator, destination, ref written)
                && TryAppend(TokenQuery.ClaimNames[(int)claim], destination, ref written)
                && TryAppend("=", destination, ref written)
                && TryAppend(token[claim], destination, ref written);
            separator = "&";
        }

        return complete;
    }

    private static bool TryAppend(ReadOnlySpan<char> text, Span<byte> destination, ref int written)
    {
        var status = Utf8.FromUtf16(text, destination[written..], out _, out var bytes, replaceInvalidSequences: false);
        written += bytes;
        return status == OperationStatus.Done;
    }
}
