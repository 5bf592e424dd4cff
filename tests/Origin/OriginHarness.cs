using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Playback;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Origin.Tests;

/// <summary>A real origin over a real file store in a fresh folder, on free ports, with a key per role and one that has all.</summary>
internal sealed class OriginHarness : IAsyncDisposable
{
    public static readonly DateTimeOffset Start = new(2026, 11, 21, 12, 0, 0, TimeSpan.Zero);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-origin-");
    private readonly Dictionary<ApiRole, string> _secrets = [];
    private readonly string _allSecret;
    private readonly List<OriginNode> _others = [];
    private OriginNode? _node;

    private OriginHarness(string? storeFolder, bool hasSecondary)
    {
        StoreFolder = storeFolder ?? Path.Combine(_folder.FullName, "store");
        Files = FileStore.Open(StoreFolder);
        Store = new FaultyStore(Files);
        if (hasSecondary)
            Pair = FailoverStore.Open(Store, FileStore.Open(Path.Combine(_folder.FullName, "secondary")), new(), null, Time);
        Ring = KeyRing.Generate();
        var ringPath = Path.Combine(_folder.FullName, "keys.json");
        File.WriteAllText(ringPath, Ring.ToJson());
        var keys = new List<ApiKey>();
        foreach (var role in Enum.GetValues<ApiRole>())
        {
            var (secret, hash) = ApiKey.Generate();
            _secrets[role] = secret;
            keys.Add(new ApiKey { Name = role.ToString(), Roles = [role], Sha256 = hash });
        }

        (_allSecret, var allHash) = ApiKey.Generate();
        keys.Add(new ApiKey { Name = "all", Roles = Enum.GetValues<ApiRole>(), Sha256 = allHash });
        Options = new OriginOptions
        {
            Port = 0,
            AdminPort = 0,
            KeyRingPath = ringPath,
            ApiKeys = keys,
            EdgeBases = ["http://edge1.test:8080", "http://edge2.test:8080/"],
        };
    }

    public OriginOptions Options { get; }

    public string StoreFolder { get; }

    public string Folder => _folder.FullName;

    public FileStore Files { get; }

    /// <summary>What the origin uses; the farm uses <see cref="Files"/>.</summary>
    public FaultyStore Store { get; }

    /// <summary><see cref="Store"/> and a secondary one, made one store; null where there is one alone.</summary>
    public FailoverStore? Pair { get; }

    public ManualTime Time { get; } = new(Start);

    public InProcessJobQueue Queue { get; private set; } = new();

    /// <summary>Set before the start: the queue is one that restarts of the origin leave alone, as a broker is.</summary>
    public KeptQueue? Kept { get; private set; }

    public TestFarm Farm => new(Files, Queue);

    public KeyRing Ring { get; }

    public ILoggerFactory Loggers { get; set; } = new CapturingLog(LogLevel.Warning);

    public OriginNode Node => _node!;

    public HttpClient Client { get; private set; } = new();

    public static async Task<OriginHarness> StartAsync(Action<OriginHarness>? change = null, string? storeFolder = null, bool hasSecondary = false)
    {
        var harness = new OriginHarness(storeFolder, hasSecondary);
        try
        {
            change?.Invoke(harness);
            await harness.StartNodeAsync();
            return harness;
        }
        catch
        {
            await harness.DisposeAsync();
            throw;
        }
    }

    public async Task StartNodeAsync()
    {
        _node = await OriginNode.StartAsync(Options, Pair ?? (IObjectStore)Store, Kept ?? (IJobQueue)Queue, Loggers, Time, default);
        Client = ClientOf(_node, _allSecret);
    }

    /// <summary>Makes the queue one that outlives origins; with <paramref name="queue"/> in place of the one before, which is a broker that lost everything.</summary>
    public void KeepQueue(InProcessJobQueue? queue = null) => Kept = new KeptQueue(Queue = queue ?? Queue);

    /// <summary>Ends the origin and forgets what only its process knew: the queue, unless it is kept.</summary>
    public async Task StopNodeAsync()
    {
        Client.Dispose();
        await _node!.DisposeAsync();
        _node = null;
        if (Kept is null)
            Queue = new InProcessJobQueue();
    }

    /// <summary>Another origin over the same store, with a queue of its own.</summary>
    public async Task<HttpClient> StartAnotherAsync()
    {
        var node = await OriginNode.StartAsync(Options, Store, new InProcessJobQueue(), NullLoggerFactory.Instance, Time, default);
        _others.Add(node);
        return ClientOf(node, _allSecret);
    }

    public HttpClient ClientOf(ApiRole role) => ClientOf(Node, _secrets[role]);

    public HttpClient ClientOf(string? secret) => ClientOf(Node, secret);

    public string SecretOf(ApiRole role) => _secrets[role];

