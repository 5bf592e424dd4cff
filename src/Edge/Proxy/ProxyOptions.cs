namespace Delivery.Edge.Proxy;

/// <summary>What an edge in <see cref="EdgeMode.Http"/> is told on top of <see cref="EdgeOptions"/>; of no effect in the other modes.</summary>
public sealed record ProxyOptions
{
    /// <summary>Bytes of a request's body at most: 0 to 1 TiB, default 64 MiB; then 413. It is streamed, never held.</summary>
    public long MaxRequestBodyBytes { get; init; } = 64L << 20;

    /// <summary>A body that arrives slower than this for 5 s ends in 408: 1 to 1 Mi, default 240, Kestrel's own.</summary>
    public int MinRequestBytesPerSecond { get; init; } = 240;

    /// <summary>Bytes of a response at most that is stored: 0 (nothing) to 1 TiB, default 64 MiB; a longer one streams through.</summary>
    public long MaxStoredBytes { get; init; } = 64L << 20;

    /// <summary>
    /// RAM for stored responses' fields: 1 MiB to 16 GiB, default 64 MiB, some 40,000 responses. At the bound the least recently used URL leaves with its variants. Not kept across a
    /// restart: freshness would have to be kept with every 304, for a cache whose content mostly expires sooner than a disk is worth.
    /// </summary>
    public long MetadataBytes { get; init; } = 64L << 20;

    /// <summary>Stored responses of one URL, by Vary: 1 to 256, default 16; at the bound the oldest leaves. What varies more is not worth its room.</summary>
    public int MaxVariants { get; init; } = 16;

    /// <summary>Bytes of a response's header section at most: 1 KiB to 1 MiB, default 64 KiB; then 502.</summary>
    public int MaxResponseHeaderBytes { get; init; } = 64 * 1024;

    /// <summary>Connections at once to each upstream: 1 to 65,536, default 1,024: a client that reads slowly what is not stored holds one. At the bound a request waits, for <see cref="ResponseTimeout"/> at most.</summary>
    public int MaxUpstreamConnections { get; init; } = 1024;

    /// <summary>10 ms to 1 min, default 2 s: a host of the same site answers within milliseconds, one across an ocean within a quarter of a second.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>From sending a request upstream to the response's headers: 10 ms to 10 min, default 30 s; then 504.</summary>
    public TimeSpan ResponseTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Between two pieces of a response's body: 10 ms to 10 min, default 30 s; then the response is cut.</summary>
    public TimeSpan BodyIdleTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a URL whose response could not be stored is asked for without collapsing: 0 to 10 min, default 5 s. Without this, waiters would ask one after another.</summary>
    public TimeSpan HitForMiss { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Whether a response with no explicit freshness may be held fresh for a tenth of its age since Last-Modified (RFC 9111 §4.2.2), a day at most. Default off.</summary>
    public bool Heuristics { get; init; }

    /// <summary>Freshness of a response that says nothing of it, up to 365 days; default none: it is stored only to be revalidated.</summary>
    public TimeSpan? DefaultLifetime { get; init; }

    /// <summary>Fields that replace Cache-Control and Expires for this edge, the first valid one counting (RFC 9213): up to 8, default <c>CDN-Cache-Control</c>.</summary>
    public IReadOnlyList<string> TargetedFields { get; init; } = ["CDN-Cache-Control"];

    internal IEnumerable<string> Errors(EdgeOptions edge)
    {
        foreach (var (key, value, min, max) in new[]
        {
            (nameof(MaxRequestBodyBytes), MaxRequestBodyBytes, 0, 1L << 40),
            (nameof(MinRequestBytesPerSecond), MinRequestBytesPerSecond, 1, 1 << 20),
            (nameof(MaxStoredBytes), MaxStoredBytes, 0, 1L << 40),
            (nameof(MetadataBytes), MetadataBytes, 1L << 20, 16L << 30),
            (nameof(MaxVariants), MaxVariants, 1, 256),
            (nameof(MaxResponseHeaderBytes), MaxResponseHeaderBytes, 1024, 1 << 20),
            (nameof(MaxUpstreamConnections), MaxUpstreamConnections, 1, 65_536),
        })
        {
            if (value < min || value > max)
                yield return $"Proxy.{key} {value}: {min} to {max}";
        }

        foreach (var (key, value, min, max) in new[]
        {
            (nameof(ConnectTimeout), ConnectTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(1)),
            (nameof(ResponseTimeout), ResponseTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(10)),
            (nameof(BodyIdleTimeout), BodyIdleTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(10)),
            (nameof(HitForMiss), HitForMiss, TimeSpan.Zero, TimeSpan.FromMinutes(10)),
            (nameof(DefaultLifetime), DefaultLifetime ?? TimeSpan.Zero, TimeSpan.Zero, TimeSpan.FromDays(365)),
        })
        {
            if (value < min || value > max)
                yield return $"Proxy.{key} {value}: {min} to {max}";
        }

        if (TargetedFields.Count > 8 || TargetedFields.Any(name => name.Length is 0 or > 64 || !name.All(c => char.IsAsciiLetterOrDigit(c) || c == '-')))
            yield return "Proxy.TargetedFields: up to 8 field names of letters, digits and '-'";
        if (edge.Upstreams.Any(u => u.Kind != Upstreams.UpstreamKind.Http))
            yield return "Upstreams: in http mode of kind Http alone";
        if (edge.AdminPurge)
            yield return "AdminPurge: not in http mode, where unsafe requests invalidate (RFC 9111 §4.4)";
    }
}
