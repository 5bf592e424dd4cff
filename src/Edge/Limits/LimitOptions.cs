namespace Delivery.Edge.Limits;

/// <summary>
/// What one client, one session and one node may take: the keys <c>Limits.X</c>. The defaults are set so that no listener meets them, nor the thousands behind one address of
/// a mobile network; whoever does is a program. 0 turns a rate off.
/// </summary>
public sealed record LimitOptions
{
    /// <summary>
    /// Requests per second of one client (an IPv4 address, an IPv6 /64): 0 to 1,000,000, default 1,000. A player asks once in some four seconds, so that is 4,000 listeners
    /// behind one address, and a fiftieth of what one core serves. Beyond it 429, before the token is looked at.
    /// </summary>
    public int ClientRequestsPerSecond { get; init; } = 1000;

    /// <summary>Body bytes per second of one client: 0 to 1 TiB, default 256 MiB: 6,000 listeners at 320 kbit/s. Beyond it new requests get 429; running responses go on.</summary>
    public long ClientBytesPerSecond { get; init; } = 256L << 20;

    /// <summary>
    /// Requests per second of one playback session (claim <c>sid</c>), from whatever addresses: 0 to 1,000,000, default 50: a listener who drags the seek bar makes 10 to 20. Beyond it 429.
    /// </summary>
    public int SessionRequestsPerSecond { get; init; } = 50;

    /// <summary>Body bytes per second of one session: 0 to 1 TiB, default 64 MiB: an album fetched for offline use at 0.5 Gbit/s, 500 times the rate of the best rendition.</summary>
    public long SessionBytesPerSecond { get; init; } = 64L << 20;

    /// <summary>
    /// Requests per second of one signed URL without <c>sid</c>: 0 to 1,000,000, default 0: off. No number is right for everybody, because such a URL may be one listener's or stand on a
    /// page that the world reads.
    /// </summary>
    public int SignatureRequestsPerSecond { get; init; }

    /// <summary>Body bytes per second of one signed URL without <c>sid</c>: 0 to 1 TiB, default 0: off, for the same reason.</summary>
    public long SignatureBytesPerSecond { get; init; }

    /// <summary>How long at its rate anybody may take at once what it did not use before: 1 s to 1 min, default 10 s: players start and seek in bursts.</summary>
    public TimeSpan BurstTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Connections at once of one client: 0 (off) to 1,000,000, default 2,000: a tenth of <see cref="EdgeOptions.MaxConnections"/>. Further ones are closed at accept.</summary>
    public int ConnectionsPerClient { get; init; } = 2000;

    /// <summary>
    /// Addresses and networks (CIDR) that no rate and no <see cref="ConnectionsPerClient"/> holds, up to 256. Default loopback: who is on the machine is its operator, or a proxy that stands for all listeners.
    /// </summary>
    public IReadOnlyList<string> ExemptNetworks { get; init; } = ["127.0.0.0/8", "::1"];

    /// <summary>
    /// Requests in work at once, slow readers included: 1 to 10,000,000, default 20,000: one for each connection. Beyond it 503. It bounds the memory of responses, 256 KiB each at worst,
    /// whatever the number of HTTP/2 streams.
    /// </summary>
    public int MaxConcurrentRequests { get; init; } = 20_000;

    /// <summary>
    /// Requests at once that wait for upstream before their headers: 1 to 10,000,000, default 16,000. Beyond it 503; hits go on, and so do bodies under way. It is below
    /// <see cref="MaxConcurrentRequests"/> by what hits need while upstream stands still, and above a stampede of 10,000 on one chunk, which is one fill.
    /// </summary>
    public int MaxConcurrentMisses { get; init; } = 16_000;

    /// <summary>
    /// Streams that a client resets on one HTTP/2 connection within <see cref="FloodWindow"/>: 1 to 1,000,000, default 500. Beyond it the connection is aborted (CVE-2023-44487). A listener who
    /// seeks resets some 20.
    /// </summary>
    public int MaxResets { get; init; } = 500;

    /// <summary>
    /// PING, SETTINGS, PRIORITY, CONTINUATION, empty DATA and unknown frames on one HTTP/2 connection within <see cref="FloodWindow"/>: 1 to 1,000,000, default 1,000. Beyond it the connection is aborted. Clients
    /// that measure round trips send a few per second.
    /// </summary>
    public int MaxControlFrames { get; init; } = 1000;

    /// <summary>1 s to 10 min, default 10 s.</summary>
    public TimeSpan FloodWindow { get; init; } = TimeSpan.FromSeconds(10);

    internal void Validate(Action<bool, string> check)
    {
        Range(nameof(ClientRequestsPerSecond), ClientRequestsPerSecond, 0, 1_000_000);
        Range(nameof(ClientBytesPerSecond), ClientBytesPerSecond, 0, 1L << 40);
        Range(nameof(SessionRequestsPerSecond), SessionRequestsPerSecond, 0, 1_000_000);
        Range(nameof(SessionBytesPerSecond), SessionBytesPerSecond, 0, 1L << 40);
        Range(nameof(SignatureRequestsPerSecond), SignatureRequestsPerSecond, 0, 1_000_000);
        Range(nameof(SignatureBytesPerSecond), SignatureBytesPerSecond, 0, 1L << 40);
        Time(nameof(BurstTime), BurstTime, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1));
        Range(nameof(ConnectionsPerClient), ConnectionsPerClient, 0, 1_000_000);
        check(ExemptNetworks.Count <= NetworkList.MaxCount && NetworkList.TryParse(ExemptNetworks, out _), $"Limits.ExemptNetworks: up to {NetworkList.MaxCount} addresses or networks such as 192.0.2.0/24");
        Range(nameof(MaxConcurrentRequests), MaxConcurrentRequests, 1, 10_000_000);
        Range(nameof(MaxConcurrentMisses), MaxConcurrentMisses, 1, 10_000_000);
        Range(nameof(MaxResets), MaxResets, 1, 1_000_000);
        Range(nameof(MaxControlFrames), MaxControlFrames, 1, 1_000_000);
        Time(nameof(FloodWindow), FloodWindow, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));

        void Range(string key, long value, long min, long max) => check(value >= min && value <= max, $"Limits.{key} {value}: {min} to {max}");

        void Time(string key, TimeSpan value, TimeSpan min, TimeSpan max) => check(value >= min && value <= max, $"Limits.{key} {value}: {min} to {max}");
    }
}
