using System.Diagnostics;
using System.Net;
using Delivery.Origin.Api;
using Delivery.Origin.Playback;
using Delivery.TokenAuth;

namespace Delivery.Origin.Tests.Playback;

public class PlaybackTests
{
    [Fact]
    public async Task Grant_NamesTheChosenRendition_AndEachUrlVerifies()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync("", "t1", "t2");
        var grant = await origin.GrantAsync(""", "quality": "veryhigh", "codecs": ["vorbis", "aac"], "country": "SE", "userId": "user-4711", "next": ["t2"]""");
        Assert.Equal(("t1", "veryhigh", "vorbis", 320_000, 20_000L), (grant.TrackId, grant.Quality, grant.Codec, grant.Bitrate, grant.DurationMs));
        Assert.Equal((new PlaybackLoudness(-14.2, -1.3), 0), (grant.Loudness, grant.Gapless.EncoderDelay));
        Assert.Equal(OriginHarness.Start.AddHours(1), grant.ExpiresAt);
        Assert.Equal(
            ["veryhigh vorbis", "veryhigh aac", "high vorbis", "high aac", "normal vorbis", "normal aac", "low aac"],
            grant.Renditions.Select(r => $"{r.Quality} {r.Codec}"));
        Assert.Equal(grant.Url, grant.Renditions[0].Urls[0]);

        var published = (await origin.TrackAsync()).Published!.Renditions;
        var next = (await origin.TrackAsync("t2")).Published!.Renditions.Single(r => r is { Quality: "veryhigh", Codec: "vorbis" });
        string? session = null;
        foreach (var rendition in grant.Renditions)
        {
            Assert.Equal(["http://edge1.test:8080", "http://edge2.test:8080"], rendition.Urls.Select(u => new Uri(u).GetLeftPart(UriPartial.Authority)));
            foreach (var url in rendition.Urls)
            {
                var uri = new Uri(url);
                Assert.Equal(published.Single(r => r.Quality == rendition.Quality && r.Codec == rendition.Codec).Path, uri.AbsolutePath);
                Assert.Equal(TokenVerdict.Valid, NativeScheme.Instance.Verify(origin.Ring, uri.AbsolutePath, uri.Query.TrimStart('?'), IPAddress.Loopback, grant.ExpiresAt.ToUnixTimeSeconds(), out var claims));
                Assert.Equal(("t1", "SE", next.Path[1..]), (claims.TrackId.ToString(), claims.Country.ToString(), claims.NextFile.ToString()));
                session ??= claims.SessionId.ToString();
                Assert.Equal(session, claims.SessionId.ToString());
                Assert.Equal(22, session.Length);
                Assert.Equal(TokenVerdict.Expired, NativeScheme.Instance.Verify(origin.Ring, uri.AbsolutePath, uri.Query.TrimStart('?'), IPAddress.Loopback, grant.ExpiresAt.ToUnixTimeSeconds() + 1, out _));
                Assert.DoesNotContain("user-4711", url, StringComparison.Ordinal);
            }
        }

        var prefetch = Assert.Single(grant.Prefetch);
        Assert.Equal(("t2", "veryhigh", "vorbis", 65_536, null), (prefetch.TrackId, prefetch.Quality, prefetch.Codec, prefetch.HeadBytes, prefetch.Refused));
        Assert.Equal(OriginHarness.Start.AddHours(1).AddSeconds(20), prefetch.ExpiresAt);
        var head = new Uri(prefetch.Urls![0]);
        Assert.Equal(next.Path, head.AbsolutePath);
        Assert.Equal(TokenVerdict.Valid, NativeScheme.Instance.Verify(origin.Ring, head.AbsolutePath, head.Query.TrimStart('?'), null, OriginHarness.Start.ToUnixTimeSeconds(), out var ahead));
        Assert.Equal(("t2", session), (ahead.TrackId.ToString(), ahead.SessionId.ToString()));

