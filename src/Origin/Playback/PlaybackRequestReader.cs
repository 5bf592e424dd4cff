using System.Text.Json;
using Delivery.Origin.Api;

namespace Delivery.Origin.Playback;

/// <summary>From JSON to a playback request, with every fault noted.</summary>
internal static class PlaybackRequestReader
{
    public const int MaxNext = 10;
    private const int MaxId = 200;

    private static readonly string[] AllQualities = [.. PlaybackRights.Qualities, PlaybackRights.Preview];

    public static PlaybackRequest? Read(JsonElement body, RequestErrors errors)
    {
        if (JsonFields.Of(body, "", errors, "trackId", "quality", "codecs", "tier", "country", "userId", "next") is not { } fields)
            return null;
        var trackId = fields.Text("trackId", MaxId, required: true);
        var quality = fields.Word("quality", AllQualities);
        var codecs = fields.Words("codecs", 1, PlaybackRights.Codecs.Count, PlaybackRights.Codecs.Contains, "one of " + string.Join(", ", PlaybackRights.Codecs));
        var tier = fields.Word("tier", PlaybackRights.Tiers, required: true);
        var country = fields.Text("country", MaxId);
        if (country is not null && !PlaybackRights.IsCountry(country))
            fields.Fault("country", "must be an ISO 3166-1 alpha-2 code in upper case");
        fields.Text("userId", MaxId);
        var next = fields.Texts("next", 0, MaxNext, MaxId);
        if (errors.Any)
            return null;
        var request = new PlaybackRequest { TrackId = trackId!, Tier = tier!, Country = country, Next = next ?? [] };
        if (quality is not null)
            request = request with { Quality = quality };
        return codecs is null ? request : request with { Codecs = codecs };
    }
}
