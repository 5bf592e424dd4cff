using Delivery.Origin.Ingest;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;

namespace Delivery.Origin.Api;

/// <summary>Where a track is. The state is that of its newest master: while a re-delivered master is in the works, the renditions of the one before still play.</summary>
public enum TrackState
{
    /// <summary>No master has been uploaded.</summary>
    AwaitingMaster,

    /// <summary>The master is in the store and its job waits for a worker.</summary>
    Queued,

    /// <summary>A worker has it.</summary>
    Transcoding,

    /// <summary>Every rendition of the newest master is in the store.</summary>
    Ready,

    /// <summary>The newest master cannot be transcoded; <see cref="TrackStatus.Failure"/> says why.</summary>
    Failed,

    /// <summary>The release no longer lists the track.</summary>
    Withdrawn,
}

/// <summary>Answer of <c>GET</c> and <c>PUT /v1/releases/{releaseId}</c>.</summary>
public sealed record ReleaseStatus
{
    public required string ReleaseId { get; init; }

    public required string Title { get; init; }

    public required IReadOnlyList<string> Artists { get; init; }

    public string? Label { get; init; }

    public string? Upc { get; init; }

    public Territories? Territories { get; init; }

    public IReadOnlyList<string>? Tiers { get; init; }

    public DateTimeOffset? AvailableFrom { get; init; }

    /// <summary>Counts the changes of the release's document, from 1.</summary>
    public required int Revision { get; init; }

    public required DateTimeOffset UpdatedAt { get; init; }

    public required TrackCounts Counts { get; init; }

    /// <summary>In the order of their numbers.</summary>
    public required IReadOnlyList<TrackStatus> Tracks { get; init; }
}

/// <summary>How many tracks are in which state.</summary>
public sealed record TrackCounts(int Total, int AwaitingMaster, int Queued, int Transcoding, int Ready, int Failed);

/// <summary>One page of <c>GET /v1/releases</c>, ordered by id. <paramref name="Next"/>: the following page, null at the end.</summary>
public sealed record ReleasePage(IReadOnlyList<ReleaseSummary> Releases, string? Next);

public sealed record ReleaseSummary
{
    public required string ReleaseId { get; init; }

    public required string Title { get; init; }

    public required IReadOnlyList<string> Artists { get; init; }

    public DateTimeOffset? AvailableFrom { get; init; }

    public required int Revision { get; init; }

    public required DateTimeOffset UpdatedAt { get; init; }

    public required TrackCounts Counts { get; init; }
}

/// <summary>Answer of <c>GET /v1/tracks/{trackId}</c> and of a master's upload.</summary>
public sealed record TrackStatus
{
    public required string TrackId { get; init; }

    public required string ReleaseId { get; init; }

    public required TrackState State { get; init; }

    /// <summary>Null like the next three when the track is withdrawn.</summary>
    public string? Title { get; init; }

    public int? Number { get; init; }

    public string? Isrc { get; init; }

    public IReadOnlyList<string>? Artists { get; init; }

    /// <summary>The newest master's job; null before there is a master.</summary>
    public JobStatus? Job { get; init; }

    /// <summary>Set when the state is failed.</summary>
    public TrackFailure? Failure { get; init; }

    public MasterStatus? Master { get; init; }

    /// <summary>What plays now; null when nothing does. Its <see cref="PublishedStatus.MasterSha256"/> is older than <see cref="Master"/> while a re-delivery is in the works.</summary>
    public PublishedStatus? Published { get; init; }
}

public sealed record MasterStatus
{
    public required string UploadId { get; init; }

    public required string Sha256 { get; init; }

    public required long Bytes { get; init; }

    public string? Filename { get; init; }

    public required DateTimeOffset UploadedAt { get; init; }
}

/// <summary>Why the newest master gave no renditions: the farm's code, and a sentence that says what to do.</summary>
public sealed record TrackFailure(JobFailure Code, string Message, DateTimeOffset At);

/// <summary>One job of the farm, of <c>GET /v1/jobs/{jobId}</c>.</summary>
public sealed record JobStatus
{
    /// <summary><c>{trackId}.{uploadId}</c></summary>
    public required string JobId { get; init; }

    public required string TrackId { get; init; }

    public required string ReleaseId { get; init; }

    public required JobPhase Phase { get; init; }

    /// <summary>0 to 1 over the whole job.</summary>
    public required double Progress { get; init; }

    /// <summary>From 1; null before a worker has reported.</summary>
    public int? Attempt { get; init; }

    /// <summary>Until it is done, as its worker estimates.</summary>
    public double? SecondsLeft { get; init; }

    /// <summary>Id of the worker that has it.</summary>
    public string? Worker { get; init; }

    public TrackFailure? Failure { get; init; }

    /// <summary>While a worker has it, its last life sign.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }
}

/// <summary>One page of <c>GET /v1/jobs</c>, ordered by id.</summary>
public sealed record JobPage(IReadOnlyList<JobStatus> Jobs, string? Next);

/// <summary>A master's renditions, as published together.</summary>
public sealed record PublishedStatus
{
    public required string MasterSha256 { get; init; }

    public required string Ladder { get; init; }

    public required string Encoder { get; init; }

    public required DateTimeOffset PublishedAt { get; init; }

    public required long DurationMs { get; init; }

    /// <summary>What the master is, by decoding it.</summary>
    public required MasterFacts MasterFacts { get; init; }

    /// <summary>Null for digital silence.</summary>
    public Loudness? Loudness { get; init; }

    /// <summary>What was measured on the master.</summary>
    public required QualityReport Report { get; init; }

    /// <summary>What of it is worth a look, by the origin's thresholds.</summary>
    public required IReadOnlyList<QualityWarning> Warnings { get; init; }

    public required IReadOnlyList<RenditionStatus> Renditions { get; init; }
}

public sealed record RenditionStatus
{
    public required string Quality { get; init; }

    public required string Codec { get; init; }

    /// <summary>RFC 6381.</summary>
    public required string CodecString { get; init; }

    public required string FileId { get; init; }

    /// <summary>Path on every edge, unsigned: <c>/audio/{fileId}.{ext}</c>.</summary>
    public required string Path { get; init; }

    public required string ContentType { get; init; }

    public required long Bytes { get; init; }

    /// <summary>Measured, bit/s.</summary>
    public required int Bitrate { get; init; }

    public required int SampleRate { get; init; }

    public required int Channels { get; init; }

    public int? BitsPerSample { get; init; }

    public required Gapless Gapless { get; init; }

    public required int FirstSoundBytes { get; init; }

    public required string Sha256 { get; init; }
}
