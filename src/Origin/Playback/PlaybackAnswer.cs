using Delivery.Transcoder.Results;

namespace Delivery.Origin.Playback;

/// <summary>A playback grant: the answer of <c>POST /v1/playback</c>.</summary>
public sealed record PlaybackAnswer
{
    public required string TrackId { get; init; }

    /// <summary>The chosen rendition on the first edge base; the same as the first of its <c>urls</c>.</summary>
    public required string Url { get; init; }

    /// <summary>When every URL here, those of <see cref="Prefetch"/> aside, stops working.</summary>
    public required DateTimeOffset ExpiresAt { get; init; }

    /// <summary>What was chosen; lower than asked for where the tier, the ladder or the codecs demand it.</summary>
    public required string Quality { get; init; }

    public required string Codec { get; init; }

    /// <summary>Measured, bit/s.</summary>
    public required int Bitrate { get; init; }

    public required long DurationMs { get; init; }

    /// <summary>Null for digital silence.</summary>
    public PlaybackLoudness? Loudness { get; init; }

    public required Gapless Gapless { get; init; }

    /// <summary>Everything that the player may switch to, best first, the chosen one included.</summary>
    public required IReadOnlyList<GrantedRendition> Renditions { get; init; }

    /// <summary>One entry per track of the request's <c>next</c>, in its order.</summary>
    public required IReadOnlyList<PrefetchEntry> Prefetch { get; init; }
}

public sealed record PlaybackLoudness(double IntegratedLufs, double TruePeakDbtp);

public sealed record GrantedRendition
{
    public required string Quality { get; init; }

    public required string Codec { get; init; }

    /// <summary>RFC 6381, for <c>canPlayType</c> and MSE.</summary>
    public required string CodecString { get; init; }

    public required string ContentType { get; init; }

    public required int Bitrate { get; init; }

    public required long Bytes { get; init; }

    public required Gapless Gapless { get; init; }

    /// <summary>One per edge base, the preferred first.</summary>
    public required IReadOnlyList<string> Urls { get; init; }
}

/// <summary>A track that comes next: its first bytes are worth fetching now. Either <see cref="Refused"/> or the rest is set.</summary>
public sealed record PrefetchEntry
{
    public required string TrackId { get; init; }

    /// <summary>Why not.</summary>
    public PlaybackRefusal? Refused { get; init; }

    public string? Quality { get; init; }

    public string? Codec { get; init; }

    public IReadOnlyList<string>? Urls { get; init; }

    /// <summary>How many bytes from the start are worth fetching ahead: every rendition starts to sound within them.</summary>
    public int? HeadBytes { get; init; }

    /// <summary>Later than the grant's: the track before it is heard first.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>Why a track is not granted. The name is also the metric label and the API's word.</summary>
public enum PlaybackRefusal
{
    /// <summary>No such track, or its release no longer lists it.</summary>
    UnknownTrack,

    /// <summary>No rendition is published yet.</summary>
    NotReady,

    /// <summary>Not in the listener's country, or the country is unknown and the release has territories.</summary>
    Territory,

    /// <summary>Before its release; a preview is granted.</summary>
    NotYetAvailable,

    /// <summary>Not in the listener's tier; a preview is granted.</summary>
    Tier,

    /// <summary>No rendition in any of the codecs that the player decodes.</summary>
    Codec,

    /// <summary>Of a track that comes next alone: the store cannot tell of it now.</summary>
    Unavailable,
}
