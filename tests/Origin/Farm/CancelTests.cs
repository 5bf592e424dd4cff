using System.Net;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Tests.Farm;

public class CancelTests
{
    [Fact]
    public async Task CancelledJob_StopsItsWorker_AndARetryGoesOn()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var held = await origin.Farm.TakeAsync();
        var told = new TaskCompletionSource();
        await using var registration = held.Cancelled.Register(told.SetResult);
        using (var cancel = await origin.Client.PostAsync($"/v1/jobs/{held.Job.JobId}:cancel", null))
        {
            Assert.Equal(HttpStatusCode.Accepted, cancel.StatusCode);
            Assert.Equal((JobPhase.Failed, JobFailure.Cancelled), (await OriginHarness.ReadAsync(cancel, ApiJson.Default.JobStatus)) is var job ? (job.Phase, job.Failure!.Code) : default);
        }

        await told.Task.WaitAsync(Until.Limit);
        using (var again = await origin.Client.PostAsync($"/v1/jobs/{held.Job.JobId}:cancel", null))
            await OriginHarness.ProblemAsync(again, 409, "not-queued");
        using (var unknown = await origin.Client.PostAsync("/v1/jobs/t1.0:cancel", null))
            await OriginHarness.ProblemAsync(unknown, 404, "not-found");

        // The retry comes before the worker's word that it dropped the job.
        using (var retry = await origin.Client.PostAsync($"/v1/jobs/{held.Job.JobId}:retry", null))
            Assert.Equal(HttpStatusCode.Accepted, retry.StatusCode);
        await origin.Farm.FailAsync(held.Job, JobFailure.Cancelled, "dropped");
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
    }

    [Fact]
    public async Task LateResultOfACancelledJob_StaysUnpublished_AndTheSameBytesStartAnew()
    {
        using var log = new CapturingLog(LogLevel.Information);
        await using var origin = await OriginHarness.StartAsync(h => h.Loggers = log);
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1, 2, 3]);
        var held = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.WorkAsync(held);
        using (await origin.Client.PostAsync($"/v1/jobs/{held.JobId}:cancel", null))
        {
        }

        var before = (await origin.ManifestAsync("catalog/tracks/t1.json")).GetRawText();
        await origin.Farm.DoneAsync(held);
        await origin.Queue.ReportAsync(new JobReport { JobId = held.JobId, TrackId = "t1", Phase = JobPhase.Failed, Failure = JobFailure.Cancelled, Message = "dropped" }, default);
        foreach (var settled in new[] { $"{held.JobId} is not published", $"{held.JobId} changes nothing" })
            await Until.TrueAsync(() => Task.FromResult(log.Text), text => text.Contains(settled, StringComparison.Ordinal));
        Assert.Equal(before, (await origin.ManifestAsync("catalog/tracks/t1.json")).GetRawText());

        await origin.UploadAsync([1, 2, 3]);
        var anew = (await origin.Farm.TakeAsync()).Job;
        Assert.NotEqual(held.JobId, anew.JobId);
        await origin.Farm.DoneAsync(anew);
        await origin.TrackBecomesAsync(TrackState.Ready);
    }

    [Fact]
    public async Task NewerMaster_CancelsTheJobOfTheOlder()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1]);
        var held = await origin.Farm.TakeAsync();
        var told = new TaskCompletionSource();
        await using var registration = held.Cancelled.Register(told.SetResult);
        await origin.UploadAsync([2]);
        await told.Task.WaitAsync(Until.Limit);
        Assert.False((await origin.Farm.TakeAsync()).Cancelled.IsCancellationRequested);
    }
}
