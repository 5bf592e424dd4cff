using Delivery.Origin.ApiKeys;
using Delivery.Origin.Catalog;
using Delivery.Origin.Ingest;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>Releases and tracks: <c>PUT</c> and <c>GET</c>.</summary>
internal sealed class ReleaseEndpoints(CatalogStore catalog, ReadModel model, ReleaseIntake intake, StatusViews views, StaleAnswers stale, RequestDeadline deadline)
{
    /// <summary>Track manifests read at once for one answer.</summary>
    private const int Parallelism = 16;

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapPut("/v1/releases/{releaseId}", PutAsync).For(ApiRole.Ingest);
        app.MapGet("/v1/releases", (Delegate)ListAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapGet("/v1/releases/{releaseId}", GetAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapGet("/v1/tracks/{trackId}", GetTrackAsync).For(ApiRole.Ingest, ApiRole.Operate);
    }

    private async Task<IResult> PutAsync(HttpContext context, string releaseId)
    {
        using var limit = deadline.Start(context);
        var errors = new RequestErrors();
        var tracks = new List<(string Id, string Pointer)>();
        if (!CatalogKeys.IsId(releaseId))
            errors.Add("{releaseId}", "must be 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot");
        var (document, problem) = await JsonBody.ReadAsync(context.Request, (body, e) => ReleaseDocumentReader.Read(body, e, tracks), errors);
        if (problem is not null)
            return problem;

        // Also beside other faults, so that the author learns of all in one go; and before any id is reserved.
        if (CatalogKeys.IsId(releaseId))
            await intake.CheckOwnersAsync(releaseId, tracks, errors, limit.Token);
        if (errors.Any)
            return Problem.Validation(errors);

        if (await intake.PutAsync(releaseId, document!, tracks, errors, limit.Token) is not { } put)
            return Problem.Validation(errors);
        if (put.Outcome == ReleaseOutcome.Created)
        {
            context.Response.StatusCode = StatusCodes.Status201Created;
            context.Response.Headers.Location = $"/v1/releases/{releaseId}";
        }

        return Results.Json(await ShowAsync(context, put.Release, limit.Token), ApiJson.Default.ReleaseStatus, statusCode: context.Response.StatusCode);
    }

    private async Task<IResult> ListAsync(HttpContext context)
    {
        var (page, problem) = await PageRequest.ReadAsync(context, model);
        if (problem is not null)
            return problem;
        var tracks = model.Tracks;
        var releases = model.Releases.Values
            .SkipWhile(r => string.CompareOrdinal(r.ReleaseId, page!.After) <= 0).Take(page!.Limit + 1)
            .Select(r => views.Summarize(r, id => tracks.GetValueOrDefault(id))).ToList();
        var next = page.Next("/v1/releases", releases, r => r.ReleaseId);
        return Results.Json(new ReleasePage(releases, next), ApiJson.Default.ReleasePage);
    }

    private async Task<IResult> GetAsync(HttpContext context, string releaseId)
    {
        using var limit = deadline.Start(context);
        return CatalogKeys.IsId(releaseId) && await catalog.PeekReleaseAsync(releaseId, limit.Token) is { } release
            ? Results.Json(await ShowAsync(context, release, limit.Token), ApiJson.Default.ReleaseStatus)
            : Problem.NotFound($"There is no release '{releaseId}'.");
    }

    private async Task<IResult> GetTrackAsync(HttpContext context, string trackId)
    {
        using var limit = deadline.Start(context);
        if (!CatalogKeys.IsId(trackId) || await catalog.PeekTrackAsync(trackId, limit.Token) is not { } track)
            return Problem.NotFound($"There is no track '{trackId}'.");
        var release = await catalog.PeekReleaseAsync(track.ReleaseId, limit.Token);
        stale.Mark(context, "track", track.MayBeStale || release is { MayBeStale: true });
        return Results.Json(views.Show(track, release), ApiJson.Default.TrackStatus);
    }

    private async Task<ReleaseStatus> ShowAsync(HttpContext context, ReleaseManifest release, CancellationToken cancellationToken)
    {
        var listed = release.Document.Tracks;
        var tracks = new TrackManifest[listed.Count];
        var options = new ParallelOptions { MaxDegreeOfParallelism = Parallelism, CancellationToken = cancellationToken };
        await Parallel.ForAsync(0, tracks.Length, options, async (i, token) =>
            tracks[i] = await catalog.PeekTrackAsync(listed[i].Id, token) ?? TrackManifest.New(listed[i].Id, release.ReleaseId, release.UpdatedAt));
        stale.Mark(context, "release", release.MayBeStale || tracks.Any(track => track.MayBeStale));
        return views.Show(release, tracks);
    }
}
