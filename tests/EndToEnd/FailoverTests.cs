using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using Delivery.ObjectStore;

namespace Delivery.EndToEnd.Tests;

/// <summary><c>delivery up</c> over a bucket of a real S3 server and a folder, when the server is killed: what listeners hear and what content ops must do.</summary>
public sealed partial class FailoverTests : IAsyncLifetime
{
    private const int Listeners = 3;

    /// <summary>Some seconds of upload.</summary>
    private const int LargeMasterBytes = 150_000_000;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(80);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-failover-");
    private readonly Dictionary<string, string?> _environment = new() { ["AWS_ACCESS_KEY_ID"] = RadosGateway.AccessKey, ["AWS_SECRET_ACCESS_KEY"] = RadosGateway.SecretKey };
    private RadosGateway _gateway = null!;
    private string _bucket = "";
    private DeliveryProcess _stack = null!;
    private JsonElement _up;
    private HttpClient _origin = null!;

    private string Data => Path.Combine(_folder.FullName, "data");

    private string Primary => _gateway.Url(_bucket);

    private string Secondary => $"file://{_folder.FullName}/secondary";

    public async ValueTask InitializeAsync()
    {
        _gateway = await RadosGateway.StartAsync();
        _bucket = await _gateway.NewBucketAsync();
        _stack = DeliveryProcess.Start(_environment, "up", "--json", "--data", Data, "--edge-port", "0", "--origin-port", "0", "--store", Primary, "--secondary-store", Secondary);
        _up = await _stack.ReadJsonAsync(TimeSpan.FromSeconds(60));
        _origin = new() { BaseAddress = new(_up.GetProperty("origin").GetString()!), DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", _up.GetProperty("apiKey").GetString()) } };
    }

    public async ValueTask DisposeAsync()
    {
        _origin.Dispose();
        await _stack.DisposeAsync();
        await _gateway.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task PrimaryKilledInMidReadAndMidUpload_NoPlaybackFails_AndNoUploadIsLost()
    {
        await IngestTonesAsync("small", tracks: 2);
        await InSyncAsync();
        var large = LargeMaster();

        // 1. Listeners, who have heard a part of the files, and an upload on its way.
        using var stop = new CancellationTokenSource();
        using var audience = new Audience(_origin, [.. Enumerable.Range(1, 2).Select(i => $"small-{i}")]);
        var listening = Enumerable.Range(0, Listeners).Select(_ => Task.Run(() => audience.ListenAsync(stop.Token))).ToList();
        var ingest = DeliveryProcess.RunAsync(_environment, "ingest", Path.GetDirectoryName(large)!, "--release", "large", "--no-wait", "--json", "--data", Data);
        await UntilAsync(() => IsUploadingAsync("masters/large-1/"), "The upload has not begun.");

        // 2. The primary dies. Everything that is published plays on, and changes are refused in words.
        _gateway.KillGateway();
        var (playedBefore, staleBefore) = (audience.Played, audience.Stale);
        await UntilAsync(() => Task.FromResult(audience.Played >= playedBefore + 40 && audience.Stale > staleBefore), "Listeners hear nothing, or are told nothing of the outage.");
        using (var put = await _origin.PutAsync("/v1/releases/other", JsonContent.Create(new { title = "Other", tracks = new[] { new { id = "other-1", title = "Other", number = 1 } } })))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, put.StatusCode);
            Assert.Equal("/problems/no-changes", (await put.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken)).GetProperty("type").GetString());
            Assert.NotNull(put.Headers.RetryAfter);
        }

        // 3. It comes back, and the upload goes on by itself.
        await _gateway.RestartGatewayAsync();
        var (code, output, errors) = await ingest.WaitAsync(Patience, TestContext.Current.CancellationToken);
        Assert.True(code == 0, errors + output);
        Assert.Contains("\"waiting\":", output, StringComparison.Ordinal);
        await stop.CancelAsync();
        await Task.WhenAll(listening);
        Assert.Empty(audience.Failures);

