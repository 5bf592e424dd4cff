namespace Delivery.Edge.Metering;

/// <summary>What the cache did for a request: the <c>Cache-Status</c> of RFC 9211 and the metric label.</summary>
internal enum CacheState
{
    /// <summary>The cache was not asked: refusals, preflights.</summary>
    None,

    /// <summary>Served without asking upstream.</summary>
    Hit,

    /// <summary>Served from here past its freshness: while it is revalidated, or because it could not be.</summary>
    Stale,

    /// <summary>Served from here after upstream said that it still holds.</summary>
    Revalidated,

    /// <summary>A part was here, a part was fetched.</summary>
    Partial,

    /// <summary>Nothing was here.</summary>
    Miss,
}
