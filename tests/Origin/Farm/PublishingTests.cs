using System.Net;
using System.Net.Http.Json;
using System.Text;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Farm;

public class PublishingTests
{
    private static readonly (string, string, int, double)[] OneFile = [("high", "vorbis", 160_000, 20)];

    [Fact]
    public async Task FinishedJob_IsPublished_DownToEachRenditionAndFile()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var set = await origin.Farm.FinishNextAsync();
        var track = await origin.TrackBecomesAsync(TrackState.Ready);

        Assert.Equal((JobPhase.Done, 1d), (track.Job!.Phase, track.Job.Progress));
        Assert.Null(track.Failure);
        var published = track.Published!;
        Assert.Equal((set.MasterSha256, "default-1", "test-1", 20_000L), (published.MasterSha256, published.Ladder, published.Encoder, published.DurationMs));
        Assert.Equal((set.Loudness, set.Master), (published.Loudness, published.MasterFacts));
        Assert.Equal((-1.5, 16, false), (published.Report.SamplePeakDbfs, published.Report.UsedBits, published.Report.IdenticalChannels));
        Assert.Equal(set.Report.Channels, published.Report.Channels);
        Assert.Equal(set.Report.Silences, published.Report.Silences);
        Assert.Equal(["deadChannel", "leadingSilence"], published.Warnings.Select(w => w.Code));
        Assert.Equal(
            set.Renditions.Select(r => (r.Quality, r.Codec, r.FileId, "/" + r.Key, r.Bytes, r.Bitrate, r.Gapless, r.Sha256)),
            published.Renditions.Select(r => (r.Quality, r.Codec, r.FileId, r.Path, r.Bytes, r.Bitrate, r.Gapless, r.Sha256)));

