using System.Net;
using Delivery.Edge.Limits;
using Delivery.Edge.Proxy;
using Delivery.Edge.Tls;
using Delivery.Edge.Upstreams;

namespace Delivery.Edge;

/// <summary>What an edge node is told. Times and sizes have their reasons beside their defaults; <see cref="Validate"/> gives every error at once.</summary>
public sealed record EdgeOptions
{
    /// <summary>64 MiB: below this the shards have too few pages to keep a margin.</summary>
    public const long MinHotTierBytes = 64L << 20;

    /// <summary>128 MiB: 32 segments of 4 MiB.</summary>
    public const long MinDiskTierBytes = 128L << 20;

    private const string DefaultEdgeId = "delivery-edge";
    private const long MaxHotTierBytes = 4L << 40;
    private const long MinFillBufferBytes = 2L << 20;

    /// <summary>This cache's name in <c>Cache-Status</c> (RFC 9211 §2): a token. Default <c>delivery-edge</c>.</summary>
    public string EdgeId { get; init; } = DefaultEdgeId;

    /// <summary>What this edge is for. Default <see cref="EdgeMode.Audio"/>.</summary>
    public EdgeMode Mode { get; init; }

    /// <summary>Where objects come from, in order of failover, 1 to 8. Default: the object store that the edge was started with, alone.</summary>
    public IReadOnlyList<UpstreamOptions> Upstreams { get; init; } = [new() { Kind = UpstreamKind.Store }];

    /// <summary>Where listeners connect: an IP address, <c>localhost</c>, or <c>*</c> for every address of the machine (default).</summary>
    public string Host { get; init; } = "*";

    /// <summary>Plaintext port, HTTP/1.1; 0 = any free one. Default 8080.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>TLS port, HTTP/1.1 and HTTP/2, open when <see cref="CertificatePath"/> is set; 0 = any free one. Default 8443.</summary>
    public int TlsPort { get; init; } = 8443;

    /// <summary>PEM file: the certificate, then its chain. Null (default): no TLS.</summary>
    public string? CertificatePath { get; init; }

    /// <summary>PEM file with the certificate's private key, unencrypted.</summary>
    public string? CertificateKeyPath { get; init; }

    /// <summary>
    /// Certificates for further names, up to 256; <see cref="CertificatePath"/> serves clients that ask for any other name or for none. All of them are followed: changed files are used within
    /// 5 s, bad ones leave the certificate as it was. Default none.
    /// </summary>
    public IReadOnlyList<CertificateOptions> Certificates { get; init; } = [];

    /// <summary>
    /// HTTP/3 on the TLS port's number over UDP, where the machine has a QUIC library. Default off: the limits of connections and PROXY protocol do not reach QUIC, and a UDP port
    /// is not opened unasked.
    /// </summary>
    public bool Http3 { get; init; }

    /// <summary>
    /// Addresses and networks (CIDR) of balancers, up to 256, whose connections to both listeners' ports must begin with a PROXY protocol version 2 header; clients' addresses are taken from it. Default
    /// none. From anybody else such a header is a bad request.
    /// </summary>
    public IReadOnlyList<string> ProxyProtocolNetworks { get; init; } = [];

    /// <summary>Admin port (<c>/metrics</c>, <c>/healthz</c>, <c>/readyz</c>), on loopback alone; 0 = any free one. Default 8081.</summary>
    public int AdminPort { get; init; } = 8081;

    /// <summary>What http mode is told on top; of no effect in the other modes.</summary>
    public ProxyOptions Proxy { get; init; } = new();

    /// <summary>Where other edges connect: as <see cref="Host"/>; null (default): where listeners do.</summary>
    public string? PeerHost { get; init; }

    /// <summary>Port for other edges (docs/formats/peer.md), HTTP/1.1, open when <see cref="PeerKeyRingPath"/> is set; 0 = any free one. Default 8082.</summary>
    public int PeerPort { get; init; } = 8082;

    /// <summary>
    /// The key ring that edges know each other by, another file than <see cref="KeyRingPath"/>: a listener's URL opens nothing on the peer port, and a peer's opens nothing elsewhere. Null
    /// (default): no peer port, and no peers or siblings upstream.
    /// </summary>
    public string? PeerKeyRingPath { get; init; }

