using Delivery.Transcoder.Results;

namespace Delivery.Origin.Catalog;

/// <summary><c>catalog/files/{fileId}.json</c>: one content-addressed file, its digests, and who uses it. Format: docs/formats/catalog.md.</summary>
internal sealed record FileManifest : Manifest
{
    public required string FileId { get; init; }

    /// <summary>Object key.</summary>
    public required string Key { get; init; }

    public required string ContentType { get; init; }

    public required long Bytes { get; init; }

    public required string Sha256 { get; init; }

    /// <summary>Bytes per entry of <see cref="ChunkSha256"/>.</summary>
    public required int ChunkBytes { get; init; }

    public required IReadOnlyList<string> ChunkSha256 { get; init; }

    /// <summary>Pairs of byte offset and milliseconds, ascending in both.</summary>
    public required IReadOnlyList<TimePoint> TimeMap { get; init; }

    /// <summary>Ids of the tracks whose published renditions name this file, in ordinal order.</summary>
    public required IReadOnlyList<string> Tracks { get; init; }
}
