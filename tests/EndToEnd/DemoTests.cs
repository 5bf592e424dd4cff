using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;

namespace Delivery.EndToEnd.Tests;

/// <summary>The main job, as its users see it.</summary>
[Collection(nameof(DemoStack))]
public sealed class DemoTests(DemoStack stack)
{
    private static readonly string[] Lossy = ["low aac", "normal vorbis", "normal aac", "high vorbis", "high aac", "veryhigh vorbis", "veryhigh aac"];

    private static readonly string[] Always = [.. Lossy, "lossless flac", "preview vorbis", "preview aac"];

    [Fact]
    public void Demo_PlaysTheWholeLadderOfEveryTrack()
    {
        Assert.Equal("done", stack.End);
        var tracks = stack.Renditions.GroupBy(rendition => rendition.Track).ToList();
        Assert.Equal(3, tracks.Count);
        foreach (var track in tracks)
        {
            var made = track.Select(rendition => $"{rendition.Quality} {rendition.Codec}").ToHashSet();
            Assert.Superset(Always.ToHashSet(), made);
            // Hi-res is made only where the master has it.
            Assert.True(made.Except(Always).All(extra => extra == "hires flac"), string.Join(", ", made));
        }

        Assert.Contains(stack.Renditions, rendition => rendition.Quality == "hires");
        Assert.Contains(tracks, track => track.All(rendition => rendition.Quality != "hires"));
    }