        // 4. Everything accepted is there, in both stores.
        var track = await _origin.GetFromJsonAsync<JsonElement>("/v1/tracks/large-1", TestContext.Current.CancellationToken);
        await using (var file = File.OpenRead(large))
            Assert.Equal(Convert.ToHexStringLower(await SHA256.HashDataAsync(file, TestContext.Current.CancellationToken)), track.GetProperty("master").GetProperty("sha256").GetString());
        // Its manifest changes until the farm has done with it, and two stores are compared at rest.
        await UntilAsync(
            async () => (await _origin.GetFromJsonAsync<JsonElement>("/v1/tracks/large-1", TestContext.Current.CancellationToken)).GetProperty("state").GetString() is "ready" or "failed",
            "The farm has not done with the upload.");
        await InSyncAsync();
        await ReconciledAsync(Primary, Secondary);
    }

    [Fact]
    public async Task PrimaryStaysDead_ThePromotedSecondaryTakesOver_AndTheOldOneComesBackAsSecondary()
    {
        await IngestTonesAsync("before", tracks: 1);
        await InSyncAsync();

        // 1. Accepted by another origin at the last moment, and not replicated: an object and its marker.
        var left = $"masters/left-1/{Guid.CreateVersion7():N}.wav";
        var marker = JsonSerializer.Serialize(new { format = 1, key = left, kind = "write", startedAt = DateTimeOffset.UtcNow, expiresAt = DateTimeOffset.UtcNow.AddHours(1) });
        await _gateway.Client.PutObjectAsync(new() { BucketName = _bucket, Key = left, ContentBody = "left behind", ContentType = "audio/wav" }, TestContext.Current.CancellationToken);
        await _gateway.Client.PutObjectAsync(
            new() { BucketName = _bucket, Key = $"replication/markers/{Guid.CreateVersion7():N}.json", ContentBody = marker, ContentType = "application/json" }, TestContext.Current.CancellationToken);
        _gateway.KillGateway();

        // 2. Nobody promotes by accident.
        var (code, _, errors) = await DeliveryProcess.RunAsync(_environment, "store", "promote", Secondary, "--from", Primary);
        Assert.Equal(4, code);
        Assert.Contains("--force", errors, StringComparison.Ordinal);
        (code, var output, errors) = await DeliveryProcess.RunAsync(_environment, "store", "promote", Secondary, "--from", Primary, "--force", "--json");
        Assert.True(code == 0, errors + output);
        Assert.Contains("\"epoch\":2", output, StringComparison.Ordinal);

        // 3. The same `up` takes changes again.
        await IngestTonesAsync("after", tracks: 1);

        // 4. The old primary comes back: it is fenced, what it had left behind is taken over, and it follows.
        await _gateway.RestartGatewayAsync();
        await UntilAsync(async () => (await ReadAsync("control/store.json")).Contains("\"secondary\"", StringComparison.Ordinal), "The old primary has not been fenced.");
        using var secondary = FileStore.Open($"{_folder.FullName}/secondary");
        await UntilAsync(async () => await secondary.FindAsync(ObjectKey.Parse(left), TestContext.Current.CancellationToken) is { Length: 11 }, "What was left behind has not been taken over.");
        await UntilAsync(async () => (await ReadAsync("catalog/releases/after.json")).Length > 0, "What was written since is not on the old primary.");
        await InSyncAsync();
        await ReconciledAsync(Secondary, Primary);
    }

    private async Task IngestTonesAsync(string release, int tracks)
    {
        var album = Directory.CreateDirectory(Path.Combine(_folder.FullName, release)).FullName;
        for (var i = 1; i <= tracks; i++)
            Tone.Write(Path.Combine(album, $"0{i} Tone.wav"), seconds: 2 + i);
        var (code, output, errors) = await DeliveryProcess.RunAsync(_environment, "ingest", album, "--release", release, "--json", "--data", Data);
        Assert.True(code == 0, errors + output);
    }

    // No audio, so that the farm is done with it at once.
    private string LargeMaster()
    {
        var path = Path.Combine(Directory.CreateDirectory(Path.Combine(_folder.FullName, "large")).FullName, "01 Noise.wav");
        using var file = File.Create(path);
        var bytes = new byte[1 << 20];
        var random = new Random(5);
        for (var left = LargeMasterBytes; left > 0; left -= bytes.Length)
        {
            random.NextBytes(bytes);
            file.Write(bytes.AsSpan(0, Math.Min(left, bytes.Length)));
        }

        return path;
    }

    // A marker announces each write before it begins.
    private async Task<bool> IsUploadingAsync(string prefix)
    {
        var markers = await _gateway.Client.ListObjectsV2Async(new() { BucketName = _bucket, Prefix = "replication/markers/" }, TestContext.Current.CancellationToken);
        foreach (var marker in markers.S3Objects ?? [])
        {
            if ((await ReadAsync(marker.Key)).Contains(prefix, StringComparison.Ordinal))
                return true;
        }

        return false;
    }

    private async Task<string> ReadAsync(string key)
    {
        try
        {
            using var read = await _gateway.Client.GetObjectAsync(_bucket, key, TestContext.Current.CancellationToken);
            using var text = new StreamReader(read.ResponseStream);
            return await text.ReadToEndAsync(TestContext.Current.CancellationToken);
        }
        catch (Amazon.S3.AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound)
        {
            return "";
        }
    }

    /// <summary>Until the origin knows of nothing that is not on the secondary.</summary>
    private async Task InSyncAsync()
    {
        using var admin = new HttpClient { BaseAddress = new(_up.GetProperty("originAdmin").GetString()!) };
        var last = "";
        await UntilAsync(
            async () =>
            {
                last = await admin.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
                return Lag().Match(last) is { Success: true } lag && double.Parse(lag.Groups[1].ValueSpan, CultureInfo.InvariantCulture) == 0
                    && Pending().Match(last) is { Success: true } pending && pending.Groups[1].Value == "0";
            },
            () => last);
    }

    private async Task ReconciledAsync(string from, string to)
    {
        var (code, output, errors) = await DeliveryProcess.RunAsync(_environment, "store", "reconcile", from, to, "--json");
        Assert.True(code == 0, errors + output);
        var end = JsonSerializer.Deserialize<JsonElement>(output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1]);
        Assert.True(end.GetProperty("inSync").GetBoolean() && end.GetProperty("equal").GetInt64() > 10, output);
    }

    private Task UntilAsync(Func<Task<bool>> reached, string otherwise) => UntilAsync(reached, () => otherwise);

    private async Task UntilAsync(Func<Task<bool>> reached, Func<string> otherwise)
    {
        for (var deadline = DateTime.UtcNow + Patience; !await reached(); await Task.Delay(20, TestContext.Current.CancellationToken))
            Assert.True(DateTime.UtcNow < deadline, $"{otherwise()}\n{_stack.Errors}");
    }

    [GeneratedRegex(@"^delivery_store_replication_lag_seconds(?:\{[^}]*\})? (\S+)", RegexOptions.Multiline)]
    private static partial Regex Lag();

    [GeneratedRegex(@"^delivery_store_replication_pending(?:\{[^}]*\})? (\S+)", RegexOptions.Multiline)]
    private static partial Regex Pending();

    /// <summary>Listeners: a grant, then the whole file by the ranges that players ask for, each byte judged by the digest in its name.</summary>
    private sealed class Audience(HttpClient origin, IReadOnlyList<string> tracks) : IDisposable
    {
        private const int RangeBytes = 64 * 1024;

        private readonly HttpClient _edge = new(new SocketsHttpHandler { UseCookies = false });
        private int _next;
        private int _played;
        private int _stale;

        public ConcurrentQueue<string> Failures { get; } = [];

        /// <summary>Files heard to their end.</summary>
        public int Played => Volatile.Read(ref _played);

        /// <summary>Grants that said that they may be stale.</summary>
        public int Stale => Volatile.Read(ref _stale);

        public async Task ListenAsync(CancellationToken stop)
        {
            while (!stop.IsCancellationRequested)
            {
                // Another file each time, so that there is always one that the edge has not yet.
                var turn = Interlocked.Increment(ref _next);
                try
                {
                    await PlayAsync(tracks[turn % tracks.Count], turn / tracks.Count);
                    Interlocked.Increment(ref _played);
                }
                catch (Exception e)
                {
                    Failures.Enqueue(e.ToString());
                    return;
                }
            }
        }

        public void Dispose() => _edge.Dispose();

        private async Task PlayAsync(string track, int choice)
        {
            using var grant = await origin.PostAsync("/v1/playback", JsonContent.Create(new { trackId = track, quality = "hires", tier = "premium" }));
            Assert.True(grant.IsSuccessStatusCode, await grant.Content.ReadAsStringAsync());
            if (grant.Headers.TryGetValues("Delivery-Stale", out var stale))
            {
                Assert.Equal(["catalog"], stale);
                Interlocked.Increment(ref _stale);
            }

            var renditions = (await grant.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("renditions");
            var rendition = renditions[choice % renditions.GetArrayLength()];
            var (url, bytes) = (new Uri(rendition.GetProperty("urls")[0].GetString()!), rendition.GetProperty("bytes").GetInt64());
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            for (var at = 0L; at < bytes; at += RangeBytes)
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, url) { Headers = { Range = new(at, at + RangeBytes - 1) } };
                using var answer = await _edge.SendAsync(request);
                Assert.True(answer.StatusCode == HttpStatusCode.PartialContent, $"{(int)answer.StatusCode} for {url}: {answer.Headers}");
                hash.AppendData(await answer.Content.ReadAsByteArrayAsync());
            }

            Assert.StartsWith(Path.GetFileNameWithoutExtension(url.AbsolutePath), Convert.ToHexStringLower(hash.GetHashAndReset()), StringComparison.Ordinal);
        }
    }
}
