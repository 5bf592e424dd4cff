using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Ranges;

internal enum PreconditionVerdict
{
    /// <summary>Go on, with the Range field if there is one.</summary>
    Proceed,

    /// <summary>Go on, and ignore Range: If-Range names another version.</summary>
    ProceedWhole,

    /// <summary>304.</summary>
    NotModified,

    /// <summary>412.</summary>
    Failed,
}

/// <summary>
/// RFC 9110 §13.2.2, the order in which preconditions count. Objects here have no modification date to offer (a rewrite of the same bytes
/// changes it), so the date conditions are ignored, as §13.1.3 and §13.1.4 demand in that case.
/// </summary>
internal static class Preconditions
{
    public static bool Any(IHeaderDictionary headers) =>
        headers.IfMatch.Count > 0 || headers.IfNoneMatch.Count > 0 || headers.IfRange.Count > 0;

    /// <param name="etag">The existing object's strong entity-tag.</param>
    public static PreconditionVerdict Evaluate(IHeaderDictionary headers, string etag)
    {
        // 1. If-Match: strong comparison.
        if (headers.IfMatch.Count > 0 && !Matches(headers.IfMatch, etag, weak: false))
            return PreconditionVerdict.Failed;
        // 3. If-None-Match: weak comparison; for GET and HEAD a match is 304.
        if (headers.IfNoneMatch.Count > 0 && Matches(headers.IfNoneMatch, etag, weak: true))
            return PreconditionVerdict.NotModified;
        // 5. If-Range: strong comparison; a date never matches, as there is none to compare with (§13.1.5).
        if (headers.IfRange.Count > 0 && !(headers.IfRange.Count == 1 && headers.IfRange[0].AsSpan().Trim(" \t").SequenceEqual(etag)))
            return PreconditionVerdict.ProceedWhole;
        return PreconditionVerdict.Proceed;
    }

    /// <summary>
    /// As a cache answers them from what it stores (RFC 9111 §4.3.2): If-None-Match, else If-Modified-Since, then If-Range; the others are the origin's to judge.
    /// </summary>
    /// <param name="etag">The stored response's, weak or strong; null when it has none.</param>
    /// <param name="modified">Its Last-Modified; null when it has none that can be read.</param>
    public static PreconditionVerdict EvaluateStored(IHeaderDictionary headers, string? etag, DateTimeOffset? modified)
    {
        var opaque = etag?.StartsWith("W/", StringComparison.Ordinal) == true ? etag[2..] : etag ?? "";
        if (headers.IfNoneMatch.Count > 0)
        {
            if (Matches(headers.IfNoneMatch, opaque, weak: true))
                return PreconditionVerdict.NotModified;
        }
        else if (headers.IfModifiedSince.Count == 1 && modified is { } time && HttpDate.TryParse(headers.IfModifiedSince[0], time, out var since) && time <= since)
        {
            return PreconditionVerdict.NotModified;
        }

        if (headers.IfRange.Count == 0)
            return PreconditionVerdict.Proceed;
        // §13.1.5: strong comparison of tags, exact one of dates.
        var condition = headers.IfRange.Count == 1 ? headers.IfRange[0].AsSpan().Trim(" \t").ToString() : "";
        var holds = condition.StartsWith('"') ? condition == etag : modified is { } exact && HttpDate.TryParse(condition, exact, out var date) && date == exact;
        return holds ? PreconditionVerdict.Proceed : PreconditionVerdict.ProceedWhole;
    }

    // Entity-tags may hold commas, so the list is read tag by tag (§8.8.3). What cannot be read ends the list.
    private static bool Matches(StringValues field, string etag, bool weak)
    {
        foreach (var line in field)
        {
            var rest = line.AsSpan().Trim(" \t");
            if (rest is "*")
                return true;
            while (true)
            {
                rest = rest.TrimStart(" \t,");
                var isWeak = rest.StartsWith("W/", StringComparison.Ordinal);
                if (isWeak)
                    rest = rest[2..];
                if (rest.IsEmpty || rest[0] != '"')
                    break;
                var close = rest[1..].IndexOf('"');
                if (close < 0)
                    break;
                if ((weak || !isWeak) && rest[..(close + 2)].SequenceEqual(etag))
                    return true;
                rest = rest[(close + 2)..];
            }
        }

        return false;
    }
}
