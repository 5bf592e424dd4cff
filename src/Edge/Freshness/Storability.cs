using System.Collections.Frozen;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Freshness;

/// <summary>RFC 9111 §3: whether a shared cache may store a response.</summary>
internal static class Storability
{
    // Whose definitions say nothing more about caching than §3 does, or whose demands this cache meets (206 and 304: refused).
    private static readonly FrozenSet<int> Understood = new[]
    {
        200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 500, 501, 502,
        503, 504, 505,
    }.ToFrozenSet();

    /// <param name="policy">Reads the response's directives.</param>
    /// <param name="isGet">Whether the method is GET, or one whose response stands for a GET's (RFC 9110 §9.3.3).</param>
    /// <param name="request">Its header fields.</param>
    /// <param name="requestDirectives">Its directives.</param>
    /// <param name="status">Of the response.</param>
    /// <param name="response">Its header fields.</param>
    /// <param name="freshness">As the policy made it of the response.</param>
    public static NoStoreReason Evaluate(
        FreshnessPolicy policy, bool isGet, IHeaderDictionary request, CacheDirectives requestDirectives, int status, IHeaderDictionary response, ResponseFreshness freshness)
    {
        var directives = policy.DirectivesOf(response, out _);
        if (!isGet)
            return NoStoreReason.Method;
        if (status is < 200 or StatusCodes.Status206PartialContent or StatusCodes.Status304NotModified || (directives.MustUnderstand && !Understood.Contains(status)))
            return NoStoreReason.Status;
        if (requestDirectives.NoStore)
            return NoStoreReason.RequestNoStore;
        // §5.2.2.3: must-understand is for caches that do, and they ignore the no-store that others go by.
        if (directives.NoStore && !directives.MustUnderstand)
            return NoStoreReason.NoStore;
        if (directives.Private)
            return NoStoreReason.Private;
        if (request.Authorization.Count > 0 && !directives.MustRevalidate && !directives.Public && directives.SharedMaxAge is null)
            return NoStoreReason.Authorization;
        foreach (var line in response.Vary)
        {
            foreach (var name in FieldList.Elements(line))
            {
                if (name is "*")
                    return NoStoreReason.VaryAll;
            }
        }

        if (freshness.Source == LifetimeSource.None && !directives.Public && !FreshnessPolicy.IsHeuristicallyCacheable(status))
            return NoStoreReason.NoFreshness;
        // §3: also what is stale at once may be stored, and is worth it when upstream can say "unchanged".
        var hasValidator = response.ETag.Count > 0 || response.LastModified.Count > 0;
        var isEverFresh = !freshness.NoCache && freshness.Lifetime + freshness.StaleWhileRevalidate + freshness.StaleIfError > freshness.InitialAge;
        return hasValidator || isEverFresh ? NoStoreReason.None : NoStoreReason.NoFreshness;
    }
}
