using System.Net;
using System.Net.Http.Json;
using System.Text;
using Delivery.ObjectStore;
using Delivery.Origin.Api;

namespace Delivery.Origin.Tests.Api;

public class ReleaseTests
{
    private const string Full = """
        {
          "title": "Night Shift", "artists": ["The Examples"], "label": "Example Records", "upc": "036000291452",
          "tracks": [
            { "id": "b", "isrc": "se-xx1-26-00002", "title": "Dawn", "number": 2, "artists": ["The Examples", "A Guest"] },
            { "id": "a", "isrc": "SEXX12600001", "title": "Dusk", "number": 1 }
          ],
          "territories": { "allow": ["SE", "NO"] }, "tiers": ["premium"], "availableFrom": "2026-11-27T01:00:00+01:00"
        }
        """;

    [Fact]
    public async Task NewRelease_IsCreated_InNormalForm()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(Full));
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        Assert.Equal("/v1/releases/r1", response.Headers.Location?.ToString());
        Assert.True(response.Headers.CacheControl?.NoStore);
        var put = await OriginHarness.ReadAsync(response, ApiJson.Default.ReleaseStatus);
        var got = await origin.Client.GetFromJsonAsync("/v1/releases/r1", ApiJson.Default.ReleaseStatus);

        foreach (var release in new[] { put, got! })
        {
            Assert.Equal(("r1", "Night Shift", "Example Records", "036000291452", 1), (release.ReleaseId, release.Title, release.Label, release.Upc, release.Revision));
            Assert.Equal(["a", "b"], release.Tracks.Select(t => t.TrackId));
            Assert.Equal(["SEXX12600001", "SEXX12600002"], release.Tracks.Select(t => t.Isrc));
            Assert.Equal(["The Examples"], release.Tracks[0].Artists);
            Assert.Equal(["The Examples", "A Guest"], release.Tracks[1].Artists);
            Assert.Equal(["NO", "SE"], release.Territories!.Allow);
            Assert.Equal(new DateTimeOffset(2026, 11, 27, 0, 0, 0, TimeSpan.Zero), release.AvailableFrom);
            Assert.Equal(TimeSpan.Zero, release.AvailableFrom!.Value.Offset);
            Assert.Equal(new TrackCounts(2, 2, 0, 0, 0, 0), release.Counts);
            Assert.All(release.Tracks, t => Assert.Equal((TrackState.AwaitingMaster, null), (t.State, t.Job)));
        }
    }

    [Fact]
    public async Task SameDocumentAgain_ChangesNothing()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var first = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(Full));
        var writes = 0;
        origin.Store.BeforeWrite = _ => { Interlocked.Increment(ref writes); return Task.CompletedTask; };
        origin.Time.Advance(TimeSpan.FromHours(1));

        // Other order, other spelling: the same document.
        using var again = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(Full
            .Replace("\"SE\", \"NO\"", "\"NO\", \"SE\"", StringComparison.Ordinal).Replace("01:00:00+01:00", "00:00:00Z", StringComparison.Ordinal)));
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
        var release = await OriginHarness.ReadAsync(again, ApiJson.Default.ReleaseStatus);
        Assert.Equal((1, OriginHarness.Start), (release.Revision, release.UpdatedAt));
        Assert.Equal(0, writes);
    }

    [Fact]
    public async Task ChangedDocument_IsTheNextRevision()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(title: "One");
        origin.Time.Advance(TimeSpan.FromMinutes(1));
        using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("Two", "", "t1")));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var release = await OriginHarness.ReadAsync(response, ApiJson.Default.ReleaseStatus);
        Assert.Equal((2, "Two", OriginHarness.Start.AddMinutes(1)), (release.Revision, release.Title, release.UpdatedAt));
    }

    [Fact]
    public async Task EveryFault_IsListedAtOnce_WithItsPointer()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync("other", trackIds: "taken");
        using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json("""
            {
              "title": "", "artists": ["ok", 7], "label": 5, "upc": "036000291453", "surprise/~": 1,
              "tracks": [
                { "id": "../x", "isrc": "nope", "number": 0 },
                { "id": "t1", "title": "A", "number": 1 },
                { "id": "t1", "title": "B", "number": 1, "artists": [] },
                "no track",
                { "id": "taken", "title": "C", "number": 1.5 },
                { "title": "D\u0000", "number": "4", "id": ".hidden" }
              ],
              "territories": { "allow": ["SE", "se", "SE"], "deny": ["NO"] },
              "tiers": ["gold"], "availableFrom": "2026-11-27T00:00:00"
            }
            """));
        var problem = await OriginHarness.ProblemAsync(response, 422, "validation");
        Assert.Equal(
        [
            "/artists/1", "/availableFrom", "/label", "/surprise~1~0", "/territories", "/territories/allow/1", "/territories/allow/2", "/tiers/0", "/title",
            "/tracks/0/id", "/tracks/0/isrc", "/tracks/0/number", "/tracks/0/title", "/tracks/2/artists", "/tracks/2/id", "/tracks/2/number", "/tracks/3",
            "/tracks/4/id", "/tracks/4/number", "/tracks/5/id", "/tracks/5/number", "/tracks/5/title", "/upc",
        ], problem.Errors!.Select(e => e.Pointer).Order(StringComparer.Ordinal));
        Assert.Equal("'taken' belongs to release 'other'", problem.Errors!.Single(e => e.Pointer == "/tracks/4/id").Detail);
        using var absent = await origin.Client.GetAsync("/v1/releases/r1");
        Assert.Equal(HttpStatusCode.NotFound, absent.StatusCode);
        Assert.Equal(["catalog/tracks/taken.json"], await origin.KeysAsync("catalog/tracks/"));
    }

    [Fact]
    public async Task TrackOfAnotherRelease_IsRefused_AndTheReleaseIsNotWritten()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync("other", trackIds: "taken");
        using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", "mine", "taken")));
        var problem = await OriginHarness.ProblemAsync(response, 422, "validation");
        Assert.Equal(new RequestError("/tracks/1/id", "'taken' belongs to release 'other'"), Assert.Single(problem.Errors!));
        Assert.Equal("other", (await origin.TrackAsync("taken")).ReleaseId);
        Assert.Equal(["catalog/releases/other.json"], await origin.KeysAsync("catalog/releases/"));
        Assert.Equal(["catalog/tracks/taken.json"], await origin.KeysAsync("catalog/tracks/"));
    }

    [Theory]
    [InlineData("{", 400, "malformed")]
    [InlineData("""{"title": "A", "title": "B"}""", 400, "malformed")]
    [InlineData("""{"title": [[[[[[[[[1]]]]]]]]]}""", 400, "malformed")]
    [InlineData("""{"title": "\ud800", "tracks": []}""", 400, "malformed")]
    [InlineData("""{"title": "A", "\ud800": 1}""", 400, "malformed")]
    [InlineData("[]", 422, "validation")]
    [InlineData("null", 422, "validation")]
    [InlineData("""{"title": "A", "tracks": []}""", 422, "validation")]
    public async Task UnfitBody_IsAProblem(string body, int status, string type)
    {
        await using var origin = await OriginHarness.StartAsync();
        using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(body));
        await OriginHarness.ProblemAsync(response, status, type);
    }

    [Fact]
    public async Task BodyThatIsNotUtf8_IsAProblem_ThatSaysSo()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var body = new ByteArrayContent([.. "{\"title\": \""u8, 0xff, 0xfe, .. "\"}"u8]) { Headers = { ContentType = new("application/json") } };
        using var response = await origin.Client.PutAsync("/v1/releases/r1", body);
        Assert.Contains("not UTF-8", (await OriginHarness.ProblemAsync(response, 400, "malformed")).Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BodyAndTracks_AreBounded()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var large = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(new string(' ', origin.Options.MaxDocumentBytes) + "{}"));
        await OriginHarness.ProblemAsync(large, 413, "too-large");

        using var notJson = await origin.Client.PutAsync("/v1/releases/r1", new StringContent("{}", Encoding.UTF8, "text/plain"));
        await OriginHarness.ProblemAsync(notJson, 415, "media-type");

        using var badId = await origin.Client.PutAsync("/v1/releases/.hidden", OriginHarness.Json(OriginHarness.Release("T", "", "t1")));
        Assert.Equal("{releaseId}", Assert.Single((await OriginHarness.ProblemAsync(badId, 422, "validation")).Errors!).Pointer);

        var ids = Enumerable.Range(0, 1001).Select(i => $"t{i}").ToArray();
        using var many = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", ids)));
        Assert.Equal("/tracks", Assert.Single((await OriginHarness.ProblemAsync(many, 422, "validation")).Errors!).Pointer);
        Assert.Empty(await origin.KeysAsync("catalog/"));

        using var most = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", ids[..1000])));
        Assert.Equal(HttpStatusCode.Created, most.StatusCode);
        Assert.Equal(1000, (await OriginHarness.ReadAsync(most, ApiJson.Default.ReleaseStatus)).Counts.AwaitingMaster);
    }

    [Fact]
    public async Task RemovedTrack_IsWithdrawn_AndComesBackAsItWas()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync("", "t1", "t2");
        await origin.PutReleaseAsync(trackIds: "t1");
        var withdrawn = await origin.TrackAsync("t2");
        Assert.Equal(TrackState.Withdrawn, withdrawn.State);
        Assert.Null(withdrawn.Title);
        Assert.NotNull(withdrawn.Published);
        using var refused = await origin.PlayAsync("""{"trackId": "t2", "tier": "premium"}""");
        await OriginHarness.ProblemAsync(refused, 404, "not-found");
        using var upload = await origin.PutMasterAsync([1], "t2");
        await OriginHarness.ProblemAsync(upload, 404, "not-found");
        using var stolen = await origin.Client.PutAsync("/v1/releases/r2", OriginHarness.Json(OriginHarness.Release("T", "", "t2")));
        await OriginHarness.ProblemAsync(stolen, 422, "validation");

        var back = await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        Assert.Equal(2, back.Counts.Ready);
        Assert.Equal("t2", (await origin.GrantAsync(trackId: "t2")).TrackId);
    }

    [Fact]
    public async Task ParallelPuts_OfOneRelease_AllSucceed_AndOneDocumentStands()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var other = await origin.StartAnotherAsync();
        var puts = Enumerable.Range(0, 16).Select(async i =>
        {
            using var response = await (i % 2 == 0 ? origin.Client : other).PutAsync(
                "/v1/releases/r1", OriginHarness.Json(OriginHarness.Release($"Title {i}", "", $"t{i}", "shared")));
            Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
            return (i, Release: await OriginHarness.ReadAsync(response, ApiJson.Default.ReleaseStatus));
        });
        var answers = await Task.WhenAll(puts);

        // Each saw its own document as one revision of sixteen, and the last one stands whole.
        Assert.Equal(Enumerable.Range(1, 16), answers.Select(a => a.Release.Revision).Order());
        Assert.All(answers, a => Assert.Equal($"Title {a.i}", a.Release.Title));
        var last = answers.MaxBy(a => a.Release.Revision);
        var stands = await origin.Client.GetFromJsonAsync("/v1/releases/r1", ApiJson.Default.ReleaseStatus);
        Assert.Equal((16, $"Title {last.i}"), (stands!.Revision, stands.Title));
        Assert.Equal([$"t{last.i}", "shared"], stands.Tracks.Select(t => t.TrackId));
    }

    [Fact]
    public async Task ParallelReleases_ThatWantOneTrack_OneGetsIt()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var other = await origin.StartAnotherAsync();
        var puts = Enumerable.Range(0, 8).Select(async i =>
        {
            using var response = await (i % 2 == 0 ? origin.Client : other).PutAsync($"/v1/releases/r{i}", OriginHarness.Json(OriginHarness.Release("T", "", "wanted")));
            return (i, response.StatusCode);
        });
        var answers = await Task.WhenAll(puts);
        var winner = Assert.Single(answers, a => a.StatusCode == HttpStatusCode.Created).i;
        Assert.Equal(7, answers.Count(a => a.StatusCode == HttpStatusCode.UnprocessableEntity));
        Assert.Equal($"r{winner}", (await origin.TrackAsync("wanted")).ReleaseId);
    }

    [Fact]
    public async Task List_PagesInOrder_AndCountsStates()
    {
        await using var origin = await OriginHarness.StartAsync();
        foreach (var id in new[] { "c", "a", "e", "b", "d" })
            await origin.PutReleaseAsync(id, trackIds: $"track-{id}");
        await origin.UploadAsync([1, 2], "track-c", "c");

        var seen = new List<string>();
        for (var next = "/v1/releases?limit=2"; next is not null;)
        {
            var page = (await origin.Client.GetFromJsonAsync(next, ApiJson.Default.ReleasePage))!;
            Assert.InRange(page.Releases.Count, 1, 2);
            seen.AddRange(page.Releases.Select(r => $"{r.ReleaseId}{r.Counts.Queued}{r.Counts.AwaitingMaster}"));
            next = page.Next;
        }

        Assert.Equal(["a01", "b01", "c10", "d01", "e01"], seen);
        using var bad = await origin.Client.GetAsync("/v1/releases?limit=0");
        Assert.Equal("?limit", Assert.Single((await OriginHarness.ProblemAsync(bad, 422, "validation")).Errors!).Pointer);
    }

    [Fact]
    public async Task AnotherOrigin_ReadsByIdAtOnce_AndListsAfterItsRefresh()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.ReadModelRefresh = TimeSpan.FromSeconds(1));
        using var other = await origin.StartAnotherAsync();
        Assert.Empty((await other.GetFromJsonAsync("/v1/releases", ApiJson.Default.ReleasePage))!.Releases);
        await origin.PutReleaseAsync();
        Assert.Equal("Night Shift", (await other.GetFromJsonAsync("/v1/releases/r1", ApiJson.Default.ReleaseStatus))!.Title);
        await Until.TrueAsync(async () => (await other.GetFromJsonAsync("/v1/releases", ApiJson.Default.ReleasePage))!.Releases.Count, n => n == 1);
    }

    [Fact]
    public async Task UnknownThings_AreNotFound()
    {
        await using var origin = await OriginHarness.StartAsync();
        foreach (var path in new[] { "/v1/releases/nope", "/v1/releases/.nope", "/v1/tracks/nope", "/v1/tracks/a%2Fb", "/v1/jobs/nope.1", "/v1/jobs/nope", "/nope", "/" })
        {
            using var response = await origin.Client.GetAsync(path);
            await OriginHarness.ProblemAsync(response, 404, "not-found");
        }

        using var wrongMethod = await origin.Client.DeleteAsync("/v1/releases/r1");
        await OriginHarness.ProblemAsync(wrongMethod, 405, "method-not-allowed");
        Assert.Equal(["GET", "PUT"], wrongMethod.Content.Headers.Allow.Order());
    }

    [Fact]
    public async Task StoreFailures_AreProblems_ByOneTable()
    {
        await using var origin = await OriginHarness.StartAsync();
        foreach (var (error, status, type) in new[]
        {
            (StoreError.Full, 507, "storage-full"), (StoreError.Unavailable, 503, "no-changes"), (StoreError.Denied, 500, "store"), (StoreError.Corrupt, 500, "store"),
        })
        {
            origin.Store.BeforeWrite = _ => throw new StoreException(error, "secret details");
            using var response = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", "t1")));
            await OriginHarness.ProblemAsync(response, status, type);
            Assert.DoesNotContain("secret details", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            Assert.Equal(status == 503, response.Headers.RetryAfter is not null);
        }

        // Somebody else always gets there first.
        var writes = 0;
        origin.Store.BeforeWrite = _ => { Interlocked.Increment(ref writes); throw new StoreException(StoreError.PreconditionFailed, "secret details"); };
        using var conflict = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", "t1")));
        await OriginHarness.ProblemAsync(conflict, 409, "conflict");
        Assert.Equal(Delivery.Origin.Catalog.CatalogStore.MaxAttempts, writes);

        origin.Store.BeforeWrite = _ => throw new InvalidOperationException("secret details");
        using var unknown = await origin.Client.PutAsync("/v1/releases/r1", OriginHarness.Json(OriginHarness.Release("T", "", "t1")));
        await OriginHarness.ProblemAsync(unknown, 500, "internal");
        Assert.DoesNotContain("secret details", await unknown.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ManifestOfANewerOrigin_KeepsItsMembers_AndAnotherFormatIsRefused()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var path = Path.Combine(origin.StoreFolder, "catalog/releases/r1.json");
        await File.WriteAllTextAsync(path, (await File.ReadAllTextAsync(path)).Replace("\"format\":1,", "\"format\":1,\"fromTheFuture\":{\"x\":[1]},", StringComparison.Ordinal));
        await origin.PutReleaseAsync(title: "Changed");
        Assert.Equal(1, (await origin.ManifestAsync("catalog/releases/r1.json")).GetProperty("fromTheFuture").GetProperty("x")[0].GetInt32());

        await File.WriteAllTextAsync(path, (await File.ReadAllTextAsync(path)).Replace("\"format\":1,", "\"format\":2,", StringComparison.Ordinal));
        using var response = await origin.Client.GetAsync("/v1/releases/r1");
        await OriginHarness.ProblemAsync(response, 500, "store");
    }
}
