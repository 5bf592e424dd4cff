using System.Globalization;
using System.Text;
using Delivery.ObjectStore;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Catalog;
using Delivery.Origin.Ingest;
using Delivery.Transcoder.Ladders;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary><c>PUT /v1/releases/{releaseId}/tracks/{trackId}/master</c>: HTTP's side of an upload; <see cref="MasterIntake"/> is the store's.</summary>
internal sealed class MasterEndpoint(
    CatalogStore catalog, MasterIntake intake, LadderStore ladders, StatusViews views, OriginOptions options, OriginMetrics metrics, RequestDeadline deadline) : IDisposable
{
    private const int MaxFilenameBytes = 255;

    private readonly SemaphoreSlim _slots = new(options.MaxUploads);

    public void Map(IEndpointRouteBuilder app) => app.MapPut("/v1/releases/{releaseId}/tracks/{trackId}/master", PutAsync).For(ApiRole.Ingest);

    public void Dispose() => _slots.Dispose();

    private async Task<IResult> PutAsync(HttpContext context, string releaseId, string trackId)
    {
        var request = context.Request;

        // 1 What the headers alone can tell.
        if (request.Headers.ContentEncoding.Count > 0)
            return Problem.MediaType("A Content-Encoding is not supported: send the master's bytes as they are.");
        if (Describe(request, out var description) is { } faults)
            return Problem.Validation(faults);
        if (description.Length > options.MaxMasterBytes)
            return Reject(UploadOutcome.TooLarge, Problem.TooLarge(options.MaxMasterBytes));

        // 2 Whether there is such a track, and a ladder for it: an accepted master must not fail for want of one.
        ReleaseManifest? release;
        using (var limit = deadline.Start(context))
        {
            release = CatalogKeys.IsId(releaseId) ? await catalog.ReadReleaseAsync(releaseId, limit.Token) : null;
            if (await ladders.FindAsync(options.Ladder, limit.Token) is null)
                return Problem.Unavailable($"This origin's ladder, '{options.Ladder}', does not exist. An operator must add it (delivery transcode ladder add), or name another as the option Ladder.");
        }

        if (release is null)
            return Problem.NotFound($"There is no release '{releaseId}'.");
        if (release.FindTrack(trackId) is null)
            return Problem.NotFound($"Release '{releaseId}' has no track '{trackId}'.");

        // 3 The body.
        if (!_slots.Wait(0, CancellationToken.None))
            return Reject(UploadOutcome.Busy, Problem.Busy($"{options.MaxUploads} uploads are under way, the most that this origin takes at once."));
        try
        {
            context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = null; // MasterStream bounds it.
            return await TakeAsync(context, release, trackId, description);
        }
        finally
        {
            _slots.Release();
        }
    }

    private async Task<IResult> TakeAsync(HttpContext context, ReleaseManifest release, string trackId, MasterDescription description)
    {
        using var body = new MasterStream(context.Request.BodyReader.AsStream(), options.MaxMasterBytes);
        var outcome = UploadOutcome.StoreFailed;
        try
        {
            var first = await context.Request.BodyReader.ReadAsync(context.RequestAborted);
            context.Request.BodyReader.AdvanceTo(first.Buffer.Start);
            if (first.Buffer.IsEmpty && first.IsCompleted)
            {
                outcome = UploadOutcome.Empty;
                return Problem.EmptyMaster();
            }

            (var track, outcome) = await intake.TakeAsync(release.ReleaseId, trackId, body, description, context.RequestAborted);
            var status = views.Show(track, release);
            if (outcome == UploadOutcome.Unchanged)
                return Results.Json(status, ApiJson.Default.TrackStatus);
            context.Response.Headers.Location = $"/v1/jobs/{status.Job!.JobId}";
            return Results.Json(status, ApiJson.Default.TrackStatus, statusCode: StatusCodes.Status202Accepted);
        }
        catch (Exception e)
        {
            // However the store wraps it, a body that failed is the client's side.
            var cause = body.Failure ?? e;
            outcome = cause switch
            {
                BadHttpRequestException { StatusCode: 413 } => UploadOutcome.TooLarge,
                BadHttpRequestException { StatusCode: 408 } => UploadOutcome.TooSlow,
                StoreException { Error: StoreError.DigestMismatch } => UploadOutcome.DigestMismatch,
                StoreException { Error: StoreError.Full } => UploadOutcome.StorageFull,
                _ when context.RequestAborted.IsCancellationRequested || body.Failure is not null || cause is BadHttpRequestException => UploadOutcome.ClientGone,
                _ => UploadOutcome.StoreFailed,
            };
            if (outcome == UploadOutcome.TooLarge)
                return Problem.TooLarge(options.MaxMasterBytes);
            if (ReferenceEquals(cause, e))
                throw;
            return FailureTable.Answer(cause, context);
        }
        finally
        {
            metrics.CountUpload(outcome, body.Bytes);
        }
    }

    private Problem Reject(UploadOutcome outcome, Problem problem)
    {
        metrics.CountUpload(outcome, 0);
        return problem;
    }

    private static RequestErrors? Describe(HttpRequest request, out MasterDescription description)
    {
        var errors = new RequestErrors();
        var filename = request.Query["filename"].ToString();
        if (filename.Any(char.IsControl) || Encoding.UTF8.GetByteCount(filename) > MaxFilenameBytes)
            errors.Add("?filename", string.Create(CultureInfo.InvariantCulture, $"must have at most {MaxFilenameBytes} bytes and no control character"));
        var sha256 = DigestField.Read(request.Headers, out var faultyField);
        if (faultyField is not null)
            errors.Add(faultyField, "must hold sha-256=:base64 of 32 bytes:, and the same in both digest fields");
        description = new MasterDescription(
            Extension(filename, request.ContentType), StoredType(request.ContentType), filename.Length == 0 ? null : filename, request.ContentLength, sha256);
        return errors.Any ? errors : null;
    }

    private static string Extension(string filename, string? contentType)
    {
        var extension = Path.GetExtension(filename).TrimStart('.');
        if (extension.Length is > 0 and <= 8 && extension.All(char.IsAsciiLetterOrDigit))
            return extension.ToLowerInvariant();
        return contentType?.Split(';')[0].Trim().ToLowerInvariant() switch
        {
            "audio/flac" or "audio/x-flac" => "flac",
            "audio/wav" or "audio/wave" or "audio/x-wav" or "audio/vnd.wave" => "wav",
            "audio/aiff" or "audio/x-aiff" => "aiff",
            _ => "bin",
        };
    }

    private static string StoredType(string? contentType) =>
        contentType is { Length: > 0 and <= ObjectWrite.MaxContentTypeLength } && !contentType.AsSpan().ContainsAnyExceptInRange(' ', '~')
            ? contentType
            : "application/octet-stream";
}
