using System.Net;
using System.Net.Http.Json;
using System.Text;
using Delivery.Origin.Api;
using Delivery.Origin.Backfills;
using Delivery.Origin.Tests.Api;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Tests.Farm;

public class BackfillTests
{
    [Fact]
    public async Task Catalogue_IsMadeAnew_AWindowAtATime_BehindReleases_AndFailuresLeaveWhatPlays()
    {
        await using var origin = await StartAsync(h => h.Options.BackfillWindow = 2, "bad", "gone", "t1", "t2", "t3");
        await origin.PutReleaseAsync(trackIds: ["bad", "t1", "t2", "t3", "waits"]);
        var before = (await origin.TrackAsync("bad")).Published!;
        var started = await OrderAsync(origin);
        Assert.Equal(
            ("radio-1", BackfillState.Running, 5, 0, 0, 1, 4),
            (started.BackfillId, started.State, started.Total, started.Done, started.Failed, started.Skipped, started.Outstanding));

        var (first, second) = (await origin.Farm.TakeAsync(), await origin.Farm.TakeAsync());
        Assert.Equal(("bad", "radio-1", JobPriority.Backfill), (first.Job.TrackId, first.Job.Ladder, first.Job.Priority));
        Assert.EndsWith("~radio-1", first.Job.JobId, StringComparison.Ordinal);
        await origin.Farm.FailAsync(first.Job, JobFailure.EncoderFailed, "The encoder gave up.");
        await Until.TrueAsync(() => ShowAsync(origin), b => b.Failed == 1);
        var third = await origin.Farm.TakeAsync();
        Assert.Equal(0, (await origin.Queue.MeasureAsync(default)).Total);

        // A release's job goes before what the backfill still has.
        await origin.UploadAsync([1], "waits");
        await origin.Farm.WorkAsync(second.Job, TestFarm.RadioLadder);
        await origin.Farm.DoneAsync(second.Job);
        await Until.TrueAsync(() => origin.Queue.MeasureAsync(default).AsTask(), d => d.Total == 2);
        Assert.Equal("waits", (await origin.Farm.TakeAsync()).Job.TrackId);
        await origin.Farm.WorkAsync(third.Job, TestFarm.RadioLadder);
        await origin.Farm.DoneAsync(third.Job);
        await origin.Farm.FinishNextAsync(TestFarm.RadioLadder);

        var done = await Until.TrueAsync(() => ShowAsync(origin), b => b.State == BackfillState.Done);
        Assert.Equal((3, 1, 1, 0), (done.Done, done.Failed, done.Skipped, done.Outstanding));
        Assert.Equal(("bad", JobFailure.EncoderFailed, "The encoder gave up."), Assert.Single(done.Failures) is var failed ? (failed.TrackId, failed.Failure.Code, failed.Failure.Message) : default);
        var made = await origin.TrackAsync("t1");
        Assert.Equal((TrackState.Ready, "radio-1", 1), (made.State, made.Published!.Ladder, made.Published.Renditions.Count));
        var kept = await origin.TrackAsync("bad");
        Assert.Equal((TrackState.Ready, "default-1", before.PublishedAt), (kept.State, kept.Published!.Ladder, kept.Published.PublishedAt));
        await origin.GrantAsync(trackId: "bad");

        // Ordered again, what failed is tried again.
        origin.Time.Advance(TimeSpan.FromSeconds(1));
        await OrderAsync(origin);
        await origin.Farm.FinishNextAsync(TestFarm.RadioLadder);
        Assert.Equal(4, (await Until.TrueAsync(() => ShowAsync(origin), b => b.State == BackfillState.Done)).Done);
    }

    [Fact]
    public async Task Restart_GoesOnWithWhatTheCatalogLacks()
    {
        await using var origin = await StartAsync(null, "t1", "t2");
        await OrderAsync(origin);
        await origin.Farm.FinishNextAsync(TestFarm.RadioLadder);
        await Until.TrueAsync(() => ShowAsync(origin), b => b.Done == 1);
        await origin.StopNodeAsync();
        origin.Time.Advance(TimeSpan.FromMinutes(2)); // The lease of the origin that is gone runs out.
        await origin.StartNodeAsync();
        Assert.Equal("t2", (await origin.Farm.TakeAsync()).Job.TrackId);
        await origin.Farm.DoneAsync((await WorkedAsync(origin, "t2"))!);
        Assert.Equal(2, (await Until.TrueAsync(() => ShowAsync(origin), b => b.State == BackfillState.Done)).Done);
    }

    [Fact]
    public async Task Cancel_TellsTheWorkers_AndLateResultsStayUnpublished()
    {
        using var log = new CapturingLog(LogLevel.Information);
        await using var origin = await StartAsync(h => h.Loggers = log, "t1");
        await OrderAsync(origin);
        var held = await origin.Farm.TakeAsync();
        await origin.Farm.WorkAsync(held.Job, TestFarm.RadioLadder);
        var told = new TaskCompletionSource();
        await using var registration = held.Cancelled.Register(told.SetResult);
        using (var cancel = await origin.Client.DeleteAsync("/v1/backfills/radio-1"))
            Assert.Equal(BackfillState.Cancelled, (await OriginHarness.ReadAsync(cancel, ApiJson.Default.BackfillStatus)).State);
        await told.Task.WaitAsync(Until.Limit);
        await origin.Farm.DoneAsync(held.Job);
        await Until.TrueAsync(() => Task.FromResult(log.Text), text => text.Contains($"{held.Job.JobId} is not published", StringComparison.Ordinal));
        Assert.Equal("default-1", (await origin.TrackAsync("t1")).Published!.Ladder);
        using var unknown = await origin.Client.DeleteAsync("/v1/backfills/none-1");
        await OriginHarness.ProblemAsync(unknown, 404, "not-found");
    }

