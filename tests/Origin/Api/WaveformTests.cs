using System.Net;
using System.Net.Http.Headers;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder.Results;

namespace Delivery.Origin.Tests.Api;

public class WaveformTests
{
    private const string Path = "/v1/tracks/t1/waveform";
    private const string Json = """{"version":2,"channels":1,"sample_rate":44100,"samples_per_pixel":1024,"bits":8,"length":2,"data":[-10,20,-128,127]}""";

    [Fact]
    public async Task Waveform_IsJsonOrTheFile_AsItIsAskedFor_AndRevalidates()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await OriginHarness.ProblemAsync(await origin.Client.GetAsync(Path), 404, "not-found");
        await OriginHarness.ProblemAsync(await origin.Client.GetAsync("/v1/tracks/none/waveform"), 404, "not-found");
        await origin.UploadAsync([1, 2, 3]);
        var set = await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);

        using var player = origin.ClientOf(ApiRole.Playback);
        using var json = await AskAsync(null);
        Assert.Equal(("application/json", Json), (json.Content.Headers.ContentType!.MediaType, await json.Content.ReadAsStringAsync()));
        Assert.Equal(("private, max-age=300", "Accept"), (json.Headers.CacheControl!.ToString().Replace("max-age=300, private", "private, max-age=300", StringComparison.Ordinal), json.Headers.Vary.Single()));
        using var file = await AskAsync("application/json;q=0.1, application/octet-stream");
        var bytes = await file.Content.ReadAsByteArrayAsync();
        Assert.Equal(("application/octet-stream", set.Waveform.Bytes), (file.Content.Headers.ContentType!.MediaType, bytes.Length));
        Assert.Equal(set.Waveform.Sha256, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)));
        Assert.NotEqual(json.Headers.ETag, file.Headers.ETag);

        using var again = await AskAsync(null, json.Headers.ETag);
        Assert.Equal((HttpStatusCode.NotModified, json.Headers.ETag), (again.StatusCode, again.Headers.ETag));
        using var other = await AskAsync("application/octet-stream", json.Headers.ETag);
        Assert.Equal(HttpStatusCode.OK, other.StatusCode);

        async Task<HttpResponseMessage> AskAsync(string? accept, EntityTagHeaderValue? known = null)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, Path);
            if (accept is not null)
                request.Headers.Add("Accept", accept);
            if (known is not null)
                request.Headers.IfNoneMatch.Add(known);
            return await player.SendAsync(request);
        }
    }

    [Fact]
    public async Task Waveform_OfOtherBytesThanTheManifestNames_IsNotServed_AndALostOneIsNotFound()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var set = await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        var key = ResultKeys.Waveform(ResultKeys.Manifest(set.MasterSha256, set.Ladder, set.Encoder));
        await origin.Store.WriteAsync(key, new MemoryStream(new byte[set.Waveform.Bytes]), new ObjectWrite { ContentType = "application/octet-stream" }, default);
        await OriginHarness.ProblemAsync(await origin.Client.GetAsync(Path), 500, "store");
        Assert.True(await origin.Store.DeleteAsync(key, default));
        await OriginHarness.ProblemAsync(await origin.Client.GetAsync(Path), 404, "not-found");
    }
}
