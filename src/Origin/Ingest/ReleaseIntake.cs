using System.Text.Json;
using Delivery.Origin.Api;
using Delivery.Origin.Catalog;

namespace Delivery.Origin.Ingest;

/// <summary>What became of a release document.</summary>
internal enum ReleaseOutcome
{
    Created,
    Changed,
    Unchanged,
}

/// <summary>
/// Takes a release's document: first every new track id is reserved for the release, then the release's manifest commits the whole. So a
/// manifest never lists a track that is another's or that has no manifest, and a crash in between leaves the old document whole.
/// </summary>
internal sealed class ReleaseIntake(CatalogStore catalog, CatalogWatch watch, OriginMetrics metrics, TimeProvider time)
{
    /// <summary>Track manifests read or written at once for one document.</summary>
    private const int Parallelism = 8;

    /// <summary>Notes in <paramref name="errors"/> each track that belongs to another release.</summary>
    public async Task CheckOwnersAsync(string releaseId, IReadOnlyList<(string Id, string Pointer)> tracks, RequestErrors errors, CancellationToken cancellationToken)
    {
        var listed = await ListedAsync(releaseId, cancellationToken);
        await ForNewTracksAsync(releaseId, [.. tracks.Where(t => !listed.Contains(t.Id))], errors, catalog.ReadTrackAsync, cancellationToken);
    }

    /// <summary>Null when a track turned out to be another release's, which <paramref name="errors"/> then says.</summary>
    public async Task<(ReleaseManifest Release, ReleaseOutcome Outcome)?> PutAsync(
        string releaseId, ReleaseDocument document, IReadOnlyList<(string Id, string Pointer)> tracks, RequestErrors errors, CancellationToken cancellationToken)
    {
        var listed = await ListedAsync(releaseId, cancellationToken);
        await ForNewTracksAsync(releaseId, [.. tracks.Where(t => !listed.Contains(t.Id))], errors, (id, token) => ReserveAsync(releaseId, id, token), cancellationToken);
        if (errors.Any)
            return null;

        var outcome = ReleaseOutcome.Unchanged;
        var release = await catalog.UpdateReleaseAsync(releaseId, before =>
        {
            outcome = before is null ? ReleaseOutcome.Created : IsSame(before.Document, document) ? ReleaseOutcome.Unchanged : ReleaseOutcome.Changed;
            var now = time.GetUtcNow();
            return outcome switch
            {
                ReleaseOutcome.Created => new ReleaseManifest { ReleaseId = releaseId, Revision = 1, CreatedAt = now, UpdatedAt = now, Document = document },
                ReleaseOutcome.Changed => before! with { Revision = before.Revision + 1, UpdatedAt = now, Document = document },
                _ => before,
            };
        }, cancellationToken);
        watch.Saw(release!);
        metrics.CountRelease(OriginMetrics.Word(outcome));
        return (release!, outcome);
    }

    private async Task<IReadOnlySet<string>> ListedAsync(string releaseId, CancellationToken cancellationToken) =>
        await catalog.ReadReleaseAsync(releaseId, cancellationToken) is { } release
            ? release.Document.Tracks.Select(t => t.Id).ToHashSet(StringComparer.Ordinal)
            : new HashSet<string>();

    private async Task<TrackManifest?> ReserveAsync(string releaseId, string trackId, CancellationToken cancellationToken)
    {
        var track = await catalog.UpdateTrackAsync(trackId, before => before ?? TrackManifest.New(trackId, releaseId, time.GetUtcNow()), cancellationToken);
        watch.Saw(track!);
        return track;
    }

    private static async Task ForNewTracksAsync(
        string releaseId, IReadOnlyList<(string Id, string Pointer)> tracks, RequestErrors errors,
        Func<string, CancellationToken, Task<TrackManifest?>> visit, CancellationToken cancellationToken)
    {
        var owners = new string?[tracks.Count];
        var options = new ParallelOptions { MaxDegreeOfParallelism = Parallelism, CancellationToken = cancellationToken };
        await Parallel.ForAsync(0, tracks.Count, options, async (i, token) => owners[i] = (await visit(tracks[i].Id, token))?.ReleaseId);
        for (var i = 0; i < tracks.Count; i++)
        {
            if (owners[i] is { } owner && owner != releaseId)
                errors.Add(tracks[i].Pointer, $"'{tracks[i].Id}' belongs to release '{owner}'");
        }
    }

    // Both are in normal form, so the same document is the same text.
    private static bool IsSame(ReleaseDocument a, ReleaseDocument b) =>
        JsonSerializer.SerializeToUtf8Bytes(a, CatalogJson.Default.ReleaseDocument).AsSpan()
            .SequenceEqual(JsonSerializer.SerializeToUtf8Bytes(b, CatalogJson.Default.ReleaseDocument));
}
