using System.Text.Json;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Transcoder.Jobs;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>The farm's jobs, one per track: that of its newest master.</summary>
internal sealed class JobEndpoints(
    CatalogStore catalog, CatalogWatch watch, ReadModel model, LiveJobs live, JobDispatcher dispatcher, StatusViews views, StaleAnswers stale,
    RequestDeadline deadline, TimeProvider time)
{
    private static readonly Dictionary<string, JobPhase> Phases = Enum.GetValues<JobPhase>().ToDictionary(p => JsonNamingPolicy.CamelCase.ConvertName(p.ToString()));

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/v1/jobs", (Delegate)ListAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapGet("/v1/jobs/{jobId}", GetAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapPost("/v1/jobs/{jobId}:retry", RetryAsync).For(ApiRole.Ingest, ApiRole.Operate);
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
            : Problem.NotFound($"There is no job '{jobId}', or a newer master has superseded it.");
    }

    private async Task<IResult> RetryAsync(HttpContext context, string jobId)
    {
        using var limit = deadline.Start(context);
        var (isCurrent, retried) = (false, false);
        TrackManifest? track = null;
        if (JobIds.TrySplit(jobId, out var trackId, out var uploadId))
        {
            track = await catalog.UpdateTrackAsync(trackId, before =>
            {
                isCurrent = before?.Master?.UploadId == uploadId;
                retried = isCurrent && before!.State == MasterState.Failed;
                return retried ? before!.Next(time.GetUtcNow()) with { State = MasterState.Queued, Failure = null } : before;
            }, limit.Token);
        }

        if (!isCurrent)
            return Problem.NotFound($"There is no job '{jobId}', or a newer master has superseded it.");
        if (!retried)
            return Problem.NotFailed($"The job is {OriginMetrics.Word(track!.State)}; only a failed one can be retried.");
        live.Remove(jobId);
        watch.Saw(track!);
        dispatcher.Offer(track!.TrackId);
        return Results.Json(views.ShowJob(TrackSummary.Of(track))!, ApiJson.Default.JobStatus, statusCode: StatusCodes.Status202Accepted);
    }
}
