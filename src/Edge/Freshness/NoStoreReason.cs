namespace Delivery.Edge.Freshness;

/// <summary>Why a response is not stored. The name is also the metric label.</summary>
internal enum NoStoreReason
{
    /// <summary>It may be stored.</summary>
    None,

    /// <summary>Not an answer to GET.</summary>
    Method,

    /// <summary>Interim, partial, 304, or a status that must be understood and is not.</summary>
    Status,

    /// <summary>The request said <c>no-store</c>.</summary>
    RequestNoStore,

    /// <summary>The response said <c>no-store</c>.</summary>
    NoStore,

    /// <summary>For one user.</summary>
    Private,

    /// <summary>The request carried credentials, and the response does not say that others may have it (RFC 9111 §3.5).</summary>
    Authorization,

    /// <summary><c>Vary: *</c>: no request matches.</summary>
    VaryAll,

    /// <summary>Neither fresh nor to be revalidated: of no use.</summary>
    NoFreshness,

    /// <summary>Longer than the configuration allows.</summary>
    TooLarge,

    /// <summary>No buffer came free in time.</summary>
    NoBuffers,
}