    public IEnumerable<string> Secrets => _secrets.Values.Append(_allSecret);

    public static StringContent Json(string json) => new(json, Encoding.UTF8, "application/json");

    public static string Release(string title = "Night Shift", string further = "", params string[] trackIds) => $$"""
        {"title": "{{title}}", "artists": ["The Examples"], "tracks": [{{string.Join(", ", trackIds.Select((id, i) => $$"""{"id": "{{id}}", "title": "Track {{id}}", "number": {{i + 1}}}"""))}}]{{further}}}
        """;

    public async Task<ReleaseStatus> PutReleaseAsync(string releaseId = "r1", string title = "Night Shift", string further = "", params string[] trackIds)
    {
        using var response = await Client.PutAsync($"/v1/releases/{releaseId}", Json(Release(title, further, trackIds.Length == 0 ? ["t1"] : trackIds)));
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return await ReadAsync(response, ApiJson.Default.ReleaseStatus);
    }

    public async Task<HttpResponseMessage> PutMasterAsync(byte[] bytes, string trackId = "t1", string releaseId = "r1", HttpClient? client = null, Action<HttpContentHeaders>? headers = null)
    {
        using var content = new ByteArrayContent(bytes);
        headers?.Invoke(content.Headers);
        return await (client ?? Client).PutAsync($"/v1/releases/{releaseId}/tracks/{trackId}/master?filename=a.flac", content);
    }

    public async Task<TrackStatus> UploadAsync(byte[] bytes, string trackId = "t1", string releaseId = "r1")
    {
        using var response = await PutMasterAsync(bytes, trackId, releaseId);
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        return await ReadAsync(response, ApiJson.Default.TrackStatus);
    }

    public async Task<TrackStatus> TrackAsync(string trackId = "t1") => (await Client.GetFromJsonAsync($"/v1/tracks/{trackId}", ApiJson.Default.TrackStatus))!;

    public Task<TrackStatus> TrackBecomesAsync(TrackState state, string trackId = "t1") => Until.TrueAsync(() => TrackAsync(trackId), t => t.State == state);

    /// <summary>A release of tracks that are all published.</summary>
    public async Task PublishAsync(string further = "", params string[] trackIds)
    {
        string[] ids = trackIds.Length == 0 ? ["t1"] : trackIds;
        await PutReleaseAsync(further: further, trackIds: ids);
        foreach (var id in ids)
        {
            await UploadAsync(Encoding.UTF8.GetBytes("master of " + id), id);
            await Farm.FinishNextAsync();
            await TrackBecomesAsync(TrackState.Ready, id);
        }
    }

    public async Task<HttpResponseMessage> PlayAsync(string json) => await Client.PostAsync("/v1/playback", Json(json));

    public async Task<PlaybackAnswer> GrantAsync(string further = "", string trackId = "t1", string tier = "premium")
    {
        using var response = await PlayAsync($$"""{"trackId": "{{trackId}}", "tier": "{{tier}}"{{further}}}""");
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        return await ReadAsync(response, ApiJson.Default.PlaybackAnswer);
    }

    public async Task<IReadOnlyList<string>> KeysAsync(string prefix)
    {
        var keys = new List<string>();
        await foreach (var entry in Files.ListAsync(prefix, null, default))
            keys.Add(entry.Key.Value);
        return keys;
    }

    public async Task<JsonElement> ManifestAsync(string key)
    {
        await using var read = await Files.OpenReadAsync(ObjectKey.Parse(key), null, default);
        Assert.NotNull(read);
        using var document = await JsonDocument.ParseAsync(read.Content);
        return document.RootElement.Clone();
    }

    public static async Task<T> ReadAsync<T>(HttpResponseMessage response, JsonTypeInfo<T> type) =>
        JsonSerializer.Deserialize(await response.Content.ReadAsByteArrayAsync(), type)!;

    public static async Task<ProblemDocument> ProblemAsync(HttpResponseMessage response, int status, string type)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True((int)response.StatusCode == status, $"{(int)response.StatusCode}: {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        var problem = JsonSerializer.Deserialize(text, ApiJson.Default.ProblemDocument)!;
        Assert.Equal("/problems/" + type, problem.Type);
        Assert.Equal(status, problem.Status);
        Assert.NotEmpty(problem.Title);
        Assert.NotEmpty(problem.Detail);
        return problem;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var node in _others)
            await node.DisposeAsync();
        Client.Dispose();
        if (_node is not null)
            await _node.DisposeAsync();
        if (Pair is not null)
            await Pair.DisposeAsync();
        await Queue.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private static HttpClient ClientOf(OriginNode node, string? secret)
    {
        var client = new HttpClient { BaseAddress = node.Address, Timeout = Until.Limit };
        if (secret is not null)
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        return client;
    }
}
