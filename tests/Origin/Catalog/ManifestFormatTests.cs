using System.Text.Json;
using Delivery.Origin.Api;

namespace Delivery.Origin.Tests.Catalog;

/// <summary>The manifests are read by other programs and other versions: their members are those of docs/formats/catalog.md, pinned here.</summary>
public class ManifestFormatTests
{
    [Fact]
    public async Task Manifests_HaveTheDocumentedMembers()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync(""", "label": "L", "upc": "036000291452", "territories": {"deny": ["SE"]}, "tiers": ["free"], "availableFrom": "2026-11-27T00:00:00Z" """);
        var release = await origin.ManifestAsync("catalog/releases/r1.json");
        Assert.Equal(
            """{"format":1,"releaseId":"r1","revision":1,"createdAt":"2026-11-21T12:00:00+00:00","updatedAt":"2026-11-21T12:00:00+00:00","document":{"title":"Night Shift","artists":["The Examples"],"label":"L","upc":"036000291452","tracks":[{"id":"t1","title":"Track t1","number":1}],"territories":{"deny":["SE"]},"tiers":["free"],"availableFrom":"2026-11-27T00:00:00+00:00"}}""",
            release.GetRawText());

        var track = await origin.ManifestAsync("catalog/tracks/t1.json");
        Assert.Equal(["format", "trackId", "releaseId", "revision", "updatedAt", "state", "master", "published"], Names(track));
        Assert.Equal("ready", track.GetProperty("state").GetString());
        Assert.Equal(["uploadId", "key", "sha256", "bytes", "filename", "ladder", "uploadedAt"], Names(track.GetProperty("master")));
        var published = track.GetProperty("published");
        Assert.Equal(["masterSha256", "ladder", "encoder", "resultKey", "publishedAt", "master", "loudness", "report", "waveform", "warnings", "renditions"], Names(published));
        var rendition = published.GetProperty("renditions")[0];
        Assert.Equal(
            ["quality", "codec", "codecString", "fileId", "extension", "contentType", "bytes", "bitrate", "sampleRate", "channels", "gapless", "firstSoundBytes", "sha256"],
            Names(rendition));

        var file = await origin.ManifestAsync($"catalog/files/{rendition.GetProperty("fileId").GetString()}.json");
        Assert.Equal(["format", "fileId", "key", "contentType", "bytes", "sha256", "chunkBytes", "chunkSha256", "timeMap", "tracks"], Names(file));

        await origin.UploadAsync([5]);
        await origin.Farm.FailAsync((await origin.Farm.TakeAsync()).Job, Transcoder.Jobs.JobFailure.CorruptMaster, "broken");
        await origin.TrackBecomesAsync(TrackState.Failed);
        var failure = (await origin.ManifestAsync("catalog/tracks/t1.json")).GetProperty("failure");
        Assert.Equal("""{"code":"corruptMaster","message":"broken","at":"1970-01-01T00:00:00+00:00"}""", failure.GetRawText());
    }

    private static IEnumerable<string> Names(JsonElement value) => value.EnumerateObject().Select(p => p.Name);
}
