using Delivery.Origin.Catalog;

namespace Delivery.Origin.Playback;

/// <summary>Which renditions answer a request: the chosen one first, then all that the player may switch to.</summary>
internal static class RenditionChoice
{
    /// <summary>Best first, the chosen one being the first; empty when the player decodes none of them.</summary>
    public static IReadOnlyList<PublishedRendition> Choose(
        IReadOnlyList<PublishedRendition> renditions, string quality, IReadOnlyList<string> codecs, string tier)
    {
        if (quality == PlaybackRights.Preview)
            return Of(quality).ToList();

        var qualities = PlaybackRights.Qualities;
        var best = PlaybackRights.BestQuality(tier);
        var wanted = Math.Min(Rank(quality), best);
        var downwards = Enumerable.Range(0, wanted + 1).Reverse().SelectMany(rank => Of(qualities[rank])).ToList();
        if (downwards.Count > 0)
            return downwards;

        // Nothing at or below: a player without AAC that asks for low, which is AAC only, rather hears normal than nothing.
        return Enumerable.Range(wanted + 1, best - wanted).Select(rank => Of(qualities[rank]).ToList()).FirstOrDefault(found => found.Count > 0) ?? [];

        IEnumerable<PublishedRendition> Of(string name) =>
            codecs.SelectMany(codec => renditions.Where(r => r.Quality == name && r.Codec == codec));
    }

    private static int Rank(string quality)
    {
        for (var i = 0; i < PlaybackRights.Qualities.Count; i++)
        {
            if (PlaybackRights.Qualities[i] == quality)
                return i;
        }

        throw new ArgumentOutOfRangeException(nameof(quality), quality, "Not a quality.");
    }
}
