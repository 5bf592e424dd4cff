using Delivery.Transcoder.Cage;
using System.Security.Cryptography;

namespace Delivery.Transcoder;

/// <summary>How a worker works. Every bound is here; the ladder itself is data (docs/formats/ladder.md).</summary>
public sealed record TranscoderOptions
{
    /// <summary>Jobs at once, 1 to 256. Default: one per core, because ffmpeg 5.1 runs all outputs of one process on one thread.</summary>
    public int Slots { get; init; } = Environment.ProcessorCount;

    /// <summary>
    /// Where jobs keep their files, one private folder each, removed after the job; what a killed worker left there is removed at start, so no two
    /// workers may share it. Needs about 2.5 times the masters in work. Default: <c>delivery-transcoder</c> in the system's temp folder.
    /// </summary>
    public string WorkFolder { get; init; } = Path.Combine(Path.GetTempPath(), "delivery-transcoder");

    /// <summary>Port of <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c>, on loopback alone; 0 takes any free one. Default 8092.</summary>
    public int AdminPort { get; init; } = 8092;

    /// <summary>Folders to look for ffmpeg, ffprobe, flac and metaflac in, separated as in PATH. Null (default): PATH.</summary>
    public string? ToolPath { get; init; }

    /// <summary>Largest master, 1 MiB to 64 GiB. Default 8 GiB: four hours of 24/96 stereo.</summary>
    public long MaxMasterBytes { get; init; } = 8L << 30;

