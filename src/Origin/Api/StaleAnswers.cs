using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Api;

/// <summary>Says of an answer that a secondary store gave what it rests on while the primary did not answer: so it was once, and may be so no more.</summary>
internal sealed class StaleAnswers(OriginMetrics metrics)
{
    public const string Field = "Delivery-Stale";

    public const string Catalog = "catalog";

    /// <param name="context">The answer, before it starts.</param>
    /// <param name="call">What was asked, as the metric's label has it.</param>
    /// <param name="mayBeStale">Whether any manifest was so.</param>
    public void Mark(HttpContext context, string call, bool mayBeStale)
    {
        if (!mayBeStale)
            return;
        context.Response.Headers[Field] = Catalog;
        metrics.CountStale(call);
    }
}
