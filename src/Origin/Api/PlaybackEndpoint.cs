using Delivery.Origin.ApiKeys;
using Delivery.Origin.Playback;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary><c>POST /v1/playback</c>.</summary>
internal sealed class PlaybackEndpoint(PlaybackGrants grants, OriginMetrics metrics, StaleAnswers stale, TimeProvider time)
{
    public void Map(IEndpointRouteBuilder app) => app.MapPost("/v1/playback", (Delegate)PostAsync).WithMetadata(OnlyReads.Instance).For(ApiRole.Playback);

    private async Task<IResult> PostAsync(HttpContext context)
    {
        var start = time.GetTimestamp();
        var errors = new RequestErrors();
        var (request, problem) = await JsonBody.ReadAsync(context.Request, PlaybackRequestReader.Read, errors);
        if (problem is not null || errors.Any)
        {
            metrics.CountPlayback("invalid", time.GetElapsedTime(start));
            return problem ?? Problem.Validation(errors);
        }

        var (answer, refusal, mayBeStale) = await grants.GrantAsync(request!, context.RequestAborted);
        stale.Mark(context, "playback", mayBeStale);
        if (refusal is { } reason)
        {
            metrics.CountPlayback(reason, time.GetElapsedTime(start));
            return reason == PlaybackRefusal.UnknownTrack
                ? Problem.NotFound($"There is no track '{request!.TrackId}'.")
                : Problem.Refused(reason, Explain(reason));
        }

        metrics.CountPlayback("granted", time.GetElapsedTime(start));
        return Results.Json(answer!, ApiJson.Default.PlaybackAnswer);
    }

    private static string Explain(PlaybackRefusal reason) => reason switch
    {
        PlaybackRefusal.NotReady => "No rendition of the track is published yet.",
        PlaybackRefusal.Territory => "The track is not available in the listener's country.",
        PlaybackRefusal.NotYetAvailable => "The track is not released yet; a preview is available.",
        PlaybackRefusal.Tier => "The track is not available in the listener's tier; a preview is available.",
        PlaybackRefusal.Codec => "The track has no rendition in a codec that the player decodes.",
        _ => "The track is not known.",
    };
}
