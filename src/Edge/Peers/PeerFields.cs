namespace Delivery.Edge.Peers;

/// <summary>The header fields that edges say to each other (docs/formats/peer.md).</summary>
internal static class PeerFields
{
    /// <summary>Request: the sequence that the asking edge has applied; an edge that has applied less must not answer. Response: the answering edge's own.</summary>
    public const string LogSequence = "Delivery-Log-Sequence";

    /// <summary>Request: <c>sibling</c>, from an edge of the same site.</summary>
    public const string Peer = "Delivery-Peer";

    /// <summary>Value of <see cref="Peer"/>.</summary>
    public const string Sibling = "sibling";

    /// <summary>Response: the object's version, as the store named it, in base64url: what tells an answer of one upstream from another's is then the same at every edge.</summary>
    public const string ObjectVersion = "Delivery-Object-Version";

    /// <summary>RFC 8586.</summary>
    public const string Loop = "CDN-Loop";

    /// <summary>How long a question that an edge has signed may be asked. Longer than clocks differ, shorter than it is worth stealing.</summary>
    public static readonly TimeSpan Validity = TimeSpan.FromSeconds(60);
}
