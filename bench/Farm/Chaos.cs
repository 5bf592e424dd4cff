using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.Origin.ApiKeys;
using Delivery.Tests;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs.Rabbit;
using Delivery.Transcoder.Results;
using Microsoft.Extensions.Logging;

namespace Delivery.Bench.Farm;

/// <summary>
/// Tracks through a farm of which everything fails: three workers killed by turns at random, the broker restarted once, a part of all store calls
/// failing. Every track must end published or named-failed, once, with every byte right.
/// </summary>
internal static class Chaos
{
    private const int Workers = 3;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(20);

    public static async Task<int> RunAsync(Dictionary<string, string> options)
    {
        var tracks = int.Parse(options.GetValueOrDefault("tracks", "60"), CultureInfo.InvariantCulture);
        var seed = int.Parse(options.GetValueOrDefault("seed", "6"), CultureInfo.InvariantCulture);
        var faults = double.Parse(options.GetValueOrDefault("faults", "0.05"), CultureInfo.InvariantCulture);
        var random = new Random(seed);
        var folder = Directory.CreateTempSubdirectory("farm-chaos-").FullName;
        var (storeFolder, work, log) = (Path.Combine(folder, "store"), Path.Combine(folder, "work"), Path.Combine(folder, "log"));
        await using var broker = await RabbitBroker.StartAsync();
        using var files = FileStore.Open(storeFolder);
        using var hooks = new Hooks();
        using var logs = LoggerFactory.Create(builder => builder.AddProvider(new FileLog(log)));
        var (secret, sha256) = ApiKey.Generate();
        var keys = Path.Combine(folder, "keys.json");
        await File.WriteAllTextAsync(keys, KeyRing.Generate("chaos").ToJson());
        var hookSecret = Path.Combine(folder, "webhook-secret");
        await File.WriteAllTextAsync(hookSecret, $"whsec_{Convert.ToBase64String(RandomNumberGenerator.GetBytes(24))}");
        await using var queue = RabbitJobQueue.Open(new BrokerOptions { Url = broker.Url, Prefix = "chaos" }, logs, TimeProvider.System);
        await using var origin = await OriginNode.StartAsync(
            new OriginOptions
            {
                Port = 0,
                AdminPort = 0,
                KeyRingPath = keys,
                ApiKeys = [new ApiKey { Name = "chaos", Sha256 = sha256, Roles = [ApiRole.Ingest, ApiRole.Operate] }],
                Webhooks = [new() { Url = hooks.Url, SecretPath = hookSecret }],
                WebhookRetryDelay = TimeSpan.FromMilliseconds(200),
            },
            new FlakyStore(files, faults, seed), queue, logs, TimeProvider.System, default);
        using var http = new HttpClient { BaseAddress = origin.Address };
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        var seeds = 0;
        var workers = await Task.WhenAll(Enumerable.Range(0, Workers).Select(_ => NewWorkerAsync()));

        var started = Stopwatch.StartNew();
        var (bad, same) = (tracks / 10, tracks / 20);
        await AnswerAsync(() => http.PutAsJsonAsync("/v1/releases/chaos", Release(tracks)));
        for (var i = 0; i < tracks; i++)
        {
            // The last ones have the masters of the first ones: two tracks, one result.
            var seconds = 3 + (random.NextDouble() * 9);
            var master = i < bad ? MusicMaster.Truncated(i, seconds) : i >= tracks - same ? MusicMaster.Create(i - tracks + same + bad, 4) : MusicMaster.Create(i, i < bad + same ? 4 : seconds);
            await AnswerAsync(() => http.PutAsync($"/v1/releases/chaos/tracks/t{i}/master?filename=t{i}.wav", new ByteArrayContent(master) { Headers = { ContentType = new("audio/wav") } }));
        }

        var (kills, restarted, ended) = (0, false, 0);
        while (started.Elapsed < Patience)
        {
            await Task.Delay(TimeSpan.FromSeconds(1 + (random.NextDouble() * 3)));
            var jobs = await JobsAsync(http);
            ended = jobs.Count(j => j.Phase is "done" or "failed");
            if (ended == tracks)
                break;
            if (!restarted && ended >= tracks / 3)
            {
                restarted = true;
                await broker.KillAsync();
                await Task.Delay(TimeSpan.FromSeconds(2));
                await broker.RestartAsync();
            }

            var victim = random.Next(Workers);
            workers[victim].Kill();
            workers[victim].Dispose();
            kills++;
            workers[victim] = await NewWorkerAsync();
        }

        // Copies of jobs that are done already may still wait; then the webhooks.
        await UntilAsync(async () => (await queue.MeasureAsync(default)).Total == 0);
        await UntilAsync(() => Task.FromResult(hooks.Events.Count == tracks));
        var wall = started.Elapsed;
        foreach (var worker in workers)
            await worker.StopAsync();
        var leftovers = Directory.GetFileSystemEntries(work).Length;

        var problems = new List<string>();
        var (ready, failed) = (0, 0);
        var named = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < tracks; i++)
        {
            var track = JsonNode.Parse(await AnswerAsync(() => http.GetAsync($"/v1/tracks/t{i}")))!;
            var state = (string)track["state"]!;
            var failure = (string?)track["failure"]?["code"];
            Expect(i < bad ? state == "failed" && failure == "corruptMaster" : state == "ready", $"t{i} is {state} {failure} {track["failure"]?["message"]}");
            var events = hooks.Events.GetValueOrDefault($"t{i}");
            Expect(events?.Count == 1 && events.Values.Single() == (i < bad ? "track.failed" : "track.ready"), $"t{i} was announced {events?.Count ?? 0} times: {string.Join(", ", events?.Values ?? [])}");
            (ready, failed) = state == "ready" ? (ready + 1, failed) : (ready, failed + 1);
            foreach (var rendition in track["published"]?["renditions"]?.AsArray() ?? [])
            {
                var path = ((string)rendition!["path"]!).TrimStart('/');
                named.Add(path);
                var bytes = await File.ReadAllBytesAsync(Path.Combine(storeFolder, path));
                Expect(Convert.ToHexStringLower(SHA256.HashData(bytes)) == (string)rendition["sha256"]!, $"{path} of t{i} has other bytes than its digest says");
            }
        }

