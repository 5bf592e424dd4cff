namespace Delivery.Edge.Metering;

/// <summary>What the cache did for a request: the <c>Cache-Status</c> of RFC 9211 and the metric label.</summary>
internal enum CacheState
{
    /// <summary>The cache was not asked: refusals, preflights.</summary>
    None,

    /// <summary>Served without asking upstream.</summary>
    Hit,

    /// <summary>A part was here, a part was fetched.</summary>
    Partial,

    /// <summary>Nothing was here.</summary>
    Miss,
}
