using System.Text.Json.Serialization;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>What kind of place objects come from.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<UpstreamKind>))]
public enum UpstreamKind
{
    /// <summary>An object store: the one of its address, else the one that the edge was started with.</summary>
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
    /// <summary>More would only be asked when all before them have failed.</summary>
    public const int MaxUpstreams = 8;

    /// <summary>Edges of one site.</summary>
    public const int MaxMembers = 64;

    /// <summary>Its name in metrics, logs and <c>Proxy-Status</c>: a token of 1 to 64 characters, its own. Default: the kind in lower case.</summary>
    public string? Name { get; init; }

    public UpstreamKind Kind { get; init; }

    /// <summary>
    /// <c>http(s)://host[:port][/prefix]</c> of a peer or an HTTP origin; a <see cref="StoreUrl"/> of a store, null (default) for the one that the edge was started with; not for siblings.
    /// </summary>
    public string? Address { get; init; }

    /// <summary>The sibling edges, this one included, by their <see cref="EdgeOptions.EdgeId"/>; for siblings alone.</summary>
    public IReadOnlyList<SiblingOptions> Members { get; init; } = [];

    /// <summary>
    /// PEM file of the authorities that vouch for its certificate, in the place of the system's: for edges with certificates of a private authority. Read at the start. Null (default): the
    /// system's.
    /// </summary>
    public string? CaPath { get; init; }

    /// <summary>As it is called: <see cref="Name"/>, or what stands for it.</summary>
    internal string CalledName => Name ?? Kind.ToString().ToLowerInvariant();

    /// <summary>Every error of a list of upstreams, each naming its key and what is accepted.</summary>
    internal static IEnumerable<string> Validate(EdgeOptions options)
    {
        var upstreams = options.Upstreams;
        if (upstreams.Count is 0 or > MaxUpstreams)
            yield return $"Upstreams: 1 to {MaxUpstreams}, not {upstreams.Count}";
        foreach (var name in upstreams.GroupBy(u => u.CalledName).Where(g => g.Count() > 1))
            yield return $"Upstreams: the name '{name.Key}' stands {name.Count()} times; each needs one of its own";
        if (upstreams.Count(u => u is { Kind: UpstreamKind.Store, Address: null }) > 1)
            yield return "Upstreams: one of kind Store without an Address at most, as an edge is started with one";
        if (upstreams.Count(u => u.Kind == UpstreamKind.Siblings) > 1)
            yield return "Upstreams: one of kind Siblings at most";
        for (var i = 0; i < upstreams.Count; i++)
        {
            foreach (var error in upstreams[i].Validate(options, isLast: i == upstreams.Count - 1))
                yield return $"Upstreams[{i}].{error}";
        }
    }

    private IEnumerable<string> Validate(EdgeOptions options, bool isLast)
    {
        if (Name is not null && !(Name.Length is > 0 and <= 64 && Name.All(c => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~".Contains(c, StringComparison.Ordinal))))
            yield return $"Name '{Name}': a token of 1 to 64 characters";
        if (!Enum.IsDefined(Kind))
            yield return $"Kind {Kind}: Store, Peer, Siblings or Http";
        var hasAddress = Kind is UpstreamKind.Peer or UpstreamKind.Http;
        if (hasAddress && !IsAddress(Address, mayHavePath: true))
            yield return $"Address '{Address}': http(s)://host[:port][/prefix]";
        if (Kind == UpstreamKind.Siblings && Address is not null)
            yield return $"Address '{Address}': not for {Kind}";
        if (Kind == UpstreamKind.Store && ProblemOf(Address) is { } problem)
            yield return $"Address: {problem}";
        if (CaPath is not null && (Kind == UpstreamKind.Store || !File.Exists(CaPath)))
            yield return Kind == UpstreamKind.Store ? $"CaPath '{CaPath}': not for Store" : $"CaPath '{CaPath}': no such file";
        if (Kind is UpstreamKind.Peer or UpstreamKind.Siblings && options.PeerKeyRingPath is null)
            yield return $"Kind {Kind}: needs PeerKeyRingPath";
        if (Kind != UpstreamKind.Siblings)
        {
            if (Members.Count > 0)
                yield return $"Members: not for {Kind}";
            yield break;
        }

        if (isLast)
            yield return "Kind Siblings: needs an upstream after it, which the owner of an object fills from";
        if (Members.Count is < 2 or > MaxMembers)
            yield return $"Members: 2 to {MaxMembers}, this edge included, not {Members.Count}";
        if (Members.Select(m => m.Id).Distinct().Count() != Members.Count)
            yield return "Members: each Id once";
        if (!Members.Any(m => m.Id == options.EdgeId))
            yield return $"Members: this edge, '{options.EdgeId}', is missing";
        foreach (var member in Members)
        {
            if (member.Id.Length is 0 or > 64)
                yield return $"Members: Id '{member.Id}': the EdgeId of an edge, 1 to 64 characters";
            if (!IsAddress(member.Address, mayHavePath: false))
                yield return $"Members: Address '{member.Address}' of '{member.Id}': http(s)://host[:port]";
        }
    }

    private static string? ProblemOf(string? store)
    {
        try
        {
            if (store is not null)
                StoreUrl.Parse(store);
            return null;
        }
        catch (FormatException e)
        {
            return e.Message.TrimEnd('.');
        }
    }

    private static bool IsAddress(string? text, bool mayHavePath) =>
        Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.UserInfo.Length == 0 && uri.Query.Length == 0 && uri.Fragment.Length == 0
        && (mayHavePath || uri.AbsolutePath == "/");
}

/// <summary>One edge of a site.</summary>
public sealed record SiblingOptions
{
    public string Id { get; init; } = "";

    /// <summary>Its peer port: <c>http(s)://host[:port]</c>.</summary>
    public string Address { get; init; } = "";
}