        var orphans = await OrphansAsync(files, named);
        Console.WriteLine($"| tracks | ready | failed by name | workers killed | broker restarts | store faults | wall s | left in work folders | orphans before → after | problems |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|---|");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {tracks} | {ready} | {failed} | {kills} | {(restarted ? 1 : 0)} | {faults:P0} | {wall.TotalSeconds:0} | {leftovers} | {orphans.Before} → {orphans.After} | {problems.Count} |"));
        foreach (var problem in problems)
            Console.WriteLine($"PROBLEM {problem}");
        Expect(leftovers == 0, "work folders are not empty");
        Expect(orphans.After == 0, "orphans are left");
        if (problems.Count > 0)
        {
            Console.Error.WriteLine($"the log is {log}");
            return 1;
        }

        Directory.Delete(folder, recursive: true);
        return 0;

        async Task<FarmWorker> NewWorkerAsync() => await FarmWorker.StartAsync(storeFolder, work, broker.Url, "chaos", faults, (seed * 1000) + Interlocked.Increment(ref seeds), log);

        void Expect(bool good, string problem)
        {
            if (!good)
                problems.Add(problem);
        }
    }

    /// <summary>Content ops' patience: what fails for a while is asked again.</summary>
    private static async Task<string> AnswerAsync(Func<Task<HttpResponseMessage>> ask)
    {
        for (var i = 0; ; i++)
        {
            using var response = await ask();
            var text = await response.Content.ReadAsStringAsync();
            if (response.IsSuccessStatusCode)
                return text;
            if (i == 50 || response.StatusCode != HttpStatusCode.ServiceUnavailable)
                throw new InvalidOperationException($"{response.RequestMessage!.Method} {response.RequestMessage.RequestUri} says {(int)response.StatusCode}: {text}");
            await Task.Delay(50);
        }
    }

    private static async Task<List<(string JobId, string Phase)>> JobsAsync(HttpClient http)
    {
        var jobs = new List<(string, string)>();
        for (var next = "/v1/jobs?limit=100"; next is not null;)
        {
            var page = JsonNode.Parse(await AnswerAsync(() => http.GetAsync(next)))!;
            jobs.AddRange(page["jobs"]!.AsArray().Select(j => ((string)j!["jobId"]!, (string)j["phase"]!)));
            next = (string?)page["next"];
        }

        return jobs;
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        for (var i = 0; i < 600 && !await condition(); i++)
            await Task.Delay(200);
    }

    private static async Task<(int Before, int After)> OrphansAsync(FileStore store, HashSet<string> named)
    {
        var before = await CountAsync();
        var sweep = new OrphanSweep(store, TimeProvider.System);
        await sweep.DeleteAsync(await sweep.FindAsync(TimeSpan.Zero, default), _ => { }, default);
        return (before, await CountAsync());

        async Task<int> CountAsync()
        {
            var count = 0;
            await foreach (var entry in store.ListAsync("audio/", null, default))
            {
                if (!named.Contains(entry.Key.Value))
                    count++;
            }

            return count;
        }
    }

    private static JsonObject Release(int tracks) => new()
    {
        ["title"] = "Chaos",
        ["artists"] = new JsonArray("Farm"),
        ["tracks"] = new JsonArray([.. Enumerable.Range(0, tracks).Select(i => new JsonObject { ["id"] = $"t{i}", ["title"] = $"Track {i}", ["number"] = i + 1 })]),
    };
}
