namespace Delivery.Origin.Playback;

/// <summary>The body of <c>POST /v1/playback</c> (docs/api.md).</summary>
public sealed record PlaybackRequest
{
    public required string TrackId { get; init; }

    /// <summary><c>low</c>, <c>normal</c>, <c>high</c>, <c>veryhigh</c>, <c>lossless</c>, <c>hires</c> or <c>preview</c>. Default <c>high</c>.</summary>
    public string Quality { get; init; } = "high";

    /// <summary>What the player decodes, best first: <c>vorbis</c>, <c>aac</c>, <c>flac</c>. Default: all three in this order.</summary>
    public IReadOnlyList<string> Codecs { get; init; } = ["vorbis", "aac", "flac"];

    /// <summary><c>free</c> or <c>premium</c>.</summary>
    public required string Tier { get; init; }

    /// <summary>Where the listener is, ISO 3166-1 alpha-2. Null: unknown, which a release with territories refuses.</summary>
    public string? Country { get; init; }

    /// <summary>Accepted for the caller's convenience; neither logged nor put in a URL nor kept.</summary>
    public string? UserId { get; init; }

    /// <summary>The tracks that come after this one, at most 10.</summary>
    public IReadOnlyList<string> Next { get; init; } = [];
}
