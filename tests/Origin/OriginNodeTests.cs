using System.Net;
using System.Net.Sockets;
using Delivery.Origin.ApiKeys;

namespace Delivery.Origin.Tests;

public class OriginNodeTests
{
    [Fact]
    public void Defaults_AreValid_OnceTheKeyRingIsNamed() => Assert.Empty(new OriginOptions { KeyRingPath = "keys.json" }.Validate());

    [Fact]
    public void EveryFaultOfTheOptions_IsNamedAtOnce()
    {
        var (_, hash) = ApiKey.Generate();
        var problems = new OriginOptions
        {
            Host = "somewhere",
            Port = 70_000,
            AdminPort = -1,
            Ladder = "a/b",
            MaxMasterBytes = 0,
            MaxUploads = 0,
            MinUploadBytesPerSecond = 0,
            UploadGrace = TimeSpan.Zero,
            MaxDocumentBytes = 1,
            MaxConnections = 0,
            PlaybackCacheEntries = 0,
            PlaybackCacheFreshness = TimeSpan.FromDays(1),
            ReadModelRefresh = TimeSpan.Zero,
            StoreTimeout = TimeSpan.Zero,
            MaxLiveJobs = 0,
            ApiKeys = [new ApiKey { Name = "", Roles = [], Sha256 = "x" }, new ApiKey { Name = "a", Roles = [ApiRole.Edge], Sha256 = hash }, new ApiKey { Name = "a", Roles = [ApiRole.Edge], Sha256 = hash }],
            EdgeBases = ["edge", "http://edge/path", "ftp://edge", "https://user@edge", "https://edge.test/"],
        }.Validate();
        Assert.Equal(
        [
            "AdminPort", "ApiKeys[0].Name", "ApiKeys[0].Roles", "ApiKeys[0].Sha256", "ApiKeys[2].Name", "ApiKeys[2].Sha256", "EdgeBases[0]", "EdgeBases[1]", "EdgeBases[2]",
            "EdgeBases[3]", "Host", "KeyRingPath", "Ladder", "MaxConnections", "MaxDocumentBytes", "MaxLiveJobs", "MaxMasterBytes", "MaxUploads", "MinUploadBytesPerSecond",
            "PlaybackCacheEntries", "PlaybackCacheFreshness", "Port", "ReadModelRefresh", "StoreTimeout", "UploadGrace",
        ], problems.Select(p => p.Split(':')[0]).Order(StringComparer.Ordinal));
        Assert.Contains("Port: 70000 is outside 0 to 65535", problems);
    }

    [Fact]
    public async Task UnfitOptions_DoNotStart()
    {
        var e = await Assert.ThrowsAsync<OriginStartException>(() => OriginHarness.StartAsync(h => (h.Options.Port, h.Options.KeyRingPath) = (-1, "")));
        Assert.Equal(2, e.Problems.Count);
        Assert.Contains("KeyRingPath", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TakenPort_IsNamedWithItsOption(bool admin)
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var e = await Assert.ThrowsAsync<OriginStartException>(() => OriginHarness.StartAsync(h =>
        {
            if (admin)
                h.Options.AdminPort = port;
            else
                h.Options.Port = port;
        }));
        Assert.Contains($"{(admin ? "AdminPort" : "Port")}: 127.0.0.1:{port} cannot be listened on", e.Message, StringComparison.Ordinal);
        Assert.Contains("in use", e.Message, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("{ not json")]
    public async Task BrokenKeyRing_IsNamed(string? content)
    {
        var e = await Assert.ThrowsAsync<OriginStartException>(() => OriginHarness.StartAsync(h =>
        {
            if (content is null)
                File.Delete(h.Options.KeyRingPath);
            else
                File.WriteAllText(h.Options.KeyRingPath, content);
        }));
        Assert.Contains("KeyRingPath: ", e.Message, StringComparison.Ordinal);
        Assert.Contains("keys.json", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Admin_HasHealthAndMetrics_AndTheApiHasNeither()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        await origin.GrantAsync();
        using var admin = new HttpClient { BaseAddress = origin.Node.AdminAddress };
        Assert.Equal(HttpStatusCode.OK, (await admin.GetAsync("/healthz")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await admin.GetAsync("/readyz")).StatusCode);
        var metrics = await admin.GetStringAsync("/metrics");
        foreach (var line in new[]
        {
            "delivery_origin_playback_requests_total{outcome=\"granted\"}", "delivery_origin_uploads_total{outcome=\"accepted\"}",
            "delivery_origin_upload_size_bytes_total{outcome=\"accepted\"}", "delivery_origin_jobs_settled_total{outcome=\"published\"}",
            "delivery_origin_release_puts_total{outcome=\"created\"}", "delivery_origin_playback_duration_seconds_count",
        })
            Assert.Contains(line, metrics, StringComparison.Ordinal);
        using var api = await origin.Client.GetAsync("/metrics");
        await OriginHarness.ProblemAsync(api, 404, "not-found");
        using var unknown = await admin.GetAsync("/v1/releases");
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
    }

    [Fact]
    public async Task Answers_CarryNoServerName_AndNoCrossOriginHeaders()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/releases");
        request.Headers.Add("Origin", "https://evil.test");
        using var response = await origin.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.DoesNotContain(response.Headers, h => h.Key is "Server" || h.Key.StartsWith("Access-Control", StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public async Task OversizedHead_IsRefused()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/releases");
        request.Headers.Add("X-Large", new string('x', 40_000));
        using var response = await origin.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.RequestHeaderFieldsTooLarge, response.StatusCode);
    }

    [Fact]
    public async Task Stopping_IsQuick_AndEndsEverything()
    {
        var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        var address = origin.Node.Address;
        await origin.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(8));
        using var client = new HttpClient();
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync(address));
        Assert.False(Directory.Exists(origin.Folder));
    }
}