        foreach (var rendition in set.Renditions)
        {
            var file = await origin.ManifestAsync($"catalog/files/{rendition.FileId}.json");
            Assert.Equal(rendition.Key, file.GetProperty("key").GetString());
            Assert.Equal(rendition.Sha256, file.GetProperty("sha256").GetString());
            Assert.Equal(rendition.ChunkSha256, file.GetProperty("chunkSha256").EnumerateArray().Select(c => c.GetString()!));
            Assert.Equal("[[0,0],[200,1000]]", file.GetProperty("timeMap").GetRawText());
            Assert.Equal(["t1"], file.GetProperty("tracks").EnumerateArray().Select(c => c.GetString()!));
        }
    }

    [Fact]
    public async Task Progress_ShowsWhileTheJobRuns()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.ProgressAsync(job, JobPhase.Encode, 0.42);
        var track = await origin.TrackBecomesAsync(TrackState.Transcoding);
        Assert.Equal((JobPhase.Encode, 0.42, 2), (track.Job!.Phase, track.Job.Progress, track.Job.Attempt));
        Assert.Equal((12.5, "worker-1", DateTimeOffset.UnixEpoch), (track.Job.SecondsLeft, track.Job.Worker, track.Job.UpdatedAt));
        var listed = await origin.Client.GetFromJsonAsync("/v1/jobs?phase=encode", ApiJson.Default.JobPage);
        Assert.Equal(track.Job, Assert.Single(listed!.Jobs));
        Assert.Equal(track.Job, await origin.Client.GetFromJsonAsync($"/v1/jobs/{job.JobId}", ApiJson.Default.JobStatus));
        Assert.Equal(1, (await origin.Client.GetFromJsonAsync("/v1/releases", ApiJson.Default.ReleasePage))!.Releases[0].Counts.Transcoding);
        Assert.Empty((await origin.Client.GetFromJsonAsync("/v1/jobs?phase=done", ApiJson.Default.JobPage))!.Jobs);
        using var bad = await origin.Client.GetAsync("/v1/jobs?phase=5");
        await OriginHarness.ProblemAsync(bad, 422, "validation");
    }

    [Fact]
    public async Task Progress_IsBounded()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.MaxLiveJobs = 1);
        await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        await origin.UploadAsync([1], "t1");
        await origin.UploadAsync([2], "t2");
        var (first, second) = ((await origin.Farm.TakeAsync()).Job, (await origin.Farm.TakeAsync()).Job);
        await origin.Farm.ProgressAsync(first, JobPhase.Encode, 0.1);
        await origin.Farm.ProgressAsync(second, JobPhase.Encode, 0.1);
        await origin.Farm.ProgressAsync(first, JobPhase.Verify, 0.9);
        await Until.TrueAsync(() => origin.TrackAsync(first.TrackId), t => t.Job!.Phase == JobPhase.Verify);
        Assert.Equal(TrackState.Queued, (await origin.TrackAsync(second.TrackId)).State);
    }

    [Fact]
    public async Task FailedJob_SaysWhy_AndARetryBringsItBack()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync(Encoding.UTF8.GetBytes("text named .flac"));
        var job = (await origin.Farm.TakeAsync()).Job;
        using var early = await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        await OriginHarness.ProblemAsync(early, 409, "not-failed");

        await origin.Farm.FailAsync(job, JobFailure.UnsupportedFormat, "It is text. Upload the recording.");
        var track = await origin.TrackBecomesAsync(TrackState.Failed);
        Assert.Equal(new TrackFailure(JobFailure.UnsupportedFormat, "It is text. Upload the recording.", DateTimeOffset.UnixEpoch), track.Failure);
        Assert.Equal(JobPhase.Failed, track.Job!.Phase);
        Assert.Contains("\"code\":\"unsupportedFormat\"", await origin.Client.GetStringAsync("/v1/tracks/t1"), StringComparison.Ordinal);
        using var play = await origin.PlayAsync("""{"trackId": "t1", "tier": "premium"}""");
        Assert.Equal(Delivery.Origin.Playback.PlaybackRefusal.NotReady, (await OriginHarness.ProblemAsync(play, 403, "playback-refused")).Reason);

        using var retry = await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        Assert.Equal(HttpStatusCode.Accepted, retry.StatusCode);
        Assert.Equal(JobPhase.Queued, (await OriginHarness.ReadAsync(retry, ApiJson.Default.JobStatus)).Phase);
        Assert.Null((await origin.TrackAsync()).Failure);
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        using var late = await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        await OriginHarness.ProblemAsync(late, 409, "not-failed");
        using var unknown = await origin.Client.PostAsync("/v1/jobs/t1.0:retry", null);
        await OriginHarness.ProblemAsync(unknown, 404, "not-found");
    }

    [Fact]
    public async Task DuplicateAndLateReports_ChangeNothing()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        await origin.UploadAsync([1, 2, 3]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.WorkAsync(job);
        await origin.Farm.DoneAsync(job);
        await origin.TrackBecomesAsync(TrackState.Ready);
        var before = await origin.ManifestAsync("catalog/tracks/t1.json");

        await origin.Farm.DoneAsync(job);
        await origin.Farm.FailAsync(job, JobFailure.Internal, "late");
        await origin.Farm.FailAsync(job with { TrackId = "nobody", JobId = "nobody.1" }, JobFailure.Internal, "stray");
        await origin.Farm.FailAsync(job with { TrackId = "../x", JobId = "x" }, JobFailure.Internal, "stray");
        await BarrierAsync(origin);
        Assert.Equal(before.GetRawText(), (await origin.ManifestAsync("catalog/tracks/t1.json")).GetRawText());
        Assert.DoesNotContain("catalog/tracks/nobody.json", await origin.KeysAsync("catalog/tracks/"));
    }

    [Fact]
    public async Task NewerMaster_Supersedes_AndTheOlderPlaysUntilThen()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        var old = (await origin.GrantAsync()).Url;
        await origin.UploadAsync([2], "t1");
        var second = (await origin.Farm.TakeAsync()).Job;
        await origin.UploadAsync([3], "t1");
        var third = (await origin.Farm.TakeAsync()).Job;

        // The second master's result comes when the third is current.
        await origin.Farm.WorkAsync(second);
        await origin.Farm.DoneAsync(second);
        await origin.Farm.FailAsync(second, JobFailure.CorruptMaster, "old news");
        using var superseded = await origin.Client.GetAsync($"/v1/jobs/{second.JobId}");
        await OriginHarness.ProblemAsync(superseded, 404, "not-found");
        Assert.Equal(TrackState.Queued, (await origin.TrackAsync()).State);
        Assert.Equal(PathOf(old), PathOf((await origin.GrantAsync()).Url));

        await origin.Farm.WorkAsync(third);
        await origin.Farm.DoneAsync(third);
        var track = await origin.TrackBecomesAsync(TrackState.Ready);
        Assert.Equal(third.MasterSha256, track.Published!.MasterSha256);
        Assert.NotEqual(PathOf(old), PathOf((await origin.GrantAsync()).Url));
        await UsersBecomeAsync(origin, FileOf(old), []);
        await Until.TrueAsync(async () => (await origin.ManifestAsync("catalog/tracks/t1.json")).TryGetProperty("retired", out _), left => !left);
    }

    [Fact]
    public async Task SameRecordingOnTwoTracks_IsOneFile_WithTwoUsers_AndKeepsTheOther()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        foreach (var id in new[] { "t2", "t1" })
        {
            await origin.UploadAsync([7, 7], id);
            await origin.Farm.FinishNextAsync(OneFile);
            await origin.TrackBecomesAsync(TrackState.Ready, id);
        }

        var file = (await origin.TrackAsync()).Published!.Renditions[0].FileId;
        Assert.Equal(file, (await origin.TrackAsync("t2")).Published!.Renditions[0].FileId);
        await UsersBecomeAsync(origin, file, ["t1", "t2"]);
        await origin.UploadAsync([8], "t1");
        await origin.Farm.FinishNextAsync(OneFile);
        await UsersBecomeAsync(origin, file, ["t2"]);
    }

    [Fact]
    public async Task StoreThatFailsWhilePublishing_IsTriedUntilItWorks()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var failures = 0;
        origin.Store.BeforeWrite = key => key.StartsWith("catalog/files/", StringComparison.Ordinal) && Interlocked.Increment(ref failures) <= 2
            ? throw new StoreException(StoreError.Unavailable, "gone")
            : Task.CompletedTask;
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        Assert.True(failures > 2);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("catalog/renditions/none.json")]
    [InlineData("catalog/releases/r1.json")]
    [InlineData("catalog/renditions/../releases/r1.json")]
    public async Task ResultThatIsNotThere_FailsTheTrack(string? resultKey)
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Queue.ReportAsync(new JobReport { JobId = job.JobId, TrackId = job.TrackId, Phase = JobPhase.Done, ResultKey = resultKey }, default);
        Assert.Equal(JobFailure.Internal, (await origin.TrackBecomesAsync(TrackState.Failed)).Failure!.Code);
    }

    [Fact]
    public async Task ResultThatIsNoResult_FailsTheTrack()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Files.WriteAsync(ObjectKey.Parse(TestFarm.ResultKey(job)), new MemoryStream("{}"u8.ToArray()), new ObjectWrite { ContentType = "application/json" }, default);
        await origin.Farm.DoneAsync(job);
        Assert.Equal(JobFailure.Internal, (await origin.TrackBecomesAsync(TrackState.Failed)).Failure!.Code);
    }

    /// <summary>Reports come in order to four publishers: once each has had several more, the earlier ones are settled.</summary>
    private static async Task BarrierAsync(OriginHarness origin)
    {
        await origin.UploadAsync([9], "t2");
        for (var i = 0; i < 8; i++)
        {
            var job = (await origin.Farm.TakeAsync()).Job;
            await origin.Farm.FailAsync(job, JobFailure.Internal, "barrier");
            await origin.TrackBecomesAsync(TrackState.Failed, "t2");
            using var retry = await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        }
    }

    private static async Task UsersBecomeAsync(OriginHarness origin, string fileId, string[] users) =>
        await Until.TrueAsync(
            async () => string.Join(' ', (await origin.ManifestAsync($"catalog/files/{fileId}.json")).GetProperty("tracks").EnumerateArray().Select(t => t.GetString())),
            found => found == string.Join(' ', users));

    private static string PathOf(string url) => new Uri(url).AbsolutePath;

    private static string FileOf(string url) => Path.GetFileNameWithoutExtension(PathOf(url));
}
