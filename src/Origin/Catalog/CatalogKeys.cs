using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;
using Delivery.ObjectStore;

namespace Delivery.Origin.Catalog;

/// <summary>Where the catalog's objects lie, and which ids may become part of a key.</summary>
internal static partial class CatalogKeys
{
    public const string ReleasePrefix = "catalog/releases/";

    public const string TrackPrefix = "catalog/tracks/";

    public const string BackfillPrefix = "catalog/backfills/";

    /// <summary>Where workers put results; the origin reads nothing else on a worker's word.</summary>
    public const string ResultPrefix = "catalog/renditions/";

    private const string Suffix = ".json";

    public static bool IsId([NotNullWhen(true)] string? text) => text is not null && Id().IsMatch(text);

    public static ObjectKey Release(string releaseId) => ObjectKey.Parse(ReleasePrefix + Checked(releaseId) + Suffix);

    public static ObjectKey Track(string trackId) => ObjectKey.Parse(TrackPrefix + Checked(trackId) + Suffix);

    public static ObjectKey File(string fileId) => ObjectKey.Parse($"catalog/files/{Checked(fileId)}{Suffix}");

    public static ObjectKey Backfill(string ladder) => ObjectKey.Parse(BackfillPrefix + Checked(ladder) + Suffix);

    public static ObjectKey Master(string trackId, string uploadId, string extension) =>
        ObjectKey.Parse($"masters/{Checked(trackId)}/{uploadId}.{extension}");

    /// <summary>The id in a manifest's key, or null when something else lies there.</summary>
    public static string? IdOf(ObjectKey key, string prefix)
    {
        var name = key.Value.AsSpan(prefix.Length);
        if (!name.EndsWith(Suffix, StringComparison.Ordinal))
            return null;
        var id = name[..^Suffix.Length].ToString();
        return IsId(id) ? id : null;
    }

    private static string Checked(string id) => IsId(id) ? id : throw new ArgumentException($"'{id}' is not an id.", nameof(id));

    [GeneratedRegex("^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}\\z")]
    private static partial Regex Id();
}
