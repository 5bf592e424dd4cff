namespace Delivery.Origin.Catalog;

/// <summary>
/// A job's id is <c>{trackId}.{uploadId}</c>, that of a backfill <c>{trackId}.{uploadId}~{ladder}</c>. A track's id may hold dots and an upload's
/// cannot, so the last dot before the ladder divides; neither can hold a tilde, so no job is taken for another.
/// </summary>
internal static class JobIds
{
    private const char LadderMark = '~';

    public static string Of(string trackId, string uploadId) => $"{trackId}.{uploadId}";

    /// <summary>The job that makes a track that plays anew with another ladder.</summary>
    public static string OfBackfill(string trackId, string uploadId, string ladder) => $"{trackId}.{uploadId}{LadderMark}{ladder}";

    /// <summary>The ladder of a backfill's job; null for a track's own job.</summary>
    public static string? BackfillLadder(string jobId) => jobId.IndexOf(LadderMark, StringComparison.Ordinal) is >= 0 and var mark ? jobId[(mark + 1)..] : null;

    /// <summary>Takes a track's own job's id apart.</summary>
    public static bool TrySplit(string jobId, out string trackId, out string uploadId)
    {
        var dot = jobId.LastIndexOf('.');
        (trackId, uploadId) = dot > 0 ? (jobId[..dot], jobId[(dot + 1)..]) : ("", "");
        return CatalogKeys.IsId(trackId) && uploadId.Length > 0 && !uploadId.Contains(LadderMark, StringComparison.Ordinal);
    }
}
