using Delivery.Origin.Api;
using Delivery.Origin.Webhooks;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;

namespace Delivery.Origin.Catalog;

// A track's life. What the release says of it (title, ISRC, whether it is still listed) stands in the release's manifest alone.
//
//   AwaitingMaster ──master──▶ Queued ──Done──▶ Ready
//                               │  ▲ ▲            │
//                             Failed │ └─master───┤
//                               ▼  │ retry        │
//                             Failed ◀────────────┘ never: a ready master stays ready
//
// Published changes only on Done, so an earlier master's renditions play on while Queued or Failed.

/// <summary>State of the newest master.</summary>
internal enum MasterState
{
    AwaitingMaster,
    Queued,
    Ready,
    Failed,
}

/// <summary><c>catalog/tracks/{trackId}.json</c>. Format: docs/formats/catalog.md.</summary>
internal sealed record TrackManifest : Manifest
{
    public required string TrackId { get; init; }

    /// <summary>For good: a track never changes its release.</summary>
    public required string ReleaseId { get; init; }

    /// <summary>Counts the writes, from 1; tells which of two copies in memory is the newer.</summary>
    public required int Revision { get; init; }

    public required DateTimeOffset UpdatedAt { get; init; }

    public required MasterState State { get; init; }

    public TrackMaster? Master { get; init; }

    public TrackFailure? Failure { get; init; }

    public PublishedRenditions? Published { get; init; }

    /// <summary>
    /// File ids of earlier renditions whose file manifests may still name this track: written with the switch to the new ones, removed when
    /// those manifests are clean, so that a crash in between is made good at the next start.
    /// </summary>
    public IReadOnlyList<string>? Retired { get; init; }

    /// <summary>Since when the newest master waits for the farm's end of it; null when it does not.</summary>
    public DateTimeOffset? QueuedAt { get; init; }

    /// <summary>The newest master's job is in a queue that outlives this process. Null: nothing says so, and it must be enqueued.</summary>
    public EnqueuedJob? Enqueued { get; init; }

    /// <summary>Why the newest master could not be made with another ladder; what is published plays on. Cleared when something is published, or a new master comes.</summary>
    public BackfillFailure? BackfillFailure { get; init; }

    /// <summary>What receivers of webhooks have not all taken yet, oldest first.</summary>
    public IReadOnlyList<Announcement>? Announcements { get; init; }

    public static TrackManifest New(string trackId, string releaseId, DateTimeOffset now) =>
        new() { TrackId = trackId, ReleaseId = releaseId, Revision = 1, UpdatedAt = now, State = MasterState.AwaitingMaster };

    /// <summary>The next revision.</summary>
    public TrackManifest Next(DateTimeOffset now) => this with { Revision = Revision + 1, UpdatedAt = now };

    /// <summary>When the newest master's job must be done: never, for a track that plays already, so that a re-delivered back catalogue does not go before tomorrow's drop.</summary>
    public DateTimeOffset? Deadline(DateTimeOffset? availableFrom) => Published is null ? availableFrom : null;

    /// <summary>The job of the newest master, or null when there is none.</summary>
    public TranscodeJob? Job(DateTimeOffset? availableFrom) => Master is null
        ? null
        : new TranscodeJob
        {
            JobId = JobIds.Of(TrackId, Master.UploadId),
            TrackId = TrackId,
            MasterKey = Master.Key,
            MasterSha256 = Master.Sha256,
            MasterBytes = Master.Bytes,
            Ladder = Master.Ladder,
            Deadline = Deadline(availableFrom),
        };

    /// <summary>The job that makes the newest master with another ladder, behind every release, or null when there is none.</summary>
    public TranscodeJob? BackfillJob(string ladder) => Master is null
        ? null
        : Job(null)! with { JobId = JobIds.OfBackfill(TrackId, Master.UploadId, ladder), Ladder = ladder, Priority = JobPriority.Backfill };
}

/// <summary>When the queue last confirmed a job, and the line that it went to.</summary>
internal sealed record EnqueuedJob(DateTimeOffset At, JobUrgency Urgency);

/// <summary>A backfill's job that failed for good.</summary>
internal sealed record BackfillFailure(string Ladder, JobFailure Code, string Message, DateTimeOffset At);

/// <summary>An accepted master.</summary>
internal sealed record TrackMaster
{
    /// <summary>32 hex digits, ascending with time.</summary>
    public required string UploadId { get; init; }

    public required string Key { get; init; }

    public required string Sha256 { get; init; }

    public required long Bytes { get; init; }

    public string? Filename { get; init; }

    /// <summary>The ladder that was current when the master came.</summary>
    public required string Ladder { get; init; }

    public required DateTimeOffset UploadedAt { get; init; }
}

/// <summary>One master's renditions, as playback needs them: the farm's result without chunk digests and maps, which are in the file manifests.</summary>
internal sealed record PublishedRenditions
{
    public required string MasterSha256 { get; init; }

    public required string Ladder { get; init; }

    public required string Encoder { get; init; }

    public required string ResultKey { get; init; }

    public required DateTimeOffset PublishedAt { get; init; }

    public required MasterFacts Master { get; init; }

    public Loudness? Loudness { get; init; }

    public required QualityReport Report { get; init; }

    public required WaveformFacts Waveform { get; init; }

    /// <summary>What the origin's thresholds said of the report on the day of publication.</summary>
    public required IReadOnlyList<QualityWarning> Warnings { get; init; }

    public required IReadOnlyList<PublishedRendition> Renditions { get; init; }
}

internal sealed record PublishedRendition
{
    public required string Quality { get; init; }

    public required string Codec { get; init; }

    public required string CodecString { get; init; }

    public required string FileId { get; init; }

    public required string Extension { get; init; }

    public required string ContentType { get; init; }

    public required long Bytes { get; init; }

    public required int Bitrate { get; init; }

    public required int SampleRate { get; init; }

    public required int Channels { get; init; }

    public int? BitsPerSample { get; init; }

    public required Gapless Gapless { get; init; }

    public required int FirstSoundBytes { get; init; }

    public required string Sha256 { get; init; }

    /// <summary>Object key; with a leading slash, the public path.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public string Key => $"audio/{FileId}.{Extension}";

    /// <summary>What is heard: a preview is shorter than its track.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public TimeSpan Duration => TimeSpan.FromSeconds((double)Gapless.TotalSamples / SampleRate);
}