        var again = await origin.GrantAsync();
        var other = new Uri(again.Url);
        NativeScheme.Instance.Verify(origin.Ring, other.AbsolutePath, other.Query.TrimStart('?'), null, OriginHarness.Start.ToUnixTimeSeconds(), out var fresh);
        Assert.NotEqual(session, fresh.SessionId.ToString());
        Assert.Equal(("", ""), (fresh.Country.ToString(), fresh.NextFile.ToString()));
    }

    [Fact]
    public async Task LongTrack_KeepsItsUrlForTwiceItsLength()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1]);
        await origin.Farm.FinishNextAsync([("high", "vorbis", 160_000, 4 * 3600)]);
        await origin.TrackBecomesAsync(TrackState.Ready);
        Assert.Equal(OriginHarness.Start.AddHours(8), (await origin.GrantAsync()).ExpiresAt);
    }

    [Theory]
    [InlineData("""{"allow": ["SE"]}""", "SE", null)]
    [InlineData("""{"allow": ["SE"]}""", "NO", PlaybackRefusal.Territory)]
    [InlineData("""{"allow": ["SE"]}""", null, PlaybackRefusal.Territory)]
    [InlineData("""{"deny": ["SE"]}""", "NO", null)]
    [InlineData("""{"deny": ["SE"]}""", "SE", PlaybackRefusal.Territory)]
    [InlineData("""{"deny": ["SE"]}""", null, PlaybackRefusal.Territory)]
    [InlineData("null", null, null)]
    public async Task Territories_Decide(string territories, string? country, PlaybackRefusal? refusal)
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync($$""", "territories": {{territories}}""");
        foreach (var quality in new[] { "high", "preview" })
            await AssertAsync(origin, "premium", quality, refusal, country);
    }

    [Fact]
    public async Task BeforeItsTime_OnlyThePreviewPlays()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync(""", "availableFrom": "2026-11-21T12:10:00Z" """);
        await AssertAsync(origin, "premium", "high", PlaybackRefusal.NotYetAvailable);
        var preview = await origin.GrantAsync(""", "quality": "preview", "codecs": ["aac", "vorbis"]""");
        Assert.Equal(("preview", "aac", 5000L), (preview.Quality, preview.Codec, preview.DurationMs));
        Assert.Equal(["preview aac", "preview vorbis"], preview.Renditions.Select(r => $"{r.Quality} {r.Codec}"));
        origin.Time.Advance(TimeSpan.FromMinutes(10) - TimeSpan.FromTicks(1));
        await AssertAsync(origin, "premium", "high", PlaybackRefusal.NotYetAvailable);
        origin.Time.Advance(TimeSpan.FromTicks(1));
        await AssertAsync(origin, "premium", "high", null);
    }

    [Fact]
    public async Task TierOfTheRelease_Decides_ThePreviewAside()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync(""", "tiers": ["premium"]""");
        await AssertAsync(origin, "free", "normal", PlaybackRefusal.Tier);
        await AssertAsync(origin, "free", "preview", null);
        await AssertAsync(origin, "premium", "normal", null);
    }

    [Fact]
    public async Task UnknownAndUnreadyTracks_AreToldApart_AndNextSaysWhy()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        await origin.PutReleaseAsync("r2", trackIds: "unready");
        using var unknown = await origin.PlayAsync("""{"trackId": "nope", "tier": "free"}""");
        await OriginHarness.ProblemAsync(unknown, 404, "not-found");
        using var unready = await origin.PlayAsync("""{"trackId": "unready", "tier": "free"}""");
        Assert.Equal(PlaybackRefusal.NotReady, (await OriginHarness.ProblemAsync(unready, 403, "playback-refused")).Reason);
        Assert.Contains("\"reason\":\"notReady\"", await unready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        var grant = await origin.GrantAsync(""", "next": ["unready", "nope", "../x", "t1"]""");
        Assert.Equal(
            [PlaybackRefusal.NotReady, PlaybackRefusal.UnknownTrack, PlaybackRefusal.UnknownTrack, null], grant.Prefetch.Select(p => p.Refused));
        Assert.Equal(["unready", "nope", "../x", "t1"], grant.Prefetch.Select(p => p.TrackId));
        Assert.DoesNotContain("nxt=", grant.Url, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EveryFaultOfARequest_IsListedAtOnce()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var response = await origin.PlayAsync("""
            {"quality": "best", "codecs": ["mp3", "aac", "aac"], "tier": "gold", "country": "se", "next": ["1","2","3","4","5","6","7","8","9","10","11"], "userid": "x"}
            """);
        var problem = await OriginHarness.ProblemAsync(response, 422, "validation");
        Assert.Equal(["/codecs/0", "/codecs/2", "/country", "/next", "/quality", "/tier", "/trackId", "/userid"], problem.Errors!.Select(e => e.Pointer).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task WithoutEdgeBases_UrlsAreSignedPaths()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.EdgeBases = []);
        await origin.PublishAsync();
        Assert.StartsWith("/audio/", (await origin.GrantAsync()).Url, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ChangeByAnotherOrigin_IsEnforcedWithinTheFreshness_AndOwnOnesAtOnce()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var other = await origin.StartAnotherAsync();
        await origin.PublishAsync();
        await AssertAsync(origin, "premium", "high", null, "SE");
        using var put = await other.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", """, "territories": {"deny": ["SE"]}""", "t1")));
        Assert.Equal(HttpStatusCode.OK, put.StatusCode);
        await AssertAsync(origin, "premium", "high", null, "SE");
        origin.Time.Advance(TimeSpan.FromSeconds(5));
        await AssertAsync(origin, "premium", "high", PlaybackRefusal.Territory, "SE");
        await origin.PutReleaseAsync();
        await AssertAsync(origin, "premium", "high", null, "SE");
    }

    [Fact]
    public async Task RotatedKeyRing_SignsTheNextGrant()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        var rotated = KeyRing.Generate("k2");
        await File.WriteAllTextAsync(origin.Options.KeyRingPath, rotated.ToJson());
        await Until.TrueAsync(async () => (await origin.GrantAsync()).Url, url => url.Contains("kid=k2", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Playback_ReadsTheStoreOnce_WhoeverAsks()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();

        // A fresh node that has read the catalog has nothing left to do in the background.
        await origin.StopNodeAsync();
        await origin.StartNodeAsync();
        (await origin.Client.GetAsync("/v1/releases")).Dispose();
        var reads = 0;
        origin.Store.BeforeRead = (_, _) => { Interlocked.Increment(ref reads); return Task.CompletedTask; };
        await Task.WhenAll(Enumerable.Range(0, 32).Select(_ => origin.GrantAsync()));
        Assert.Equal(2, reads);

        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < 200; i++)
            await origin.GrantAsync();
        var each = Stopwatch.GetElapsedTime(start) / 200;
        Assert.True(each < TimeSpan.FromMilliseconds(30), $"A grant took {each} on average; the target is 30 ms");
    }

    private static async Task AssertAsync(OriginHarness origin, string tier, string quality, PlaybackRefusal? refusal, string? country = null)
    {
        using var response = await origin.PlayAsync($$"""{"trackId": "t1", "tier": "{{tier}}", "quality": "{{quality}}"{{(country is null ? "" : $", \"country\": \"{country}\"")}}}""");
        if (refusal is null)
            Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        else
            Assert.Equal(refusal, (await OriginHarness.ProblemAsync(response, 403, "playback-refused")).Reason);
    }
}