    /// <summary>Speaks TLS on the peer port, with the listeners' certificates. Default false: edges of one site share a private network; across sites it should be on.</summary>
    public bool PeerTls { get; init; }

    /// <summary>The key ring's JSON file. Required; not used in http mode.</summary>
    public string KeyRingPath { get; init; } = "";

    /// <summary>
    /// RAM for chunks, index included: 64 MiB to 4 TiB, default 1 GiB. The process needs this, <see cref="FillBufferBytes"/>, 0.7 KiB per object, some
    /// 150 MiB, and up to 256 KiB (measured: 145) for each response whose client is slower than the edge.
    /// </summary>
    public long HotTierBytes { get; init; } = 1L << 30;

    /// <summary>
    /// RAM for chunks between upstream and hot tier: 2 MiB to 16 GiB, default 64 MiB (512 chunks). At the bound a fill waits for
    /// <see cref="FillBufferWait"/>; then its requests get 503.
    /// </summary>
    public long FillBufferBytes { get; init; } = 64L << 20;

    /// <summary>
    /// The disk tier's folder, made when it is not there; no other process may use it. Null (default): no disk tier, and a restart is cold. A local SSD.
    /// </summary>
    public string? CacheFolder { get; init; }

    /// <summary>
    /// Bytes of files in <see cref="CacheFolder"/> at most: 128 MiB to 64 TiB, default 64 GiB. Its directory takes RAM on top of <see cref="HotTierBytes"/>: 0.12 to 0.3 % of this, a power of two.
    /// </summary>
    public long DiskTierBytes { get; init; } = 64L << 30;

    /// <summary>Threads that wait for the disk, 1 to 64. Default 8: an SSD answers that many reads at once without slowing down.</summary>
    public int DiskReadThreads { get; init; } = 8;

