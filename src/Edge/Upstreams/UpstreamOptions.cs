using System.Text.Json.Serialization;

namespace Delivery.Edge.Upstreams;

/// <summary>What kind of place objects come from.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<UpstreamKind>))]
public enum UpstreamKind
{
    /// <summary>The object store that the edge was started with.</summary>
    Store,

    /// <summary>Another edge's peer port: a shield.</summary>
    Peer,

    /// <summary>The edges of this site, this one included: each object has one of them as its owner.</summary>
    Siblings,

    /// <summary>Any HTTP origin.</summary>
    Http,
}

/// <summary>One upstream of an edge; their order in the configuration is the order of failover.</summary>
public sealed record UpstreamOptions
{
    /// <summary>Its name in metrics, logs and <c>Proxy-Status</c>: a token of 1 to 64 characters, its own. Default: the kind in lower case.</summary>
    public string? Name { get; init; }

    public UpstreamKind Kind { get; init; }

    /// <summary><c>http(s)://host[:port][/prefix]</c> of a peer or an HTTP origin; not for a store or siblings.</summary>
    public string? Address { get; init; }

    /// <summary>The sibling edges, this one included, by their <see cref="EdgeOptions.EdgeId"/>; for siblings alone.</summary>
    public IReadOnlyList<SiblingOptions> Members { get; init; } = [];
}

/// <summary>One edge of a site.</summary>
public sealed record SiblingOptions
{
    public string Id { get; init; } = "";

    /// <summary>Its peer port: <c>http(s)://host[:port]</c>.</summary>
    public string Address { get; init; } = "";
}
