using System.Net;
using System.Net.Http.Json;
using Delivery.Origin.Api;

namespace Delivery.Origin.Tests.Api;

public class LadderTests
{
    public const string Radio = """{"format":1,"name":"radio-1","rungs":[{"quality":"normal","codec":"Vorbis","bitrate":96000}]}""";

    [Fact]
    public async Task Ladder_IsAddedOnce_ForGood()
    {
        await using var origin = await OriginHarness.StartAsync();
        using (var created = await PutAsync(origin, "radio-1", Radio))
        {
            Assert.Equal(HttpStatusCode.Created, created.StatusCode);
            Assert.Equal("/v1/ladders/radio-1", created.Headers.Location?.OriginalString);
        }

        using (var same = await PutAsync(origin, "radio-1", Radio.Replace(",", " , ", StringComparison.Ordinal)))
            Assert.Equal(HttpStatusCode.OK, same.StatusCode);
        using (var other = await PutAsync(origin, "radio-1", Radio.Replace("96000", "128000", StringComparison.Ordinal)))
            Assert.Contains("new version", (await OriginHarness.ProblemAsync(other, 409, "ladder-exists")).Detail, StringComparison.Ordinal);
        Assert.Equal(Radio, await origin.Client.GetStringAsync("/v1/ladders/radio-1"));
        Assert.Contains("\"HeAacV2\"", await origin.Client.GetStringAsync("/v1/ladders/default-1"), StringComparison.Ordinal);
        Assert.Equal(
            [new("default-1", true, true), new("radio-1", false, false)],
            (await origin.Client.GetFromJsonAsync("/v1/ladders", ApiJson.Default.LadderList))!.Ladders);
        using var unknown = await origin.Client.GetAsync("/v1/ladders/none-1");
        await OriginHarness.ProblemAsync(unknown, 404, "not-found");
    }

    [Fact]
    public async Task WrongLadder_IsRefused_WithEveryFault()
    {
        await using var origin = await OriginHarness.StartAsync();
        using (var wrong = await PutAsync(origin, "radio-1", Radio.Replace("96000", "1", StringComparison.Ordinal).Replace("normal", "best", StringComparison.Ordinal)))
            Assert.Equal(2, (await OriginHarness.ProblemAsync(wrong, 422, "validation")).Errors!.Count);
        using (var named = await PutAsync(origin, "radio-2", Radio))
            Assert.Equal("/name", Assert.Single((await OriginHarness.ProblemAsync(named, 422, "validation")).Errors!).Pointer);
        using (var large = await PutAsync(origin, "radio-1", Radio + new string(' ', 64 * 1024)))
            await OriginHarness.ProblemAsync(large, 413, "too-large");
        Assert.Empty(await origin.KeysAsync("ladders/"));
    }

    [Fact]
    public async Task OriginWhoseLadderIsNotThere_TakesNoMasters_UntilItIs()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.Ladder = "radio-1");
        await origin.PutReleaseAsync();
        using (var refused = await origin.PutMasterAsync([1]))
            Assert.Contains("radio-1", (await OriginHarness.ProblemAsync(refused, 503, "unavailable")).Detail, StringComparison.Ordinal);
        using (await PutAsync(origin, "radio-1", Radio))
        {
        }

        await origin.UploadAsync([1]);
        Assert.Equal("radio-1", (await origin.Farm.TakeAsync()).Job.Ladder);
    }

    internal static Task<HttpResponseMessage> PutAsync(OriginHarness origin, string name, string json) => origin.Client.PutAsync($"/v1/ladders/{name}", OriginHarness.Json(json));
}
