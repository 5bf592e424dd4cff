using System.Globalization;
using System.Text.RegularExpressions;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Webhooks;
using Delivery.Transcoder.Analysis;

namespace Delivery.Origin;

/// <summary>Configuration of an origin node. <see cref="Validate"/> names every fault at once; <see cref="OriginNode.StartAsync"/> calls it.</summary>
public sealed partial class OriginOptions
{
    /// <summary>Address to listen on for the API. Default: loopback; a fleet sets <c>0.0.0.0</c> or the private network's address.</summary>
    public string Host { get; set; } = "127.0.0.1";

    /// <summary>Port of the API; 0 takes any free one. Default 8090.</summary>
    public int Port { get; set; } = 8090;

    /// <summary>Port of <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c>, on 127.0.0.1 only; 0 takes any free one. Default 8091.</summary>
    public int AdminPort { get; set; } = 8091;

    /// <summary>The key ring file that signs URLs (docs/formats/signed-url.md). Reloaded when it changes.</summary>
    public string KeyRingPath { get; set; } = "";

    /// <summary>Who may call. Empty: every call is 401.</summary>
    public IReadOnlyList<ApiKey> ApiKeys { get; set; } = [];

    /// <summary>
    /// Base URLs of the edges, for example <c>https://edge1.example</c>; a grant holds one URL per base, the first being preferred. Empty: a
    /// grant holds signed paths, for a player that knows its edge.
    /// </summary>
    public IReadOnlyList<string> EdgeBases { get; set; } = [];

    /// <summary>Name of the ladder that new masters are transcoded with. It must exist, built in or in the store; until it does, uploads are 503. Default <c>default-1</c>.</summary>
    public string Ladder { get; set; } = "default-1";

    /// <summary>
    /// Largest accepted master in bytes; above it 413. Default 8 GiB: four hours (the farm's longest) of 24-bit 96 kHz stereo PCM are 7.7 GiB.
    /// </summary>
    public long MaxMasterBytes { get; set; } = 8L << 30;

    /// <summary>Uploads at once; one more is 503 with Retry-After. Default 16: beyond that a disk serves nobody faster.</summary>
    public int MaxUploads { get; set; } = 16;

    /// <summary>Slowest accepted upload in bytes per second, after <see cref="UploadGrace"/>; below it 408. Default 4,096: a stalled client holds a slot no longer.</summary>
    public int MinUploadBytesPerSecond { get; set; } = 4096;