    /// <summary>Shortest master, inclusive, 0.1 s to 1 min. Default 1 s: interludes pass, blips do not.</summary>
    public TimeSpan MinDuration { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest master, inclusive, 1 min to 24 h. Default 4 h.</summary>
    public TimeSpan MaxDuration { get; init; } = TimeSpan.FromHours(4);

    /// <summary>
    /// Address space of one ffmpeg, 512 MiB to 64 GiB. Default 1.5 GiB: the whole ladder takes under 90 MB resident, and 300 MB of address space is
    /// the least that a decode loads in.
    /// </summary>
    public long ToolMemoryBytes { get; init; } = 1536L << 20;

    /// <summary>Least wall-clock limit of one tool's run, 1 s to 1 h. Default 5 min. The limit grows by <see cref="TimeLimitPerAudioSecond"/>.</summary>
    public TimeSpan MinTimeLimit { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Wall-clock seconds allowed per second of audio, 0.1 to 20. Default 2: a free core needs about 0.1.</summary>
    public double TimeLimitPerAudioSecond { get; init; } = 2;

    /// <summary>A tool that shows no progress for so long is killed, 0.1 s to 10 min. Default 30 s.</summary>
    public TimeSpan StallTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>From SIGTERM to SIGKILL, 0.05 to 30 s. Default 3 s.</summary>
    public TimeSpan KillGrace { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Attempts at one job before a tool's passing fault (killed from outside, stalled, out of time) becomes the job's failure, 1 to 20; and how many workers in a row may be lost at one
    /// attempt. Default 4. Outages of store and disk go by <see cref="OutagePatience"/>.
    /// </summary>
    public int MaxAttempts { get; init; } = 4;

    /// <summary>Delay before the second attempt, 1 ms to 1 min; every further one is four times as long, less up to 20 %. Default 1 s (1, 4, 16 s).</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Weakest isolation of the tools that the worker starts with, in the order of <see cref="Isolation"/>. Default None: whatever this machine allows,
    /// with a warning. Production asks for Sandbox, so that a machine without bubblewrap takes no job.
    /// </summary>
    public Isolation RequireIsolation { get; init; } = Isolation.None;

    /// <summary>Longest delay between two attempts, 1 ms to 1 h. Default 4 min: an outage's end is noticed within it.</summary>
    public TimeSpan MaxRetryDelay { get; init; } = TimeSpan.FromMinutes(4);

    /// <summary>
    /// How long the store or the work folder's disk may fail a job before that becomes the job's failure, 0 to 30 days, from the first attempt that met it. Default 24 h: an outage is no fault
    /// of the job, and somebody has looked after a day.
    /// </summary>
    public TimeSpan OutagePatience { get; init; } = TimeSpan.FromHours(24);

    /// <summary>
    /// How long a worker that stops lets its jobs go on before it ends their tools and gives them back, 0 to 1 day. Default 0. It takes no new job meanwhile. Shorter than a service manager
    /// waits before it kills.
    /// </summary>
    public TimeSpan DrainTime { get; init; }

    /// <summary>Name of this worker in reports, 1 to 64 printable characters. Default: the machine's name and eight random hex digits.</summary>
    public string WorkerId { get; init; } = $"{(Environment.MachineName is { Length: > 48 } name ? name[..48] : Environment.MachineName)}-{RandomNumberGenerator.GetHexString(8, lowercase: true)}";

    /// <summary>A running job is reported at least so often, 0.1 to 20 s, whether or not it got further. Default 5 s: a minute of silence is a lost worker.</summary>
    public TimeSpan ReportInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Whether MP3, AAC (in MP4) and Ogg Vorbis are taken as masters too, with the warning <c>lossySource</c>. Default false: what such a file lost is gone from
    /// every rendition. Changes nothing for other masters. A cut file may pass: Ogg, and MP3 without a Xing header, do not tell their length.
    /// </summary>
    public bool AllowLossyMasters { get; init; }

    /// <summary>Space that must stay free in <see cref="WorkFolder"/> beside what the job needs, 0 to 1 TiB. Default 256 MiB.</summary>
    public long MinFreeBytes { get; init; } = 256L << 20;

    /// <summary>Limit of wall-clock and of CPU time for one run of a tool over audio of this length.</summary>
    internal TimeSpan TimeLimit(TimeSpan audio) => MinTimeLimit + (audio * TimeLimitPerAudioSecond);

    /// <summary>Everything that is wrong, one sentence each with the accepted range; empty when the options are good.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        Check(AdminPort is >= 0 and <= 65_535, nameof(AdminPort), AdminPort, "0 to 65535");
        Check(Slots is >= 1 and <= 256, nameof(Slots), Slots, "1 to 256");
        Check(!string.IsNullOrWhiteSpace(WorkFolder), nameof(WorkFolder), WorkFolder, "a folder");
        Check(ToolPath is not "", nameof(ToolPath), ToolPath, "folders separated as in PATH, or nothing for PATH itself");
        Check(MaxMasterBytes is >= 1L << 20 and <= 64L << 30, nameof(MaxMasterBytes), MaxMasterBytes, "1048576 (1 MiB) to 68719476736 (64 GiB)");
        CheckTime(MinDuration, TimeSpan.FromSeconds(0.1), TimeSpan.FromMinutes(1), nameof(MinDuration));
        CheckTime(MaxDuration, TimeSpan.FromMinutes(1), TimeSpan.FromHours(24), nameof(MaxDuration));
        Check(ToolMemoryBytes is >= 512L << 20 and <= 64L << 30, nameof(ToolMemoryBytes), ToolMemoryBytes, "536870912 (512 MiB) to 68719476736 (64 GiB)");
        CheckTime(MinTimeLimit, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1), nameof(MinTimeLimit));
        Check(TimeLimitPerAudioSecond is >= 0.1 and <= 20, nameof(TimeLimitPerAudioSecond), TimeLimitPerAudioSecond, "0.1 to 20");
        CheckTime(StallTimeout, TimeSpan.FromSeconds(0.1), TimeSpan.FromMinutes(10), nameof(StallTimeout));
        CheckTime(KillGrace, TimeSpan.FromSeconds(0.05), TimeSpan.FromSeconds(30), nameof(KillGrace));
        Check(MaxAttempts is >= 1 and <= 20, nameof(MaxAttempts), MaxAttempts, "1 to 20");
        CheckTime(RetryDelay, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1), nameof(RetryDelay));
        Check(Enum.IsDefined(RequireIsolation), nameof(RequireIsolation), RequireIsolation, "None, NetworkNamespace, UserNamespace or Sandbox");
        CheckTime(MaxRetryDelay, TimeSpan.FromMilliseconds(1), TimeSpan.FromHours(1), nameof(MaxRetryDelay));
        CheckTime(OutagePatience, TimeSpan.Zero, TimeSpan.FromDays(30), nameof(OutagePatience));
        CheckTime(DrainTime, TimeSpan.Zero, TimeSpan.FromDays(1), nameof(DrainTime));
        Check(WorkerId is { Length: >= 1 and <= 64 } && !WorkerId.Any(char.IsControl), nameof(WorkerId), WorkerId, "1 to 64 printable characters");
        CheckTime(ReportInterval, TimeSpan.FromSeconds(0.1), TimeSpan.FromSeconds(20), nameof(ReportInterval));
        Check(MinFreeBytes is >= 0 and <= 1L << 40, nameof(MinFreeBytes), MinFreeBytes, "0 to 1099511627776 (1 TiB)");
        return problems;

        void Check(bool good, string name, object? value, string range)
        {
            if (!good)
                problems.Add(FormattableString.Invariant($"Transcoder:{name} is '{value}'; accepted: {range}."));
        }

        void CheckTime(TimeSpan value, TimeSpan min, TimeSpan max, string name) =>
            Check(value >= min && value <= max, name, value, FormattableString.Invariant($"{min} to {max}"));
    }
}
