namespace Delivery.TokenAuth;

/// <summary>What a URL shall allow. Times are cut to whole seconds. Null claims are left out.</summary>
public sealed record UrlGrant
{
    /// <summary>The last valid second; from 1970 to 9999.</summary>
    public required DateTimeOffset Expires { get; init; }

    /// <summary>The key to sign with; null: the ring's signing key.</summary>
    public string? KeyId { get; init; }

    /// <summary>The first valid second; null: at once. Not after <see cref="Expires"/>.</summary>
    public DateTimeOffset? NotBefore { get; init; }

    /// <summary>An IPv4 or IPv6 address, or a network in CIDR notation, that the listener must come from; null: anywhere.</summary>
    public string? Address { get; init; }

    /// <summary>Playback session, by which a URL can be revoked; 1 to 128 characters.</summary>
    public string? SessionId { get; init; }

    /// <summary>Track, by which takedowns and embargoes gate; 1 to 128 characters.</summary>
    public string? TrackId { get; init; }

    /// <summary>The listener's country: two capital letters (ISO 3166-1 alpha-2).</summary>
    public string? Country { get; init; }

    /// <summary>Object key of the file to prefetch; 1 to 1,024 characters.</summary>
    public string? NextFile { get; init; }

    /// <summary>When set, the URL opens every path with this prefix. It starts with <c>/</c> and is a prefix of the signed path.</summary>
    public string? Prefix { get; init; }
}