    [Fact]
    public async Task NewMaster_Wins_AndItsLateDuplicateDoesNotUndoTheBackfill()
    {
        await using var origin = await StartAsync(null, "t1");
        await OrderAsync(origin);
        var old = await origin.Farm.TakeAsync();
        await origin.Farm.WorkAsync(old.Job, TestFarm.RadioLadder);
        await origin.UploadAsync([7, 7], "t1");
        var own = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.DoneAsync(old.Job);
        await origin.Farm.WorkAsync(own);
        await origin.Farm.DoneAsync(own);
        var track = await origin.TrackBecomesAsync(TrackState.Ready, "t1");
        Assert.Equal((own.MasterSha256, "default-1"), (track.Published!.MasterSha256, track.Published.Ladder));

        // While that was queued there may have been nothing to do, and an end; ordered again, the new master is made too.
        await Until.TrueAsync(
            async () =>
            {
                await OrderAsync(origin);
                return await origin.Queue.MeasureAsync(default);
            },
            depth => depth.Total == 1);
        await origin.Farm.FinishNextAsync(TestFarm.RadioLadder);
        await Until.TrueAsync(() => origin.TrackAsync("t1"), t => t.Published!.Ladder == "radio-1");
        await origin.Farm.DoneAsync(own);
        await AfterReportsAsync(origin);
        Assert.Equal("radio-1", (await origin.TrackAsync("t1")).Published!.Ladder);
    }

    [Fact]
    public async Task OrdersThatCannotBe_AreRefused()
    {
        await using var origin = await StartAsync(null, "t1");
        using (var unknown = await origin.Client.PostAsync("/v1/backfills", OriginHarness.Json("""{"ladder": "none-1"}""")))
            Assert.Equal("/ladder", Assert.Single((await OriginHarness.ProblemAsync(unknown, 422, "validation")).Errors!).Pointer);
        await OrderAsync(origin);
        Assert.Equal(BackfillState.Running, (await OrderAsync(origin)).State);
        using (var other = await origin.Client.PostAsync("/v1/backfills", OriginHarness.Json("""{"ladder": "default-1"}""")))
            await OriginHarness.ProblemAsync(other, 409, "backfill-running");
        Assert.Single((await origin.Client.GetFromJsonAsync("/v1/backfills", ApiJson.Default.BackfillList))!.Backfills);
    }

    /// <summary>An origin whose tracks are published with the default ladder, and the ladder radio-1.</summary>
    private static async Task<OriginHarness> StartAsync(Action<OriginHarness>? change, params string[] trackIds)
    {
        var origin = await OriginHarness.StartAsync(change);
        await origin.PutReleaseAsync("other", trackIds: "barrier");
        await origin.PublishAsync(trackIds: trackIds);
        using var added = await LadderTests.PutAsync(origin, "radio-1", LadderTests.Radio);
        Assert.Equal(HttpStatusCode.Created, added.StatusCode);
        return origin;
    }

    private static async Task<BackfillStatus> OrderAsync(OriginHarness origin)
    {
        using var response = await origin.Client.PostAsync("/v1/backfills", OriginHarness.Json("""{"ladder": "radio-1"}"""));
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal("/v1/backfills/radio-1", response.Headers.Location?.OriginalString);
        return await OriginHarness.ReadAsync(response, ApiJson.Default.BackfillStatus);
    }

    private static async Task<BackfillStatus> ShowAsync(OriginHarness origin) => (await origin.Client.GetFromJsonAsync("/v1/backfills/radio-1", ApiJson.Default.BackfillStatus))!;

    private static async Task<TranscodeJob> WorkedAsync(OriginHarness origin, string trackId)
    {
        var master = (await origin.TrackAsync(trackId)).Master!;
        var job = new TranscodeJob
        {
            JobId = $"{trackId}.{master.UploadId}~radio-1",
            TrackId = trackId,
            MasterKey = $"masters/{trackId}/{master.UploadId}.flac",
            MasterSha256 = master.Sha256,
            MasterBytes = master.Bytes,
            Ladder = "radio-1",
        };
        await origin.Farm.WorkAsync(job, TestFarm.RadioLadder);
        return job;
    }

    /// <summary>Reports come in order to four publishers: when each has had another one since, those before are settled.</summary>
    private static async Task AfterReportsAsync(OriginHarness origin)
    {
        await origin.UploadAsync(Encoding.UTF8.GetBytes(Guid.NewGuid().ToString()), "barrier", "other");
        for (var i = 0; i < 8; i++)
        {
            var job = (await origin.Farm.TakeAsync()).Job;
            await origin.Farm.FailAsync(job, JobFailure.Internal, "barrier");
            await origin.TrackBecomesAsync(TrackState.Failed, "barrier");
            using var retry = await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        }
    }
}
