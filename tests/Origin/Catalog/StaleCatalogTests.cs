using System.Net;
using System.Text;
using System.Text.Json;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Origin.Playback;

namespace Delivery.Origin.Tests.Catalog;

/// <summary>An origin over two stores, of which the primary goes away: what it knows it says, and says that it may be old; what it cannot do it says too.</summary>
public class StaleCatalogTests
{
    [Fact]
    public async Task PrimaryAway_PlaybackAndStatusGoOn_AndSayThatTheyMayBeStale()
    {
        await using var origin = await StartAsync();
        await LoseAsync(origin);

        using (var played = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium"}"""))
        {
            Assert.Equal((HttpStatusCode.OK, "catalog"), (played.StatusCode, Stale(played)));
            Assert.NotEmpty((await OriginHarness.ReadAsync(played, ApiJson.Default.PlaybackAnswer)).Url);
        }

        foreach (var path in (string[])["/v1/tracks/t1", "/v1/releases/r1", $"/v1/jobs/{(await origin.TrackAsync()).Job!.JobId}"])
        {
            using var status = await origin.Client.GetAsync(path);
            Assert.Equal((HttpStatusCode.OK, "catalog"), (status.StatusCode, Stale(status)));
        }

        using (var refused = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium", "codecs": ["aac"]}"""))
            Assert.Equal("catalog", Stale(refused));

        Mend(origin);
        using (var played = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium"}"""))
            Assert.Equal((HttpStatusCode.OK, ""), (played.StatusCode, Stale(played)));
        using (var status = await origin.Client.GetAsync("/v1/tracks/t1"))
            Assert.Equal((HttpStatusCode.OK, ""), (status.StatusCode, Stale(status)));
    }

    [Fact]
    public async Task StaleAnswers_AreCounted()
    {
        await using var origin = await StartAsync();
        await LoseAsync(origin);
        for (var i = 0; i < 3; i++)
        {
            using var played = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium"}""");
            using var status = await origin.Client.GetAsync("/v1/tracks/t1");
        }

        using var admin = new HttpClient { BaseAddress = origin.Node.AdminAddress };
        var metrics = await admin.GetStringAsync("/metrics");
        Assert.Contains("""delivery_origin_stale_answers_total{call="playback"} 3""", metrics, StringComparison.Ordinal);
        Assert.Contains("""delivery_origin_stale_answers_total{call="track"} 3""", metrics, StringComparison.Ordinal);
        Assert.Contains("delivery_store_replication_lag_seconds", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PrimaryAway_ChangesAre503_AlsoThoseThatAnOldManifestCallsDoneAlready()
    {
        await using var origin = await StartAsync();
        await LoseAsync(origin);

        foreach (var title in (string[])["Night Shift", "Another"])
        {
            using var put = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release(title, "", "t1")));
            await OriginHarness.ProblemAsync(put, 503, "no-changes");
            Assert.NotNull(put.Headers.RetryAfter);
        }

        using (var master = await origin.PutMasterAsync(Encoding.UTF8.GetBytes("another master")))
        {
            await OriginHarness.ProblemAsync(master, 503, "no-changes");
            Assert.NotNull(master.Headers.RetryAfter);
        }

        using (var retry = await origin.Client.PostAsync($"/v1/jobs/{(await origin.TrackAsync()).Job!.JobId}:retry", null))
            await OriginHarness.ProblemAsync(retry, 503, "no-changes");

        Mend(origin);
        await origin.PutReleaseAsync(title: "Another", trackIds: "t1");
        await origin.UploadAsync(Encoding.UTF8.GetBytes("another master"));
    }

    [Fact]
    public async Task PrimaryAway_WhatTheSecondaryDoesNotHave_Is503AndNoLie()
    {
        await using var origin = await StartAsync();
        await LoseAsync(origin);

        using (var unknown = await origin.PlayAsync("""{"trackId": "t9", "tier": "premium"}"""))
            await OriginHarness.ProblemAsync(unknown, 503, "unavailable");

        // A next track that nobody can tell of keeps nobody from this one.
        using var played = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium", "next": ["t9"]}""");
        var answer = await OriginHarness.ReadAsync(played, ApiJson.Default.PlaybackAnswer);
        Assert.Equal((HttpStatusCode.OK, PlaybackRefusal.Unavailable), (played.StatusCode, Assert.Single(answer.Prefetch).Refused));
    }

    [Fact]
    public async Task ManifestWhoseBodyBreaks_IsReadOnceMore()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        var broken = 0;
        origin.Store.Body = (key, body) => key == "catalog/tracks/t1.json" && broken++ == 0 ? new BreakingStream(body) : body;

        Assert.Equal(TrackState.Ready, (await origin.TrackAsync()).State);

        Assert.Equal(2, broken);
        origin.Store.Body = (_, body) => new BreakingStream(body);
        using var away = await origin.Client.GetAsync("/v1/tracks/t1");
        await OriginHarness.ProblemAsync(away, 503, "unavailable");
    }

    [Fact]
    public async Task ManifestReadFromTheSecondary_IsNeverWrittenAsSuch()
    {
        await using var origin = await StartAsync();
        await LoseAsync(origin);
        using (var played = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium"}"""))
            Assert.Equal("catalog", Stale(played));
        Mend(origin);
        await origin.PutReleaseAsync(title: "Another", trackIds: "t1");
        var manifest = await origin.ManifestAsync("catalog/releases/r1.json");
        Assert.False(manifest.TryGetProperty("mayBeStale", out _), JsonSerializer.Serialize(manifest));
    }

    private static async Task<OriginHarness> StartAsync()
    {
        var origin = await OriginHarness.StartAsync(hasSecondary: true);
        await origin.PublishAsync();
        await Until.TrueAsync(() => Task.FromResult(origin.Pair!.Pending), pending => pending == 0);
        return origin;
    }

    /// <summary>The primary fails, and what playback had read before is no longer trusted.</summary>
    private static Task LoseAsync(OriginHarness origin)
    {
        origin.Store.BeforeRead = (_, _) => throw new StoreException(StoreError.Unavailable, "gone");
        origin.Store.BeforeWrite = _ => throw new StoreException(StoreError.Unavailable, "gone");
        origin.Store.BeforeList = _ => throw new StoreException(StoreError.Unavailable, "gone");
        origin.Time.Advance(origin.Options.PlaybackCacheFreshness);
        return Task.CompletedTask;
    }

    /// <summary>The primary is back, and its circuit half open.</summary>
    private static void Mend(OriginHarness origin)
    {
        origin.Store.BeforeRead = (_, _) => Task.CompletedTask;
        origin.Store.BeforeWrite = _ => Task.CompletedTask;
        origin.Store.BeforeList = _ => Task.CompletedTask;
        origin.Time.Advance(TimeSpan.FromSeconds(30));
    }

    private static string Stale(HttpResponseMessage response) => response.Headers.TryGetValues("Delivery-Stale", out var values) ? string.Join(", ", values) : "";

    /// <summary>Gives ten bytes and breaks.</summary>
    private sealed class BreakingStream(Stream inner) : MemoryStream
    {
        private int _given;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_given >= 10)
                throw new StoreException(StoreError.Unavailable, "The connection broke.");
            var count = await inner.ReadAsync(buffer[..Math.Min(buffer.Length, 10 - _given)], cancellationToken);
            _given += count;
            return count;
        }

        public override async ValueTask DisposeAsync()
        {
            await inner.DisposeAsync();
            await base.DisposeAsync();
        }
    }
}