    /// <summary>How long an upload may be slower than <see cref="MinUploadBytesPerSecond"/>. Default 10 s.</summary>
    public TimeSpan UploadGrace { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Largest JSON body in bytes; above it 413. Default 1 MiB: a release of 1,000 tracks is about 200 kB.</summary>
    public int MaxDocumentBytes { get; set; } = 1 << 20;

    /// <summary>Connections at once; further ones are closed at once. Default 10,000.</summary>
    public int MaxConnections { get; set; } = 10_000;

    /// <summary>Manifests that playback keeps in memory. Default 20,000, about 100 MB; the least recently used go first.</summary>
    public int PlaybackCacheEntries { get; set; } = 20_000;

    /// <summary>How long playback trusts a manifest it has read. Default 5 s: a change made by another origin is enforced here within it.</summary>
    public TimeSpan PlaybackCacheFreshness { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How often the list of releases and jobs catches up with what other origins wrote. Default 30 s.</summary>
    public TimeSpan ReadModelRefresh { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest wait for the store in one request, uploads' bodies aside; then 503. Default 30 s.</summary>
    public TimeSpan StoreTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Jobs whose progress is kept in memory. Default 10,000; beyond it a job shows no progress until it ends.</summary>
    public int MaxLiveJobs { get; set; } = 10_000;

    /// <summary>How often a queue that outlives the process is compared with the catalog, for jobs that were lost or have become more urgent. Default 1 min.</summary>
    public TimeSpan JobRepairInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Jobs of a backfill in the queue or with workers at once. Default 200: as many slots are kept busy, and a cancel is over soon.</summary>
    public int BackfillWindow { get; set; } = 200;

    /// <summary>From where on a fact of a master becomes a warning in its track's manifest. Changes nothing that is published already.</summary>
    public QualityThresholds Quality { get; set; } = new();

    /// <summary>Who is told of every finished track. At most 16.</summary>
    public IReadOnlyList<WebhookOptions> Webhooks { get; set; } = [];

    /// <summary>Longest wait for a receiver's answer. Default 10 s.</summary>
    public TimeSpan WebhookTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Wait after an event's first refusal; doubles with each further one up to 1 h, less or more a quarter. Default 5 s.</summary>
    public TimeSpan WebhookRetryDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How old an event may become before it is given up. Default 3 days: a receiver that fails on a Friday is mended on Monday.</summary>
    public TimeSpan WebhookPatience { get; set; } = TimeSpan.FromDays(3);

    /// <summary>Every fault of this configuration, with key and accepted range; empty when there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        if (Host.Length == 0 || (!System.Net.IPAddress.TryParse(Host, out _) && Host != "localhost"))
            problems.Add($"Host: '{Host}' is not an IP address or localhost");
        Range(nameof(Port), Port, 0, 65_535);
        Range(nameof(AdminPort), AdminPort, 0, 65_535);
        if (Port != 0 && Port == AdminPort)
            problems.Add($"AdminPort: must differ from Port ({Port})");
        if (KeyRingPath.Length == 0)
            problems.Add("KeyRingPath: is required; it names the key ring file that signs URLs");
        if (!Transcoder.Ladders.Ladder.IsName(Ladder))
            problems.Add($"Ladder: '{Ladder}' is not a ladder's name (lower-case words and a version, such as default-1, up to 64 characters)");
        Range(nameof(MaxMasterBytes), MaxMasterBytes, 1, 1L << 40);
        Range(nameof(MaxUploads), MaxUploads, 1, 10_000);
        Range(nameof(MinUploadBytesPerSecond), MinUploadBytesPerSecond, 1, 1 << 30);
        Span(nameof(UploadGrace), UploadGrace, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1)); // Kestrel's own least is one heartbeat, 1 s.
        Range(nameof(MaxDocumentBytes), MaxDocumentBytes, 1024, 64 << 20);
        Range(nameof(MaxConnections), MaxConnections, 1, 1_000_000);
        Range(nameof(PlaybackCacheEntries), PlaybackCacheEntries, 2, 10_000_000);
        Span(nameof(PlaybackCacheFreshness), PlaybackCacheFreshness, TimeSpan.Zero, TimeSpan.FromMinutes(5));
        Span(nameof(ReadModelRefresh), ReadModelRefresh, TimeSpan.FromSeconds(1), TimeSpan.FromDays(1));
        Span(nameof(StoreTimeout), StoreTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10));
        Range(nameof(MaxLiveJobs), MaxLiveJobs, 1, 1_000_000);
        Span(nameof(JobRepairInterval), JobRepairInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1));
        Range(nameof(BackfillWindow), BackfillWindow, 1, 10_000);
        problems.AddRange(Quality.Validate(nameof(Quality)));
        Span(nameof(WebhookTimeout), WebhookTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1));
        Span(nameof(WebhookRetryDelay), WebhookRetryDelay, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(10));
        Span(nameof(WebhookPatience), WebhookPatience, TimeSpan.FromMinutes(1), TimeSpan.FromDays(30));
        Keys();
        Bases();
        if (Webhooks.Count > WebhookTarget.MaxTargets)
            problems.Add($"Webhooks: {Webhooks.Count} is more than {WebhookTarget.MaxTargets}");
        ReadWebhooks(problems);
        return problems;

        void Range(string key, long value, long least, long most)
        {
            if (value < least || value > most)
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{key}: {value} is outside {least} to {most}"));
        }

        void Span(string key, TimeSpan value, TimeSpan least, TimeSpan most)
        {
            if (value < least || value > most)
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{key}: {value} is outside {least} to {most}"));
        }

        void Keys()
        {
            var names = new HashSet<string>(StringComparer.Ordinal);
            var hashes = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
            for (var i = 0; i < ApiKeys.Count; i++)
            {
                var key = ApiKeys[i];
                if (key.Name.Length is 0 or > 64 || key.Name.Any(char.IsControl))
                    problems.Add($"ApiKeys[{i}].Name: must be 1 to 64 characters");
                else if (!names.Add(key.Name))
                    problems.Add($"ApiKeys[{i}].Name: '{key.Name}' is there twice");
                if (key.Roles.Count == 0 || key.Roles.Any(r => !Enum.IsDefined(r)))
                    problems.Add($"ApiKeys[{i}].Roles: needs one or more of ingest, playback, operate, edge");
                if (!Sha256Hex().IsMatch(key.Sha256))
                    problems.Add($"ApiKeys[{i}].Sha256: must be 64 hex digits");
                else if (!hashes.Add(key.Sha256))
                    problems.Add($"ApiKeys[{i}].Sha256: two keys have the same secret");
            }
        }

        void Bases()
        {
            for (var i = 0; i < EdgeBases.Count; i++)
            {
                // A path is allowed to no base: the signature covers the path that the edge sees.
                if (!Uri.TryCreate(EdgeBases[i], UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https")
                    || uri.AbsolutePath != "/" || uri.Query.Length != 0 || uri.Fragment.Length != 0 || uri.UserInfo.Length != 0)
                    problems.Add($"EdgeBases[{i}]: '{EdgeBases[i]}' is not http(s)://host[:port]");
            }

            if (EdgeBases.Count > 16)
                problems.Add($"EdgeBases: {EdgeBases.Count} is more than 16");
        }
    }

    /// <summary>The receivers, with their secrets read.</summary>
    internal IReadOnlyList<WebhookTarget> ReadWebhooks(List<string> problems) => [.. Webhooks.Select((hook, i) => WebhookTarget.Read(hook, $"Webhooks[{i}]", problems)).OfType<WebhookTarget>()];

    [GeneratedRegex("^[0-9A-Fa-f]{64}\\z")]
    private static partial Regex Sha256Hex();
}
