using Delivery.Origin.Catalog;

namespace Delivery.Origin.Playback;

/// <summary>Who may hear what, where and from when.</summary>
internal static class PlaybackRights
{
    public const string Preview = "preview";

    private const string FreeTier = "free";

    public static IReadOnlyCollection<string> Tiers { get; } = [FreeTier, "premium"];

    /// <summary>From the lowest; <see cref="Preview"/> stands apart.</summary>
    public static IReadOnlyList<string> Qualities { get; } = ["low", "normal", "high", "veryhigh", "lossless", "hires"];

    public static IReadOnlyCollection<string> Codecs { get; } = ["vorbis", "aac", "flac"];

    /// <summary>ISO 3166-1 alpha-2, by its shape: the list of countries changes more often than this program.</summary>
    public static bool IsCountry(string text) => text.Length == 2 && char.IsAsciiLetterUpper(text[0]) && char.IsAsciiLetterUpper(text[1]);

    /// <summary>The best quality of a tier, as an index of <see cref="Qualities"/>: free hears up to high, premium all.</summary>
    public static int BestQuality(string tier) => tier == FreeTier ? 2 : Qualities.Count - 1;

    /// <summary>Null when the release may be heard; checked in the order that docs/api.md states.</summary>
    public static PlaybackRefusal? Refuse(ReleaseManifest release, string tier, string? country, string quality, DateTimeOffset now)
    {
        var document = release.Document;
        if (document.Territories is { } territories && !IsAllowed(territories, country))
            return PlaybackRefusal.Territory;
        if (quality == Preview)
            return null;
        if (document.AvailableFrom > now)
            return PlaybackRefusal.NotYetAvailable;
        if (document.Tiers is { } tiers && !tiers.Contains(tier))
            return PlaybackRefusal.Tier;
        return null;
    }

    // An unknown country is refused even by a list of denied ones: it may be one of them.
    private static bool IsAllowed(Ingest.Territories territories, string? country) =>
        country is not null && (territories.Allow?.Contains(country) ?? !territories.Deny!.Contains(country));
}
