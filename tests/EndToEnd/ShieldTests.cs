using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.TokenAuth;

namespace Delivery.EndToEnd.Tests;

/// <summary>Edge before shield before store, as an operator configures them: two <c>delivery edge</c> processes.</summary>
public sealed class ShieldTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-shield-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task EdgeFillsFromItsShield_AndFromTheStoreWhenTheShieldIsKilled()
    {
        var (keys, peers) = (await NewKeysAsync("keys.json"), await NewKeysAsync("peers.json"));
        var store = FileStore.Open(Path("store"));
        var (first, second) = (await AddAsync(store, 1), await AddAsync(store, 2));
        await using var shield = StartEdge(keys, peers, """{ "edgeId": "shield" }""", hasStore: true);
        var shieldLine = await shield.ReadJsonAsync(TimeSpan.FromSeconds(60));
        await using var edge = StartEdge(
            keys, peers, $$"""{ "edgeId": "edge-a", "upstreams": [{ "kind": "peer", "name": "shield", "address": "{{shieldLine.GetProperty("peers").GetString()}}" }, { "kind": "store" }] }""", hasStore: true);
        var edgeLine = await edge.ReadJsonAsync(TimeSpan.FromSeconds(60));
        using var client = new HttpClient { BaseAddress = new(edgeLine.GetProperty("edge").GetString()!) };
        var ring = KeyRing.Parse(await File.ReadAllBytesAsync(keys, TestContext.Current.CancellationToken));
        Assert.Equal(first.Content, await GetAsync(first.Path));
        Assert.Contains("delivery_edge_peer_sent_bytes_total 300000", await MetricsAsync(shieldLine.GetProperty("edgeAdmin").GetString()!), StringComparison.Ordinal);

        shield.Kill();
        Assert.Equal(second.Content, await GetAsync(second.Path));
        Assert.Contains("""delivery_edge_upstream_requests_total{outcome="completed",upstream="store"}""", await MetricsAsync(edgeLine.GetProperty("edgeAdmin").GetString()!), StringComparison.Ordinal);

        Task<byte[]> GetAsync(string path) => client.GetByteArrayAsync(NativeScheme.Instance.Sign(ring, path, new() { Expires = DateTimeOffset.UtcNow.AddMinutes(5) }));

        async Task<string> MetricsAsync(string admin) => await client.GetStringAsync(new Uri(new Uri(admin), "/metrics"));
    }

    [Theory]
    [InlineData("""{ "upstreams": [{ "kind": "http", "address": "http://127.0.0.1:1" }] }""", true, "no upstream is of kind Store")]
    [InlineData("{}", false, "--store is missing")]
    public async Task StoreThatIsMissingOrNeedless_IsSaid(string edge, bool hasStore, string message)
    {
        await using var process = StartEdge(await NewKeysAsync("keys.json"), null, edge, hasStore);
        Assert.Equal(2, await process.WaitForExitAsync(TimeSpan.FromSeconds(60)));
        Assert.Contains(message, process.Errors, StringComparison.Ordinal);
    }

    private string Path(string name) => System.IO.Path.Combine(_folder.FullName, name);

    private async Task<string> NewKeysAsync(string name)
    {
        var (code, _, errors) = await DeliveryProcess.RunAsync("keys", "new", Path(name));
        Assert.True(code == 0, errors);
        return Path(name);
    }

    private static async Task<(string Path, byte[] Content)> AddAsync(FileStore store, int seed)
    {
        var content = new byte[300_000];
        new Random(seed).NextBytes(content);
        var key = $"audio/{Convert.ToHexStringLower(SHA256.HashData(content))[..40]}.ogg";
        await store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(content), new ObjectWrite { ContentType = "audio/ogg" }, TestContext.Current.CancellationToken);
        return ("/" + key, content);
    }

    private DeliveryProcess StartEdge(string keys, string? peers, string settings, bool hasStore)
    {
        var config = Path($"{Guid.NewGuid():n}.json");
        File.WriteAllText(config, $$"""{ "edge": {{settings}} }""");
        var environment = new Dictionary<string, string?> { ["DELIVERY_EDGE_HOT_TIER_BYTES"] = $"{64 << 20}", ["DELIVERY_EDGE_UNREADY_DELAY"] = "00:00:00" };
        string[] store = hasStore ? ["--store", Path("store")] : [];
        string[] peering = peers is null ? [] : ["--peer-keys", peers, "--peer-port", "0"];
        return DeliveryProcess.Start(environment, ["edge", "--json", "--config", config, "--keys", keys, "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", .. store, .. peering]);
    }
}
