using System.Net;
using System.Text.Json;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Farm;

/// <summary>A queue that outlives origins: what it has is not given to it again, and what it lost is.</summary>
public class KeptQueueTests
{
    [Fact]
    public async Task Restart_LeavesAloneWhatTheQueueHas()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.KeepQueue());
        await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        await origin.UploadAsync([1], "t1");
        var mark = await MarkAsync(origin, "t1");
        Assert.Equal(("later", OriginHarness.Start), (mark.GetProperty("urgency").GetString(), mark.GetProperty("at").GetDateTimeOffset()));
        await origin.StopNodeAsync();

        // As an origin leaves it that died between its manifest and the queue.
        var path = Path.Combine(origin.StoreFolder, "catalog/tracks/t2.json");
        var master = (await origin.ManifestAsync("catalog/tracks/t1.json")).GetProperty("master").GetRawText().Replace("t1", "t2", StringComparison.Ordinal);
        await File.WriteAllTextAsync(path, $$"""{"format":1,"trackId":"t2","releaseId":"r1","revision":2,"updatedAt":"2026-11-21T12:00:00Z","state":"queued","master":{{master}}}""");
        await origin.StartNodeAsync();
        await MarkAsync(origin, "t2");
        Assert.Equal(["t1", "t2"], origin.Kept!.Enqueued.Select(j => j.TrackId));

        // The end of a job takes its mark with it.
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        Assert.False((await origin.ManifestAsync("catalog/tracks/t1.json")).TryGetProperty("enqueued", out _));
    }

    [Fact]
    public async Task EarlierReleaseDate_MovesTheJobToAMoreUrgentLine_AndALaterOneDoesNot()
    {
        await using var origin = await OriginHarness.StartAsync(h =>
        {
            h.KeepQueue();
            h.Options.JobRepairInterval = TimeSpan.FromMilliseconds(100);
        });
        await origin.PutReleaseAsync(further: Date(days: 5));
        await origin.UploadAsync([1]);
        Assert.Equal("week", (await MarkAsync(origin, "t1")).GetProperty("urgency").GetString());
        await origin.PutReleaseAsync(further: Date(days: 30));
        await origin.PutReleaseAsync("r2", trackIds: "t2");
        await origin.UploadAsync([2], "t2", "r2");
        await MarkAsync(origin, "t2");
        await origin.PutReleaseAsync("r2", further: Date(days: 0.5), trackIds: "t2");
        await Until.TrueAsync(() => MarkAsync(origin, "t2"), m => m.GetProperty("urgency").GetString() == "day");
        Assert.Equal("week", (await MarkAsync(origin, "t1")).GetProperty("urgency").GetString());
        Assert.Equal([("t1", 5), ("t2", null), ("t2", 0.5)], origin.Kept!.Enqueued.Select(j => (j.TrackId, (j.Deadline - OriginHarness.Start)?.TotalDays)));

        static string Date(double days) => $", \"availableFrom\": \"{OriginHarness.Start.AddDays(days):yyyy-MM-ddTHH:mm:ssZ}\"";
    }

    [Fact]
    public async Task JobThatTheQueueLost_IsEnqueuedAgain_WhenNothingWaitsAndNobodyWorksOnIt()
    {
        await using var origin = await OriginHarness.StartAsync(h =>
        {
            h.KeepQueue();
            h.Options.JobRepairInterval = TimeSpan.FromMilliseconds(100);
        });
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1]);
        await MarkAsync(origin, "t1");
        await origin.StopNodeAsync();
        await using var old = origin.Queue;
        origin.KeepQueue(new InProcessJobQueue());
        await origin.StartNodeAsync();
        await origin.Client.GetAsync("/v1/releases");
        Assert.Empty(origin.Kept!.Enqueued);
        origin.Time.Advance(TimeSpan.FromMinutes(3));
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        Assert.Single(origin.Kept.Enqueued);
    }

    [Fact]
    public async Task RedeliveredTrackThatPlays_HasNoDeadline()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(further: """, "availableFrom": "1990-01-01T00:00:00Z" """);
        await origin.UploadAsync([1]);
        var first = await origin.Farm.TakeAsync();
        Assert.Equal(new DateTimeOffset(1990, 1, 1, 0, 0, 0, TimeSpan.Zero), first.Job.Deadline);
        await origin.Farm.WorkAsync(first.Job);
        await origin.Farm.DoneAsync(first.Job);
        await origin.TrackBecomesAsync(TrackState.Ready);
        await origin.UploadAsync([2]);
        Assert.Null((await origin.Farm.TakeAsync()).Job.Deadline);
    }

    private static Task<JsonElement> MarkAsync(OriginHarness origin, string trackId) => Until.TrueAsync(
        async () => (await origin.ManifestAsync($"catalog/tracks/{trackId}.json")).TryGetProperty("enqueued", out var mark) ? mark : default,
        mark => mark.ValueKind == JsonValueKind.Object);
}
