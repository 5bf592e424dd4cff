using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Origin.ApiKeys;
using Delivery.TokenAuth;

namespace Delivery.EndToEnd.Tests;

/// <summary>A farm as it stands on several machines: a real broker, an origin and two workers, each a process of its own over one store.</summary>
public sealed class FarmTests : IAsyncLifetime
{
    private static readonly TimeSpan Start = TimeSpan.FromMinutes(1);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-farm-");
    private RabbitBroker _broker = null!;

    public async ValueTask InitializeAsync() => _broker = await RabbitBroker.StartAsync();

    public async ValueTask DisposeAsync()
    {
        await _broker.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task WorkerKilled_InTheMiddle_AnotherTakesTheJob_AndASignalLetsItEnd()
    {
        var keys = Path.Combine(_folder.FullName, "keys.json");
        await File.WriteAllTextAsync(keys, KeyRing.Generate().ToJson(), TestContext.Current.CancellationToken);
        var (secret, sha256) = ApiKey.Generate();
        var environment = new Dictionary<string, string?>
        {
            ["DELIVERY_BROKER"] = _broker.Url,
            ["DELIVERY_STORE"] = Path.Combine(_folder.FullName, "store"),
            ["DELIVERY_ORIGIN_APIKEYS"] = $$"""[{"name":"test","roles":["ingest","operate"],"sha256":"{{sha256}}"}]""",
            ["DELIVERY_TRANSCODER_DRAINTIME"] = "00:02:00",
        };
        await using var origin = DeliveryProcess.Start(environment, "origin", "--json", "--keys", keys, "--port", "0", "--admin-port", "0");
        await using var one = StartWorker(environment, "one");
        await using var two = StartWorker(environment, "two");
        var address = (await origin.ReadJsonAsync(Start)).GetProperty("origin").GetString()!;
        Assert.Equal("one", (await one.ReadJsonAsync(Start)).GetProperty("worker").GetString());
        Assert.Equal("two", (await two.ReadJsonAsync(Start)).GetProperty("worker").GetString());

        var album = _folder.CreateSubdirectory("album").FullName;
        Tone.Write(Path.Combine(album, "01 Long.wav"), seconds: 20);
        string[] connection = ["--origin", address, "--api-key", secret];
        await RunAsync(["ingest", album, "--release", "r", "--no-wait", .. connection]);

        using var api = new HttpClient { BaseAddress = new Uri(address), DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", secret) } };
        var first = await WorkerAsync(api, "encode", not: null);
        var (lost, left) = first == "one" ? (one, two) : (two, one);
        lost.Kill();
        var killed = Stopwatch.StartNew();
        var second = await WorkerAsync(api, "encode", not: first);
        Assert.True(killed.Elapsed < TimeSpan.FromSeconds(30), $"Taken up after {killed.Elapsed}.");
        Assert.Equal(first == "one" ? "two" : "one", second);

        left.Terminate();
        Assert.Contains($"\"worker\":\"{second}\"", await RunAsync(["jobs", "--json", .. connection]), StringComparison.Ordinal);
        Assert.Equal(0, await left.WaitForExitAsync(TimeSpan.FromMinutes(2)));
        Assert.Equal("ready", (await UntilAsync(api, track => track.GetProperty("state").GetString() is "ready" or "failed", "The end")).GetProperty("state").GetString());
        origin.Terminate();
        Assert.Equal(0, await origin.WaitForExitAsync(Start));
    }

    /// <summary>An operator's command, in this process: four starts of the program less.</summary>
    private static async Task<string> RunAsync(string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await DeliveryCommand.RunAsync(arguments, output, error, TestContext.Current.CancellationToken);
        Assert.True(code == 0, error.ToString());
        return output.ToString();
    }

    private DeliveryProcess StartWorker(Dictionary<string, string?> environment, string id)
    {
        var own = new Dictionary<string, string?>(environment) { ["DELIVERY_TRANSCODER_WORKERID"] = id };
        return DeliveryProcess.Start(own, "transcoder", "--json", "--slots", "1", "--work", Path.Combine(_folder.FullName, "work"), "--admin-port", "0");
    }

    /// <summary>Who has the job, once somebody else than <paramref name="not"/> has it in this phase.</summary>
    private static async Task<string> WorkerAsync(HttpClient api, string phase, string? not)
    {
        var track = await UntilAsync(api, track => WorkerOf(track, phase) is { } worker && worker != not, $"A worker in {phase}");
        return WorkerOf(track, phase)!;
    }

    private static string? WorkerOf(JsonElement track, string phase) =>
        track.TryGetProperty("job", out var job) && job.GetProperty("phase").GetString() == phase && job.TryGetProperty("worker", out var worker) ? worker.GetString() : null;

    private static async Task<JsonElement> UntilAsync(HttpClient api, Func<JsonElement, bool> condition, string what)
    {
        JsonElement track = default;
        for (var waited = Stopwatch.StartNew(); waited.Elapsed < TimeSpan.FromMinutes(2); await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            track = JsonSerializer.Deserialize<JsonElement>(await api.GetStringAsync("/v1/tracks/r-1", TestContext.Current.CancellationToken));
            if (condition(track))
                return track;
        }

        throw new TimeoutException($"{what} did not come: {track}");
    }
}
