using System.Net;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Farm;

public class RecoveryTests
{
    [Fact]
    public async Task OriginThatEndsBeforeItEnqueued_EnqueuesAtItsNextStart()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();

        // The dispatcher reads the release for the deadline before it enqueues: hold it there, and end the origin.
        var held = new TaskCompletionSource();
        var uploaded = false;
        origin.Store.BeforeWrite = key => { uploaded |= key == "catalog/tracks/t1.json"; return Task.CompletedTask; };
        origin.Store.BeforeRead = async (key, cancelled) =>
        {
            if (uploaded && key == "catalog/releases/r1.json")
            {
                held.TrySetResult();
                await Task.Delay(Timeout.Infinite, cancelled);
            }
        };
        var accepted = await origin.UploadAsync([1, 2, 3]);
        await held.Task.WaitAsync(Until.Limit);
        var queue = origin.Queue;
        await origin.StopNodeAsync();
        origin.Store.BeforeRead = (_, _) => Task.CompletedTask;
        await AssertEmptyAsync(queue);

        await origin.StartNodeAsync();
        var job = (await origin.Farm.TakeAsync()).Job;
        Assert.Equal(accepted.Job!.JobId, job.JobId);
        await origin.Farm.WorkAsync(job);
        await origin.Farm.DoneAsync(job);
        await origin.TrackBecomesAsync(TrackState.Ready);
    }

    [Fact]
    public async Task Restart_KeepsReadyAndFailed_AndEnqueuesOnlyTheQueued()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(trackIds: ["failed", "none", "queued", "ready"]);
        await origin.UploadAsync([1], "ready");
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready, "ready");
        await origin.UploadAsync([2], "failed");
        await origin.Farm.FailAsync((await origin.Farm.TakeAsync()).Job, JobFailure.CorruptMaster, "broken");
        await origin.TrackBecomesAsync(TrackState.Failed, "failed");
        await origin.UploadAsync([3], "queued");
        await origin.StopNodeAsync();
        await origin.StartNodeAsync();

        Assert.Equal("queued", (await origin.Farm.TakeAsync()).Job.TrackId);
        await AssertEmptyAsync(origin.Queue);
        Assert.Equal(TrackState.Ready, (await origin.TrackAsync("ready")).State);
        Assert.Equal("broken", (await origin.TrackAsync("failed")).Failure!.Message);
        Assert.Equal("ready", (await origin.GrantAsync(trackId: "ready")).TrackId);
        using var response = await origin.Client.GetAsync("/v1/releases");
        var counts = Assert.Single((await OriginHarness.ReadAsync(response, ApiJson.Default.ReleasePage)).Releases).Counts;
        Assert.Equal(new TrackCounts(4, 1, 1, 0, 1, 1), counts);
    }

    [Fact]
    public async Task RetiredFiles_ThatACrashLeft_AreCleanedAtStart()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        var old = (await origin.TrackAsync()).Published!.Renditions.Select(r => r.FileId).ToList();
        await origin.UploadAsync([2]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.WorkAsync(job);

        // The store fails from the moment that the track is switched over.
        var switched = false;
        origin.Store.BeforeWrite = key =>
        {
            if (switched)
                throw new StoreException(StoreError.Unavailable, "power cut");
            switched = key == "catalog/tracks/t1.json";
            return Task.CompletedTask;
        };
        await origin.Farm.DoneAsync(job);
        await origin.TrackBecomesAsync(TrackState.Ready);
        await origin.StopNodeAsync();
        Assert.Equal(old.Order(), (await origin.ManifestAsync("catalog/tracks/t1.json")).GetProperty("retired").EnumerateArray().Select(f => f.GetString()!).Order());

        origin.Store.BeforeWrite = _ => Task.CompletedTask;
        await origin.StartNodeAsync();
        await Until.TrueAsync(async () => (await origin.ManifestAsync("catalog/tracks/t1.json")).TryGetProperty("retired", out _), left => !left);
        foreach (var file in old)
            Assert.Equal(0, (await origin.ManifestAsync($"catalog/files/{file}.json")).GetProperty("tracks").GetArrayLength());
    }

    [Fact]
    public async Task StoreAwayAtStart_ListsWait_PlaybackComesBack_AndTheNodeIsNotReadyUntilThen()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        await origin.StopNodeAsync();
        var gate = new TaskCompletionSource();
        origin.Store.BeforeList = _ => gate.Task;
        await origin.StartNodeAsync();
        using var admin = new HttpClient { BaseAddress = origin.Node.AdminAddress };
        using (var notReady = await admin.GetAsync("/readyz"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, notReady.StatusCode);
            Assert.Contains("catalog", await notReady.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        var list = origin.Client.GetAsync("/v1/releases");
        await origin.GrantAsync();
        Assert.False(list.IsCompleted);
        gate.SetResult();
        Assert.Equal(HttpStatusCode.OK, (await list).StatusCode);
        using var ready = await admin.GetAsync("/readyz");
        Assert.Equal(HttpStatusCode.OK, ready.StatusCode);
    }

    [Fact]
    public async Task UnreadableManifest_IsLogged_AndTheRestIsListed()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync("good", trackIds: "t1");
        await origin.StopNodeAsync();
        await File.WriteAllTextAsync(Path.Combine(origin.StoreFolder, "catalog/releases/bad.json"), "{ torn");
        await File.WriteAllTextAsync(Path.Combine(origin.StoreFolder, "catalog/tracks/bad.json"), "null");
        using var log = new CapturingLog();
        origin.Loggers = log;
        await origin.StartNodeAsync();
        using var response = await origin.Client.GetAsync("/v1/releases");
        Assert.Equal("good", Assert.Single((await OriginHarness.ReadAsync(response, ApiJson.Default.ReleasePage)).Releases).ReleaseId);
        Assert.Contains("catalog/releases/bad.json", log.Text, StringComparison.Ordinal);
        Assert.Contains("catalog/tracks/bad.json", log.Text, StringComparison.Ordinal);
        using var bad = await origin.Client.GetAsync("/v1/releases/bad");
        await OriginHarness.ProblemAsync(bad, 500, "store");
    }

    private static async Task AssertEmptyAsync(InProcessJobQueue queue)
    {
        // Jobs come first in, first out: when the marker is next, nothing was before it.
        await queue.EnqueueAsync(new TranscodeJob { JobId = "marker.1", TrackId = "marker", MasterKey = "m", MasterSha256 = "", MasterBytes = 1, Ladder = "x" }, default);
        Assert.Equal("marker", (await queue.ReceiveAsync(default).AsTask().WaitAsync(Until.Limit)).Job.TrackId);
    }
}
