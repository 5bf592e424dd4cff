using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Upstreams;

/// <summary>What an HTTP origin says of an object's freshness, for a cache that asks without a listener's headers: of <c>Vary</c> only <c>*</c> means anything then.</summary>
internal static class OriginFreshness
{
    private static readonly FreshnessPolicy Policy = new();

    // Whatever of an answer has to do with time.
    private static readonly string[] Fields = [.. Policy.TargetedFields, "Cache-Control", "Expires", "Date", "Age"];

    /// <summary>Null when it says nothing.</summary>
    /// <exception cref="UpstreamException"><see cref="FillOutcome.Uncacheable"/>: it does not allow a shared cache to keep it.</exception>
    public static ResponseFreshness? Of(string upstream, HttpResponseMessage response, DateTimeOffset asked, DateTimeOffset arrived)
    {
        var headers = new HeaderDictionary();
        foreach (var name in Fields)
        {
            if (response.Headers.NonValidated.TryGetValues(name, out var values) || response.Content.Headers.NonValidated.TryGetValues(name, out values))
                headers[name] = values.ToArray();
        }

        var directives = Policy.DirectivesOf(headers, out _);
        var varies = response.Headers.NonValidated.TryGetValues("Vary", out var vary) && vary.Any(v => v.Contains('*', StringComparison.Ordinal));
        // RFC 9111 §3.
        if ((directives.NoStore && !directives.MustUnderstand) || directives.Private || varies)
            throw new UpstreamException(FillOutcome.Uncacheable, upstream, $"It does not allow its answer to be kept: {(varies ? "Vary: *" : directives.Private ? "private" : "no-store")}.");
        // A part is as fresh as the whole that it is of (RFC 9111 §3.3).
        var freshness = Policy.Evaluate(StatusCodes.Status200OK, headers, asked, arrived);
        return freshness.Source == LifetimeSource.None && !freshness.NoCache ? null : freshness;
    }
}
