using System.Text.Json;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Origin.Webhooks;
using Delivery.Transcoder.Jobs;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>The farm's jobs, one per track: that of its newest master.</summary>
internal sealed class JobEndpoints(
    CatalogStore catalog, CatalogWatch watch, ReadModel model, LiveJobs live, JobDispatcher dispatcher, WebhookOutbox webhooks, StatusViews views, StaleAnswers stale,
    OriginMetrics metrics, RequestDeadline deadline, TimeProvider time)
{
    private static readonly Dictionary<string, JobPhase> Phases = Enum.GetValues<JobPhase>().ToDictionary(p => JsonNamingPolicy.CamelCase.ConvertName(p.ToString()));

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/v1/jobs", (Delegate)ListAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapGet("/v1/jobs/{jobId}", GetAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapPost("/v1/jobs/{jobId}:retry", RetryAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapPost("/v1/jobs/{jobId}:cancel", CancelAsync).For(ApiRole.Ingest, ApiRole.Operate);
    }

    private async Task<IResult> ListAsync(HttpContext context)
    {
        var errors = new RequestErrors();
        JobPhase? phase = null;
        if (context.Request.Query.TryGetValue("phase", out var word))
        {
            if (Phases.TryGetValue(word.ToString(), out var known))
                phase = known;
            else
                errors.Add("?phase", $"must be one of {string.Join(", ", Phases.Keys)}");
        }

        var (page, problem) = await PageRequest.ReadAsync(context, model, errors);
        if (problem is not null)
            return problem;

        // In the order of tracks: an upload's id has no part in it, so that a re-delivery in between moves nothing.
        var after = JobIds.TrySplit(page!.After, out var trackId, out _) ? trackId : page.After;
        var jobs = model.Tracks.Values
            .SkipWhile(t => string.CompareOrdinal(t.TrackId, after) <= 0)
            .Select(views.ShowJob).OfType<JobStatus>()
            .Where(j => phase is null || j.Phase == phase)
            .Take(page.Limit + 1).ToList();
        var next = page.Next("/v1/jobs", jobs, j => j.JobId, phase is null ? "" : $"&phase={word}");
        return Results.Json(new JobPage(jobs, next), ApiJson.Default.JobPage);
    }

    private async Task<IResult> GetAsync(HttpContext context, string jobId)
    {
        using var limit = deadline.Start(context);
        var track = JobIds.TrySplit(jobId, out var trackId, out var uploadId) ? await catalog.PeekTrackAsync(trackId, limit.Token) : null;
        stale.Mark(context, "job", track is { MayBeStale: true });
        return track?.Master is { } master && master.UploadId == uploadId
            ? Results.Json(views.ShowJob(TrackSummary.Of(track))!, ApiJson.Default.JobStatus)
            : NoSuch(jobId);
    }

    private async Task<IResult> RetryAsync(HttpContext context, string jobId)
    {
        using var limit = deadline.Start(context);
        var (track, retried) = await ChangeAsync(
            jobId, MasterState.Failed, before => before with { State = MasterState.Queued, Failure = null, QueuedAt = before.UpdatedAt, Enqueued = null }, limit.Token);
        if (track is null)
            return NoSuch(jobId);
        if (!retried)
            return Problem.NotFailed($"The job is {OriginMetrics.Word(track.State)}; only a failed one can be retried.");
        dispatcher.Offer(track.TrackId);
        return Accepted(track);
    }

    private async Task<IResult> CancelAsync(HttpContext context, string jobId)
    {
        using var limit = deadline.Start(context);
        var failure = new TrackFailure(JobFailure.Cancelled, "The job was cancelled. To go on with this master, retry the job or upload the master again; or upload another one.", time.GetUtcNow());
        var (track, cancelled) = await ChangeAsync(
            jobId, MasterState.Queued, before => webhooks.Announce(before with { State = MasterState.Failed, Failure = failure, QueuedAt = null, Enqueued = null }), limit.Token);
        if (track is null)
            return NoSuch(jobId);
        if (!cancelled)
            return Problem.NotQueued($"The job is {OriginMetrics.Word(track.State)}; only one that waits or runs can be cancelled.");
        // Before the answer: a retry that follows it must not be overtaken by this.
        await dispatcher.CancelAsync(jobId, limit.Token);
        metrics.CountJob(OriginMetrics.Word(JobFailure.Cancelled));
        return Accepted(track);
    }

    /// <summary>Changes the track of a job that is its newest master's and in the given state. No track: there is no such job.</summary>
    private async Task<(TrackManifest? Track, bool Changed)> ChangeAsync(string jobId, MasterState from, Func<TrackManifest, TrackManifest> change, CancellationToken cancellationToken)
    {
        if (!JobIds.TrySplit(jobId, out var trackId, out var uploadId))
            return (null, false);
        var (isCurrent, changed) = (false, false);
        var track = await catalog.UpdateTrackAsync(trackId, before =>
        {
            isCurrent = before?.Master?.UploadId == uploadId;
            changed = isCurrent && before!.State == from;
            return changed ? change(before!.Next(time.GetUtcNow())) : before;
        }, cancellationToken);
        if (changed)
        {
            live.Remove(jobId);
            watch.Saw(track!);
            webhooks.Send(track!);
        }

        return (isCurrent ? track : null, changed);
    }

    private IResult Accepted(TrackManifest track) =>
        Results.Json(views.ShowJob(TrackSummary.Of(track))!, ApiJson.Default.JobStatus, statusCode: StatusCodes.Status202Accepted);

    private static Problem NoSuch(string jobId) => Problem.NotFound($"There is no job '{jobId}', or a newer master has superseded it.");
}
