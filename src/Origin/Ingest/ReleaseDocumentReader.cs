using System.Text.Json;
using Delivery.Origin.Api;
using Delivery.Origin.Catalog;
using Delivery.Origin.Playback;

namespace Delivery.Origin.Ingest;

/// <summary>From JSON to a release document in its one normal form: tracks by number, codes in order, ISRCs compact, times in UTC.</summary>
internal static class ReleaseDocumentReader
{
    public const int MaxTracks = 1000;
    public const int MaxArtists = 100;
    public const int MaxText = 500;
    public const int MaxTerritories = 300; // ISO 3166-1 has 249.

    private const string IdRule = "must be 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot";

    /// <summary>Null when there is any fault. <paramref name="trackIds"/> gets each well-formed track id with its pointer, faults elsewhere or not.</summary>
    public static ReleaseDocument? Read(JsonElement body, RequestErrors errors, List<(string Id, string Pointer)> trackIds)
    {
        if (JsonFields.Of(body, "", errors, "title", "artists", "label", "upc", "tracks", "territories", "tiers", "availableFrom") is not { } fields)
            return null;
        var title = fields.Text("title", MaxText, required: true);
        var artists = fields.Texts("artists", 0, MaxArtists, MaxText);
        var label = fields.Text("label", MaxText);
        var upc = fields.Text("upc", MaxText);
        if (upc is not null && !Gtin.IsValid(upc))
            fields.Fault("upc", "must be 12 or 13 digits, the last being the right check digit");
        var tracks = ReadTracks(fields, errors, trackIds);
        var territories = fields.Find("territories") is { } where ? ReadTerritories(where, fields.At("territories"), errors) : null;
        var tiers = fields.Words("tiers", 1, PlaybackRights.Tiers.Count, PlaybackRights.Tiers.Contains, "one of " + string.Join(", ", PlaybackRights.Tiers));
        var availableFrom = fields.Time("availableFrom");
        if (errors.Any)
            return null;
        return new ReleaseDocument
        {
            Title = title!,
            Artists = artists ?? [],
            Label = label,
            Upc = upc,
            Tracks = [.. tracks.OrderBy(t => t.Number)],
            Territories = territories,
            Tiers = tiers is null ? null : [.. tiers.Order(StringComparer.Ordinal)],
            AvailableFrom = availableFrom,
        };
    }

    private static List<ReleaseTrack> ReadTracks(JsonFields release, RequestErrors errors, List<(string Id, string Pointer)> trackIds)
    {
        var tracks = new List<ReleaseTrack>();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        var numbers = new HashSet<int>();
        var elements = release.Array("tracks", 1, MaxTracks, required: true) ?? [];
        for (var i = 0; i < elements.Count; i++)
        {
            if (JsonFields.Of(elements[i], $"/tracks/{i}", errors, "id", "isrc", "title", "number", "artists") is not { } fields)
                continue;
            var id = fields.Text("id", MaxText, required: true);
            if (id is not null)
            {
                if (!CatalogKeys.IsId(id))
                    fields.Fault("id", IdRule);
                else if (!ids.Add(id))
                    fields.Fault("id", $"'{id}' is there twice");
                else
                    trackIds.Add((id, fields.At("id")));
            }

            var given = fields.Text("isrc", MaxText);
            var isrc = given is null ? null : Isrc.Normalize(given);
            if (given is not null && isrc is null)
                fields.Fault("isrc", "must be an ISRC such as SEXX12600001: 2 letters, 3 letters or digits, 7 digits");
            var title = fields.Text("title", MaxText, required: true);
            var number = fields.Integer("number", 1, 9999);
            if (number is { } value && !numbers.Add(value))
                fields.Fault("number", $"{value} is there twice");
            var artists = fields.Texts("artists", 1, MaxArtists, MaxText);
            tracks.Add(new ReleaseTrack { Id = id ?? "", Isrc = isrc, Title = title ?? "", Number = number ?? 0, Artists = artists });
        }

        return tracks;
    }

    private static Territories? ReadTerritories(JsonElement value, string pointer, RequestErrors errors)
    {
        if (JsonFields.Of(value, pointer, errors, "allow", "deny") is not { } fields)
            return null;
        if (fields.Has("allow") == fields.Has("deny"))
            errors.Add(pointer, "must have either allow or deny");
        return new Territories { Allow = Codes("allow"), Deny = Codes("deny") };

        IReadOnlyList<string>? Codes(string name) =>
            fields.Words(name, 1, MaxTerritories, PlaybackRights.IsCountry, "an ISO 3166-1 alpha-2 code in upper case") is { } codes
                ? [.. codes.Order(StringComparer.Ordinal)]
                : null;
    }
}
