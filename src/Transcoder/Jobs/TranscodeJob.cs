namespace Delivery.Transcoder.Jobs;

/// <summary>Work for the farm: one master, all rungs. Its identity is what makes its result, so the same work asked twice is one job.</summary>
public sealed record TranscodeJob
{
    /// <summary>Version of this message; a worker refuses a version it does not know.</summary>
    public int Format { get; init; } = 1;

    /// <summary>Unique per track and master: <c>{trackId}.{uploadId}</c>; of a backfill, <c>{trackId}.{uploadId}~{ladder}</c>.</summary>
    public required string JobId { get; init; }

    public required string TrackId { get; init; }

    /// <summary>Object key of the master.</summary>
    public required string MasterKey { get; init; }

    /// <summary>Lower-case hex SHA-256 of the master, checked after the fetch.</summary>
    public required string MasterSha256 { get; init; }

    /// <summary>Length of the master in bytes.</summary>
    public required long MasterBytes { get; init; }

    /// <summary>Name of the ladder to make, for example <c>default-1</c>.</summary>
    public required string Ladder { get; init; }

    /// <summary>Release time; earlier first. Null: when there is nothing more urgent.</summary>
    public DateTimeOffset? Deadline { get; init; }

    public JobPriority Priority { get; init; }
}

/// <summary>What a job is for.</summary>
public enum JobPriority
{
    /// <summary>A new master.</summary>
    Release,

    /// <summary>A track that plays already and shall have another ladder: behind every release.</summary>
    Backfill,
}

/// <summary>Where a job is.</summary>
public enum JobPhase
{
    Queued,
    Fetch,
    Probe,
    Encode,
    Verify,
    Publish,
    Done,
    Failed,
}

/// <summary>Why a job failed for good. The name is also the metric label, the log word and the API's code.</summary>
public enum JobFailure
{
    /// <summary>No bytes.</summary>
    EmptyMaster,

    /// <summary>The bytes are not those that the catalog names.</summary>
    MasterDigestMismatch,

    /// <summary>Not an audio file that we accept (WAV, W64, AIFF or FLAC with PCM or FLAC inside).</summary>
    UnsupportedFormat,

    /// <summary>Damaged: truncated, bit-rotten, or its header lies about its length.</summary>
    CorruptMaster,

    /// <summary>More than two channels.</summary>
    UnsupportedChannels,

    /// <summary>A sample rate or bit depth outside what the ladder takes.</summary>
    UnsupportedSampleFormat,

    /// <summary>Shorter than 1 s (or the ladder's bound) or longer than 4 h.</summary>
    UnsupportedDuration,

    /// <summary>A limit of the cage was hit: memory, CPU, file size or time.</summary>
    LimitExceeded,

    /// <summary>ffmpeg failed on a master that probes as healthy.</summary>
    EncoderFailed,

    /// <summary>An output did not pass verification.</summary>
    VerificationFailed,

    /// <summary>The master is gone from the store.</summary>
    MasterMissing,

    /// <summary>ffmpeg, ffprobe or metaflac is not installed or lacks an encoder.</summary>
    ToolMissing,

    /// <summary>The store failed for longer than the retries last.</summary>
    StoreFailed,

    /// <summary>The worker's own disk is full, for longer than the retries last.</summary>
    WorkFolderFull,

    /// <summary>An operator cancelled it, or a newer master took its place.</summary>
    Cancelled,

    /// <summary>The job took its workers with it, time and again: they died or lost the broker while they held it.</summary>
    WorkersLost,

    /// <summary>A fault of our own.</summary>
    Internal,
}

/// <summary>What a worker says of a job: progress while it runs, at least every few seconds, then one report with phase Done or Failed.</summary>
public sealed record JobReport
{
    public int Format { get; init; } = 1;

    public required string JobId { get; init; }

    public required string TrackId { get; init; }

    public required JobPhase Phase { get; init; }

    /// <summary>Which attempt this is, from 1.</summary>
    public int Attempt { get; init; } = 1;

    /// <summary>0 to 1 over the whole job.</summary>
    public double Progress { get; init; }

    /// <summary>Seconds until the job is done, as its worker estimates; null where there is nothing to say.</summary>
    public double? SecondsLeft { get; init; }

    /// <summary>Id of the worker; null in reports that no worker sent.</summary>
    public string? Worker { get; init; }

    /// <summary>Set when <see cref="Phase"/> is Failed.</summary>
    public JobFailure? Failure { get; init; }

    /// <summary>One sentence for a person: what is wrong and what to do about it. Set when Failed.</summary>
    public string? Message { get; init; }

    /// <summary>Object key of the result manifest. Set when Done.</summary>
    public string? ResultKey { get; init; }

    public DateTimeOffset At { get; init; }
}
