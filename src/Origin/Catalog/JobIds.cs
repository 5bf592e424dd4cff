namespace Delivery.Origin.Catalog;

/// <summary>A job's id is <c>{trackId}.{uploadId}</c>. A track's id may hold dots and an upload's cannot, so the last dot divides.</summary>
internal static class JobIds
{
    public static string Of(string trackId, string uploadId) => $"{trackId}.{uploadId}";

    public static bool TrySplit(string jobId, out string trackId, out string uploadId)
    {
        var dot = jobId.LastIndexOf('.');
        (trackId, uploadId) = dot > 0 ? (jobId[..dot], jobId[(dot + 1)..]) : ("", "");
        return CatalogKeys.IsId(trackId) && uploadId.Length > 0;
    }
}