    /// <summary>A disk read that takes longer is a miss, and upstream is asked: 10 ms to 10 s, default 250 ms, beyond which a listener notices.</summary>
    public TimeSpan DiskReadTimeout { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>RAM for chunks on their way to disk: 1 MiB to 4 GiB, default 16 MiB. At the bound a chunk stays in RAM alone, and is counted.</summary>
    public long DiskWriteBufferBytes { get; init; } = 16L << 20;

    /// <summary>How long a written chunk may wait to be synced, which is what a power cut can cost: 10 ms to 1 min, default 1 s.</summary>
    public TimeSpan DiskSyncInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often a disk that was turned off is tried again: 10 ms to 1 h, default 5 s.</summary>
    public TimeSpan DiskRetryInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Rate at which idle segments are read again and checked: 0 (off) to 1 GiB/s, default 8 MiB/s: 64 GiB in some two hours.</summary>
    public long ScrubBytesPerSecond { get; init; } = 8L << 20;

    /// <summary>Share of the disk tier, and of the hot tier for heads, that pins may hold: 0 to 50 %, default 25 %. Beyond it a pin is refused.</summary>
    public int MaxPinnedPercent { get; init; } = 25;

    /// <summary>Opens <c>POST /purge</c> on the admin port. Default off: whoever has an account on the machine could use it.</summary>
    public bool AdminPurge { get; init; }

    /// <summary>Objects whose metadata is kept: 16 to 16 Mi, default 65,536 (some 45 MiB). At the bound the least used is evicted; its chunks stay and are found again.</summary>
    public int MaxObjects { get; init; } = 65_536;

    /// <summary>How long an object's absence upstream is believed: 0 to 1 minute, default 5 s: a track that has just been published must not stay 404.</summary>
    public TimeSpan AbsentTtl { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long an object that may change (one whose name is no digest of its content) is fresh, when its upstream does not say: 0 to 1 year, default 1 min. Then it is
    /// revalidated.
    /// </summary>
    public TimeSpan ObjectTtl { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long after that it is still served, while it is revalidated (RFC 5861 §3): 0 to 1 year, default 1 min: nobody waits for an object that is in use.</summary>
    public TimeSpan StaleWhileRevalidate { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long after that it is still served when it cannot be revalidated (RFC 5861 §4): 0 to 1 year, default 1 day: old music beats none.</summary>
    public TimeSpan StaleIfError { get; init; } = TimeSpan.FromDays(1);

    /// <summary>Until an upstream's connection stands, 10 ms to 1 min. Default 1 s: between continents it takes 0.3 s, and a lost first packet 1 s more; then the next upstream.</summary>
    public TimeSpan UpstreamConnectTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>From opening an object upstream to its first byte, for each upstream that is asked. Default 5 s: a listener has left by then; then 504.</summary>
    public TimeSpan UpstreamFirstByteTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Between two pieces of a body, 10 ms to 5 min. Default 5 s: what a player has buffered lasts no longer; then the upstream is broken.</summary>
    public TimeSpan UpstreamIdleTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How often a question that every upstream failed to answer is asked again, 0 to 5. Default 2, some 50 and 100 ms later: more would not help a listener. Paid from the budget: a
    /// tenth of the requests.
    /// </summary>
    public int UpstreamRetries { get; init; } = 2;

    /// <summary>Asks a second time, the next upstream if there is one, when an answer takes longer than 95 in 100 do. Default true; paid from the same budget.</summary>
    public bool UpstreamHedging { get; init; } = true;

    /// <summary>Connections to one upstream host at once, 1 to 4,096. Default 512, as many as fills have buffers; further requests wait, and are timed out.</summary>
    public int UpstreamMaxConnections { get; init; } = 512;

    /// <summary>A whole fill of at most 1 MiB, its first byte included. Default 30 s: below 35 KiB/s the upstream is broken, not slow.</summary>
    public TimeSpan FillTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a fill waits for buffers. Default 2 s; then 503.</summary>
    public TimeSpan FillBufferWait { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>What <c>Retry-After</c> says with 503 and 504. Default 1 s.</summary>
    public TimeSpan RetryAfter { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Origins of web pages that may read responses: <c>*</c> (default; a signed URL is the authority, not the page) or a list as in the <c>Origin</c> header.</summary>
    public IReadOnlyList<string> AllowedOrigins { get; init; } = ["*"];

    /// <summary>Says in <c>Delivery-Token-Verdict</c> why a token was refused. Default off: the reason helps whoever forges.</summary>
    public bool TokenVerdictHeader { get; init; }

    /// <summary>Connections at once, 1 to 1,000,000; further ones are closed at accept. Default 20,000: one connection costs some 20 KiB idle.</summary>
    public int MaxConnections { get; init; } = 20_000;

    /// <summary>Rates, connections of one client, overload, floods.</summary>
    public LimitOptions Limits { get; init; } = new();

    /// <summary>Requests at once on one HTTP/2 connection. Default 100 (RFC 9113 §5.1.2 recommends no less).</summary>
    public int MaxStreamsPerConnection { get; init; } = 100;

    /// <summary>An idle connection is closed after this. Default 130 s: longer than a player's pause between ranges and than common balancers' 120 s.</summary>
    public TimeSpan KeepAliveTimeout { get; init; } = TimeSpan.FromSeconds(130);

    /// <summary>From a request's first byte to the end of its headers. Default 10 s.</summary>
    public TimeSpan RequestHeadersTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// A reader that takes less than this for longer than <see cref="SlowReaderGrace"/> is disconnected. Default 1,024 bytes/s: a third of the lowest
    /// rung's bitrate (24 kbit/s).
    /// </summary>
    public int MinResponseBytesPerSecond { get; init; } = 1024;

    /// <summary>Default 60 s: a browser's paused element stops reading, and costs no more than one chunk of memory meanwhile.</summary>
    public TimeSpan SlowReaderGrace { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How long a node that stops still accepts after <c>/readyz</c> has said 503, so that balancers send no more before it closes: 0 to 10 min, default 0; <c>delivery edge</c>: 5 s. It should be
    /// longer than a balancer's probe interval times its threshold.
    /// </summary>
    public TimeSpan UnreadyDelay { get; init; }

    /// <summary>How long stopping waits for responses under way, after <see cref="UnreadyDelay"/>. Default 10 s; then they are aborted.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Runs requests on the socket's own thread (Kestrel's <c>UnsafePreferInlineScheduling</c>). Default true: a hit never blocks, and fills have
    /// their own tasks.
    /// </summary>
    public bool InlineScheduling { get; init; } = true;

    /// <summary>Every error, each naming its key and the accepted range; empty when the options are good.</summary>
    public IReadOnlyList<string> Validate()
    {
        var errors = new List<string>();
        Check(EdgeId.Length is > 0 and <= 64 && char.IsAsciiLetter(EdgeId[0]) && EdgeId.All(c => char.IsAsciiLetterOrDigit(c) || "!#$%&'*+-.^_`|~:/".Contains(c, StringComparison.Ordinal)),
            $"EdgeId '{EdgeId}': a token of 1 to 64 characters that starts with a letter");
        Check(Host is "*" or "localhost" || IPAddress.TryParse(Host, out _), $"Host '{Host}': an IP address, 'localhost' or '*'");
        CheckPort(nameof(Port), Port);
        CheckPort(nameof(TlsPort), TlsPort);
        CheckPort(nameof(AdminPort), AdminPort);
        CheckPort(nameof(PeerPort), PeerPort);
        Check(PeerHost is null or "*" or "localhost" || IPAddress.TryParse(PeerHost, out _), $"PeerHost '{PeerHost}': an IP address, 'localhost' or '*'");
        CheckFile(nameof(PeerKeyRingPath), PeerKeyRingPath);
        Check(PeerKeyRingPath is null || KeyRingPath.Length == 0 || Path.GetFullPath(PeerKeyRingPath) != Path.GetFullPath(KeyRingPath),
            "PeerKeyRingPath: another file than KeyRingPath, or every listener's URL would open the peer port");
        Check(PeerKeyRingPath is null || EdgeId != DefaultEdgeId, $"EdgeId '{EdgeId}': a name of its own where edges ask each other, or each takes the next for itself");
        Check(PeerKeyRingPath is null || Mode == EdgeMode.Audio, "PeerKeyRingPath: not in http mode, which has no peers");
        Check(!PeerTls || CertificatePath is not null, "PeerTls: needs CertificatePath and CertificateKeyPath");
        errors.AddRange(UpstreamOptions.Validate(this));
        var ports = new List<int> { Port, AdminPort };
        if (CertificatePath is not null)
            ports.Add(TlsPort);
        if (PeerKeyRingPath is not null)
            ports.Add(PeerPort);
        Check(ports.Where(p => p != 0).Distinct().Count() == ports.Count(p => p != 0), "Port, TlsPort, AdminPort, PeerPort: must differ");
        Check(KeyRingPath.Length > 0 || Mode == EdgeMode.Http, "KeyRingPath: required");
        if (Mode == EdgeMode.Http)
            errors.AddRange(Proxy.Errors(this));
        Check((CertificatePath is null) == (CertificateKeyPath is null), "CertificatePath and CertificateKeyPath: both or neither");
        CheckFile(nameof(CertificatePath), CertificatePath);
        CheckFile(nameof(CertificateKeyPath), CertificateKeyPath);
        Check(Certificates.Count == 0 || CertificatePath is not null, "Certificates: need CertificatePath, for clients that ask for no listed name");
        Check(Certificates.Count <= 256, $"Certificates {Certificates.Count}: up to 256");
        for (var i = 0; i < Certificates.Count; i++)
        {
            var entry = Certificates[i];
            Check(entry.Hosts.Count is > 0 and <= 100 && entry.Hosts.All(CertificateOptions.IsHost), $"Certificates[{i}].Hosts: 1 to 100 names such as cdn.example or *.cdn.example");
            CheckFile($"Certificates[{i}].CertificatePath", entry.CertificatePath);
            CheckFile($"Certificates[{i}].KeyPath", entry.KeyPath);
        }

        foreach (var host in Certificates.SelectMany(c => c.Hosts).GroupBy(h => h, StringComparer.OrdinalIgnoreCase).Where(g => g.Count() > 1))
            Check(false, $"Certificates: '{host.Key}' stands twice");
        Check(ProxyProtocolNetworks.Count <= NetworkList.MaxCount && NetworkList.TryParse(ProxyProtocolNetworks, out _), $"ProxyProtocolNetworks: up to {NetworkList.MaxCount} addresses or networks such as 192.0.2.0/24");
        CheckRange(nameof(HotTierBytes), HotTierBytes, MinHotTierBytes, MaxHotTierBytes);
        CheckRange(nameof(FillBufferBytes), FillBufferBytes, MinFillBufferBytes, 16L << 30);
        Check(CacheFolder is null or { Length: > 0 }, "CacheFolder: a folder's name, or nothing");
        CheckRange(nameof(DiskTierBytes), DiskTierBytes, MinDiskTierBytes, 64L << 40);
        CheckRange(nameof(DiskReadThreads), DiskReadThreads, 1, 64);
        CheckTime(nameof(DiskReadTimeout), DiskReadTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromSeconds(10));
        CheckRange(nameof(DiskWriteBufferBytes), DiskWriteBufferBytes, 1L << 20, 4L << 30);
        CheckTime(nameof(DiskSyncInterval), DiskSyncInterval, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(1));
        CheckTime(nameof(DiskRetryInterval), DiskRetryInterval, TimeSpan.FromMilliseconds(10), TimeSpan.FromHours(1));
        CheckRange(nameof(ScrubBytesPerSecond), ScrubBytesPerSecond, 0, 1L << 30);
        CheckRange(nameof(MaxPinnedPercent), MaxPinnedPercent, 0, 50);
        CheckRange(nameof(MaxObjects), MaxObjects, 16, 16 << 20);
        CheckTime(nameof(AbsentTtl), AbsentTtl, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        CheckTime(nameof(ObjectTtl), ObjectTtl, TimeSpan.Zero, TimeSpan.FromDays(365));
        CheckTime(nameof(StaleWhileRevalidate), StaleWhileRevalidate, TimeSpan.Zero, TimeSpan.FromDays(365));
        CheckTime(nameof(StaleIfError), StaleIfError, TimeSpan.Zero, TimeSpan.FromDays(365));
        CheckTime(nameof(UpstreamFirstByteTimeout), UpstreamFirstByteTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(5));
        CheckTime(nameof(UpstreamConnectTimeout), UpstreamConnectTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(1));
        CheckTime(nameof(UpstreamIdleTimeout), UpstreamIdleTimeout, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(5));
        CheckRange(nameof(UpstreamRetries), UpstreamRetries, 0, 5);
        CheckRange(nameof(UpstreamMaxConnections), UpstreamMaxConnections, 1, 4096);
        CheckTime(nameof(FillTimeout), FillTimeout, UpstreamFirstByteTimeout, TimeSpan.FromMinutes(10));
        CheckTime(nameof(FillBufferWait), FillBufferWait, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        CheckTime(nameof(RetryAfter), RetryAfter, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1));
        Check(AllowedOrigins.Count > 0 && AllowedOrigins.All(o => o == "*" || IsOrigin(o)) && (AllowedOrigins.Count == 1 || !AllowedOrigins.Contains("*")),
            "AllowedOrigins: '*' alone, or origins such as https://player.example");
        CheckRange(nameof(MaxConnections), MaxConnections, 1, 1_000_000);
        Limits.Validate(Check);
        CheckRange(nameof(MaxStreamsPerConnection), MaxStreamsPerConnection, 1, 1000);
        CheckTime(nameof(KeepAliveTimeout), KeepAliveTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1));
        CheckTime(nameof(RequestHeadersTimeout), RequestHeadersTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(5));
        CheckRange(nameof(MinResponseBytesPerSecond), MinResponseBytesPerSecond, 1, 1 << 20);
        CheckTime(nameof(SlowReaderGrace), SlowReaderGrace, TimeSpan.FromSeconds(2), TimeSpan.FromHours(1));
        CheckTime(nameof(UnreadyDelay), UnreadyDelay, TimeSpan.Zero, TimeSpan.FromMinutes(10));
        CheckTime(nameof(DrainTimeout), DrainTimeout, TimeSpan.Zero, TimeSpan.FromMinutes(10));
        return errors;

        void Check(bool good, string error)
        {
            if (!good)
                errors.Add(error);
        }

        void CheckPort(string key, int port) => CheckRange(key, port, 0, 65_535);

        void CheckRange(string key, long value, long min, long max) => Check(value >= min && value <= max, $"{key} {value}: {min} to {max}");

        void CheckTime(string key, TimeSpan value, TimeSpan min, TimeSpan max) => Check(value >= min && value <= max, $"{key} {value}: {min} to {max}");

        void CheckFile(string key, string? path) => Check(path is null || File.Exists(path), $"{key} '{path}': no such file");
    }

    // RFC 6454 §6.2: an origin as a browser sends it has no path and no trailing slash.
    private static bool IsOrigin(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is ("http" or "https")
        && text == uri.GetLeftPart(UriPartial.Authority);
}
