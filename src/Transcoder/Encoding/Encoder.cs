using System.Globalization;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Waveforms;

namespace Delivery.Transcoder.Encoding;

/// <summary>Runs the plan: one ffmpeg, then the seek tables.</summary>
internal sealed class Encoder(ToolSet tools, ToolCage cage, TranscoderOptions options)
{
    /// <summary>18 bytes each: 432 bytes for a song, and any player can seek within ten seconds of audio.</summary>
    private const string SeekPoints = "--add-seekpoint=10s";

    private const string Md5Prefix = "MD5=";

    /// <param name="folder">The job's folder, with the master in it.</param>
    /// <param name="masterFile">The master's name there.</param>
    /// <param name="plan">What to make.</param>
    /// <param name="onProgress">Called with the encoded part, 0 to 1.</param>
    /// <param name="cancellationToken">Ends ffmpeg; its files are worth nothing then.</param>
    /// <exception cref="JobException">The master is damaged, a limit was hit, or ffmpeg failed.</exception>
    public async Task<EncodedMaster> EncodeAsync(string folder, string masterFile, EncodePlan plan, Action<double> onProgress, CancellationToken cancellationToken)
    {
        var log = new MeasurementLog();
        var progress = new FfmpegProgress(plan.Master.Duration, onProgress);
        var waveform = new WaveformBuilder(Ladder.LossySampleRate, plan.Master.Samples * Ladder.LossySampleRate / plan.Master.SampleRate);
        var masterError = "";
        var outcome = await cage.RunAsync(
            new ToolRun
            {
                Tool = tools.Ffmpeg,
                Arguments = FfmpegArguments.Build(plan, masterFile),
                Folder = folder,
                Input = masterFile,
                MemoryBytes = options.ToolMemoryBytes,
                MaxFileBytes = plan.MaxOutputBytes,
                TimeLimit = options.TimeLimit(plan.Master.Duration),
                StallTimeout = options.StallTimeout,
                KillGrace = options.KillGrace,
                OnOutputBytes = waveform.Add,
                OnLog = line =>
                {
                    progress.Add(line);
                    log.Add(line);
                    if (masterError.Length == 0 && IsError(line))
                        masterError = line;
                },
            },
            cancellationToken);

        if (outcome.End != ToolEnd.Exited)
            throw ToolFailures.ToException("ffmpeg", outcome);
        if (!outcome.Succeeded)
            throw Blame(outcome, masterError);
        // ffmpeg that is stopped ends its files as valid, shorter ones: only progress=end says that the end was reached.
        if (!progress.Ended || log.Result(plan.Master) is not { } measured)
            throw new JobException(JobFailure.EncoderFailed, "ffmpeg ended without saying that it was done; retry the job.", canRetry: true);
        if (measured.Samples != plan.Master.Samples)
        {
            throw new JobException(
                JobFailure.CorruptMaster,
                $"The master's header promises {plan.Master.Samples} samples and {measured.Samples} are there; export it again and upload it whole.");
        }

        if (measured.NotNumbers > 0)
            throw NotNumbers();

        await AddSeekTablesAsync(folder, plan, cancellationToken);
        return new EncodedMaster(measured, plan.Master.FitsFlac ? await ReadMd5Async(folder, cancellationToken) : null, waveform.Build());
    }

    /// <summary>The exit code does not say whether reading or writing failed; the kind of the first error does.</summary>
    private static JobException Blame(ToolOutcome outcome, string firstError)
    {
        if (outcome.LogHas("NaN/+-Inf")) // ffmpeg's AAC encoder
            return NotNumbers();
        var failure = ToolFailures.ToException("ffmpeg", outcome);
        // Reading is all that can fail on a healthy machine: the encoders were tried at start.
        return failure.Failure != JobFailure.EncoderFailed || firstError.Contains("encod", StringComparison.OrdinalIgnoreCase)
            ? failure
            : new JobException(JobFailure.CorruptMaster, $"The master is damaged: it does not decode to its end ({ToolFailures.Shorten(firstError)}); export it again and upload it whole.");
    }

    private static JobException NotNumbers() => new(JobFailure.CorruptMaster, "The master has samples that are not numbers, or infinite; export it again.");

    private static bool IsError(string line) =>
        line.Contains("[error]", StringComparison.Ordinal) || line.Contains("[fatal]", StringComparison.Ordinal);

    private async Task AddSeekTablesAsync(string folder, EncodePlan plan, CancellationToken cancellationToken)
    {
        var files = plan.Renditions.Where(r => r.Rung.Codec == RungCodec.Flac).Select(r => r.FileName).ToList();
        if (files.Count == 0)
            return;
        var outcome = await cage.RunAsync(
            new ToolRun
            {
                Tool = tools.Metaflac,
                Arguments = [SeekPoints, .. files],
                Folder = folder,
                MemoryBytes = options.ToolMemoryBytes,
                MaxFileBytes = plan.MaxOutputBytes,
                TimeLimit = options.TimeLimit(plan.Master.Duration),
                KillGrace = options.KillGrace,
            },
            cancellationToken);
        if (!outcome.Succeeded)
            throw ToolFailures.ToException("metaflac", outcome);
    }

    private static async Task<string> ReadMd5Async(string folder, CancellationToken cancellationToken)
    {
        var text = (await File.ReadAllTextAsync(Path.Combine(folder, FfmpegArguments.MasterMd5File), cancellationToken)).Trim();
        return text.StartsWith(Md5Prefix, StringComparison.Ordinal)
            ? text[Md5Prefix.Length..].ToLower(CultureInfo.InvariantCulture)
            : throw new JobException(JobFailure.Internal, "ffmpeg's MD5 of the master cannot be read.");
    }
}

/// <summary>What the encode run gave beside the renditions.</summary>
/// <param name="Measured">What was measured.</param>
/// <param name="Md5">MD5 of the master's PCM; null when FLAC cannot hold it.</param>
/// <param name="Waveform">Of the mono mix.</param>
internal sealed record EncodedMaster(MasterMeasurement Measured, string? Md5, Waveform Waveform);
