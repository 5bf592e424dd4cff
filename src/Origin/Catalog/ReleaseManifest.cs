using Delivery.Origin.Ingest;

namespace Delivery.Origin.Catalog;

/// <summary><c>catalog/releases/{releaseId}.json</c>: the newest document and how often it changed. Format: docs/formats/catalog.md.</summary>
internal sealed record ReleaseManifest : Manifest
{
    public required string ReleaseId { get; init; }

    /// <summary>Counts the changes, from 1.</summary>
    public required int Revision { get; init; }

    public required DateTimeOffset CreatedAt { get; init; }

    public required DateTimeOffset UpdatedAt { get; init; }

    public required ReleaseDocument Document { get; init; }

    public ReleaseTrack? FindTrack(string trackId)
    {
        foreach (var track in Document.Tracks)
        {
            if (track.Id == trackId)
                return track;
        }

        return null;
    }
}