    [Fact]
    public async Task EveryRendition_IsServedWhole_AndIsTheFileThatItsNameSays()
    {
        using var http = new HttpClient();
        foreach (var rendition in stack.Renditions)
        {
            using var response = await http.GetAsync(rendition.Url, TestContext.Current.CancellationToken);
            var bytes = await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken);

            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal(rendition.Bytes, bytes.Length);
            Assert.StartsWith(rendition.FileId, Convert.ToHexStringLower(SHA256.HashData(bytes)), StringComparison.Ordinal);
            Assert.Equal($"\"{rendition.FileId}\"", response.Headers.ETag!.Tag);
            Assert.True(response.Headers.CacheControl!.Private);
            Assert.Contains("immutable", response.Headers.CacheControl.ToString(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task RangesSeekAndRevalidate_AsPlayersDo()
    {
        using var http = new HttpClient();
        var rendition = stack.Renditions.First(candidate => candidate is { Quality: "veryhigh", Codec: "vorbis" });
        var whole = await http.GetByteArrayAsync(rendition.Url, TestContext.Current.CancellationToken);

        foreach (var (from, to) in ((long?, long?)[])[(0, 65535), (0, null), (131071, 131072), (rendition.Bytes - 1, rendition.Bytes + 100), (null, 1000)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, rendition.Url) { Headers = { Range = new RangeHeaderValue(from, to) } };
            using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);
            var first = from ?? rendition.Bytes - to!.Value;
            var last = from is null ? rendition.Bytes - 1 : Math.Min(to ?? long.MaxValue, rendition.Bytes - 1);

            Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
            Assert.Equal(new ContentRangeHeaderValue(first, last, rendition.Bytes), response.Content.Headers.ContentRange);
            Assert.Equal(whole[(int)first..(int)(last + 1)], await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        }

        using var conditional = new HttpRequestMessage(HttpMethod.Get, rendition.Url) { Headers = { IfNoneMatch = { new EntityTagHeaderValue($"\"{rendition.FileId}\"") } } };
        using var unchanged = await http.SendAsync(conditional, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);

        using var past = new HttpRequestMessage(HttpMethod.Get, rendition.Url) { Headers = { Range = new RangeHeaderValue(rendition.Bytes, null) } };
        using var unsatisfiable = await http.SendAsync(past, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, unsatisfiable.StatusCode);
        Assert.Equal(new ContentRangeHeaderValue(rendition.Bytes), unsatisfiable.Content.Headers.ContentRange);
    }

    [Fact]
    public async Task TamperedOrBareUrls_AndMasters_AreRefused()
    {
        using var http = new HttpClient();
        var good = stack.Renditions[0].Url.ToString();
        var path = stack.Renditions[0].Url.AbsolutePath;
        using var origin = ApiClient();
        var track = await origin.GetFromJsonAsync<JsonElement>($"/v1/tracks/{stack.Renditions[0].Track}", TestContext.Current.CancellationToken);
        var master = Directory.EnumerateFiles(Path.Combine(stack.Data, "store", "masters", stack.Renditions[0].Track)).First();
        var (_, signedMaster, _) = await stack.RunAsync("sign", $"/masters/{stack.Renditions[0].Track}/{Path.GetFileName(master)}");

        Assert.Equal("ready", track.GetProperty("state").GetString());
        foreach (var (url, expected) in ((string, HttpStatusCode)[])[
            (good.Replace("expires=1", "expires=2", StringComparison.Ordinal), HttpStatusCode.Forbidden),
            (good[..^1] + (good[^1] == 'A' ? 'B' : 'A'), HttpStatusCode.Forbidden),
            (new Uri(stack.Edge, path).ToString(), HttpStatusCode.Forbidden),
            (signedMaster.Trim(), HttpStatusCode.NotFound)])
        {
            using var response = await http.GetAsync(new Uri(url), TestContext.Current.CancellationToken);
            Assert.Equal(expected, response.StatusCode);
            Assert.True(response.Headers.CacheControl!.NoStore);
            Assert.False(response.Headers.Contains("Delivery-Token-Verdict"));
        }
    }

    [Fact]
    public async Task UnknownTrackAndWrongKey_AreProblemDocuments()
    {
        using var origin = ApiClient();
        using var unknown = await origin.PostAsJsonAsync("/v1/playback", new { trackId = "nope", tier = "premium" }, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        Assert.Equal("application/problem+json", unknown.Content.Headers.ContentType!.MediaType);

        origin.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "dk_wrong");
        using var refused = await origin.GetAsync("/v1/releases", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
    }

    [Fact]
    public async Task IngestAgain_ChangesNothing()
    {
        var before = await ReleaseAsync();

        var (code, output, errors) = await stack.RunAsync("ingest", Path.Combine(stack.Data, "demo"), "--json");

        Assert.True(code == 0, errors);
        Assert.All(output.Split('\n', StringSplitOptions.RemoveEmptyEntries), line =>
        {
            var track = JsonSerializer.Deserialize<JsonElement>(line);
            Assert.Equal("ready", track.GetProperty("state").GetString());
            Assert.False(track.GetProperty("uploaded").GetBoolean());
        });
        Assert.Equal(before, await ReleaseAsync());
    }

    [Fact]
    public async Task CommandLine_FindsTheStack_ListsSignsAndVerifies()
    {
        var (listed, list, _) = await stack.RunAsync("releases");
        Assert.Equal(0, listed);
        Assert.Contains("demo-album", list, StringComparison.Ordinal);

        var (shown, show, _) = await stack.RunAsync("release", "demo-album");
        Assert.Equal(0, shown);
        Assert.Contains("LUFS", show, StringComparison.Ordinal);

        var track = stack.Renditions[0].Track;
        var (signed, url, errors) = await stack.RunAsync("sign", "--track", track, "--quality", "high", "--codec", "aac");
        Assert.True(signed == 0, errors);
        using var http = new HttpClient();
        using var head = await http.SendAsync(new HttpRequestMessage(HttpMethod.Head, url.Trim()), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        Assert.Equal("audio/mp4", head.Content.Headers.ContentType!.MediaType);

        Assert.Equal(0, (await stack.RunAsync("verify", url.Trim())).ExitCode);
        Assert.Equal(1, (await stack.RunAsync("verify", url.Trim() + "x")).ExitCode);
    }

    [Fact]
    public async Task RotatedKeys_ReachEdgeAndOriginWithoutRestart()
    {
        var (added, _, errors) = await stack.RunAsync("keys", "add", "k9");
        Assert.True(added == 0, errors);
        Assert.Equal(0, (await stack.RunAsync("keys", "use", "k9")).ExitCode);

        using var http = new HttpClient();
        using var origin = ApiClient();
        var request = new { trackId = stack.Renditions[0].Track, tier = "premium" };
        var deadline = DateTime.UtcNow.AddSeconds(20);
        while (true)
        {
            using var answer = await origin.PostAsJsonAsync("/v1/playback", request, TestContext.Current.CancellationToken);
            var url = (await answer.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken)).GetProperty("url").GetString()!;
            using var played = await http.GetAsync(new Uri(url), HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
            if (url.Contains("kid=k9", StringComparison.Ordinal) && played.IsSuccessStatusCode)
                break;
            Assert.True(DateTime.UtcNow < deadline, $"still {url} ({played.StatusCode})");
            await Task.Delay(TimeSpan.FromMilliseconds(100), TestContext.Current.CancellationToken);
        }

        // URLs of the key before stay valid.
        using var old = await http.GetAsync(stack.Renditions[0].Url, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, old.StatusCode);
    }

    private HttpClient ApiClient() => new() { BaseAddress = stack.Origin, DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", stack.ApiKey) } };

    private async Task<string> ReleaseAsync()
    {
        using var origin = ApiClient();
        return await origin.GetStringAsync("/v1/releases/demo-album", TestContext.Current.CancellationToken);
    }
}
