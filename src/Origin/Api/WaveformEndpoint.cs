using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Waveforms;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Net.Http.Headers;

namespace Delivery.Origin.Api;

/// <summary><c>GET /v1/tracks/{trackId}/waveform</c>: of the renditions that play, as JSON or as the file itself.</summary>
internal sealed class WaveformEndpoint(CatalogCache<TrackManifest> tracks, IObjectStore store, StaleAnswers stale, RequestDeadline deadline)
{
    /// <summary>A player draws it once per visit of a page; a re-delivered master shows its own within this.</summary>
    private static readonly TimeSpan MaxAge = TimeSpan.FromMinutes(5);

    private static readonly MediaTypeHeaderValue Json = new("application/json");
    private static readonly MediaTypeHeaderValue Binary = new(Waveform.ContentType);

    public void Map(IEndpointRouteBuilder app) =>
        app.MapGet("/v1/tracks/{trackId}/waveform", GetAsync).For(ApiRole.Ingest, ApiRole.Playback, ApiRole.Operate);

    private async Task<IResult> GetAsync(HttpContext context, string trackId)
    {
        using var limit = deadline.Start(context);
        if (!CatalogKeys.IsId(trackId) || await tracks.GetAsync(trackId, limit.Token) is not { } track)
            return Problem.NotFound($"There is no track '{trackId}'.");
        stale.Mark(context, "waveform", track.MayBeStale);
        if (track.Published is not { } published)
            return Problem.NotFound($"The track '{trackId}' has no waveform: nothing of it is published yet.");

        var key = ResultKeys.Waveform(ObjectKey.Parse(published.ResultKey));
        if (await ReadAsync(key, published.Waveform, limit.Token) is not { } file)
            return Problem.NotFound($"The waveform of the track '{trackId}' is not in the store; its job's next run makes it again.");

        var asFile = PrefersFile(context.Request);
        context.Response.Headers.Vary = HeaderNames.Accept;
        context.Response.Headers.CacheControl = $"private, max-age={(int)MaxAge.TotalSeconds}";
        // Two representations, two entity tags (RFC 9110 §8.8.3).
        var tag = new EntityTagHeaderValue($"\"{published.Waveform.Sha256[..40]}{(asFile ? "" : "-json")}\"");
        return asFile
            ? Results.Bytes(file, Waveform.ContentType, entityTag: tag)
            : Results.Bytes((Waveform.TryRead(file) ?? throw new CatalogCorruptException(key.Value, "it is no waveform")).ToJson(), "application/json", entityTag: tag);
    }

    /// <summary>The file where it is wanted more than JSON; JSON where nothing, or neither, is asked for.</summary>
    private static bool PrefersFile(HttpRequest request)
    {
        var accepted = request.GetTypedHeaders().Accept;
        return Quality(Binary) > Quality(Json);

        double Quality(MediaTypeHeaderValue type) => accepted.Where(type.IsSubsetOf).Select(range => range.Quality ?? 1).DefaultIfEmpty(0).Max();
    }

    private async Task<byte[]?> ReadAsync(ObjectKey key, WaveformFacts facts, CancellationToken cancellationToken)
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return null;
        if (read.Length != facts.Bytes || facts.Bytes > Waveform.MaxBytes)
            throw new CatalogCorruptException(key.Value, $"it has {read.Length} bytes, the track's manifest says {facts.Bytes}");
        var file = new byte[read.Length];
        await read.Content.ReadExactlyAsync(file, cancellationToken);
        return Convert.ToHexStringLower(SHA256.HashData(file)) == facts.Sha256
            ? file
            : throw new CatalogCorruptException(key.Value, "its bytes are not those that the track's manifest names");
    }
}
