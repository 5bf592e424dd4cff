using System.Globalization;
using System.Text;
using System.Text.Json;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Probing;

/// <summary>
/// Asks ffprobe what a master is, and refuses what the ladder cannot take, in one sentence that says what to do. A lossy master, where they are allowed,
/// is decoded once and its PCM takes its place: nothing that follows ever meets a lossy one, and its length is known to the sample.
/// </summary>
internal sealed class Prober(ToolSet tools, ToolCage cage, TranscoderOptions options)
{
    private const int MaxOutputChars = 64 * 1024;
    private const string DecodedFile = "decoded";

    /// <summary>How much shorter than declared a lossy master may be: MP3 without a Xing header declares an estimate.</summary>
    private const double LossyLengthTolerance = 0.01;
    private static readonly TimeSpan LossyLengthSlack = TimeSpan.FromSeconds(1);

    /// <exception cref="JobException">The master is refused.</exception>
    public async Task<MasterProbe> ProbeAsync(string folder, string file, CancellationToken cancellationToken)
    {
        var path = Path.Combine(folder, file);
        using (var content = File.OpenRead(path))
        {
            if (content.Length == 0)
                throw new JobException(JobFailure.EmptyMaster, "The master has no bytes; upload it again.");
            if (WavLength.Problem(content) is { } problem)
                throw new JobException(JobFailure.CorruptMaster, $"The WAV file is damaged: {problem}; export it again and upload it whole.");
        }

        var probe = Judge(await AskAsync(folder, file, options.AllowLossyMasters, cancellationToken), options);
        if (!AcceptedMasters.IsLossy(probe.Codec))
            return probe;
        await DecodeLossyAsync(folder, file, probe, cancellationToken);
        var decoded = Judge(await AskAsync(folder, file, lossyToo: false, cancellationToken), options);
        if (decoded.Duration < (probe.Duration * (1 - LossyLengthTolerance)) - LossyLengthSlack)
            throw new JobException(JobFailure.CorruptMaster, FormattableString.Invariant($"The master promises {probe.Duration.TotalSeconds:0.0} s and {decoded.Duration.TotalSeconds:0.0} s are there; upload it whole, or deliver the original as WAV or FLAC."));
        return decoded with { Container = probe.Container, Codec = probe.Codec };
    }

    /// <summary>The run that makes PCM of a lossy master.</summary>
    internal static IReadOnlyList<string> LossyDecodeArguments(string file, MasterProbe probe) =>
    [
        "-hide_banner", "-nostdin", "-y", "-xerror", "-err_detect", "explode+crccheck", "-loglevel", "level+info", "-nostats", "-progress", "pipe:1",
        "-stats_period", "0.5", "-max_alloc", "268435456", "-threads", "1",
        "-protocol_whitelist", "file,pipe", "-format_whitelist", AcceptedMasters.LossyContainers, "-codec_whitelist", AcceptedMasters.LossyDecoders,
        "-vn", "-sn", "-dn", "-i", $"file:{file}", "-map", "0:a:0",
        // ffmpeg 5.1 plays the padding behind the last sample of an MP4 file; its header tells where it starts.
        "-af", probe.Container == "m4a" ? FormattableString.Invariant($"atrim=end_sample={probe.Samples}") : "anull",
        "-map_metadata", "-1", "-fflags", "+bitexact", "-c:a", "pcm_f32le", "-rf64", "auto", "-f", "wav", $"file:{DecodedFile}",
    ];

    private async Task DecodeLossyAsync(string folder, string file, MasterProbe probe, CancellationToken cancellationToken)
    {
        var ended = false;
        var outcome = await cage.RunAsync(
            new ToolRun
            {
                Tool = tools.Ffmpeg,
                Arguments = LossyDecodeArguments(file, probe),
                Folder = folder,
                MemoryBytes = options.ToolMemoryBytes,
                // Twice what is declared, because some headers estimate.
                MaxFileBytes = (2 * probe.Samples * probe.Channels * sizeof(float)) + (1 << 20),
                TimeLimit = options.TimeLimit(probe.Duration),
                StallTimeout = options.StallTimeout,
                KillGrace = options.KillGrace,
                OnOutput = line =>
                {
                    ended |= line == "progress=end";
                    return true;
                },
            },
            cancellationToken);
        if (outcome.End != ToolEnd.Exited)
            throw ToolFailures.ToException("ffmpeg", outcome);
        if (!outcome.Succeeded || !ended)
        {
            var failure = ToolFailures.ToException("ffmpeg", outcome);
            throw failure.Failure != JobFailure.EncoderFailed
                ? failure
                : new JobException(JobFailure.CorruptMaster, $"The master is damaged: it does not decode to its end ({ToolFailures.Quote(outcome)}); upload it whole, or deliver the original as WAV or FLAC.");
        }

        File.Move(Path.Combine(folder, DecodedFile), Path.Combine(folder, file), overwrite: true);
    }

    private async Task<ProbeOutput?> AskAsync(string folder, string file, bool lossyToo, CancellationToken cancellationToken)
    {
        var output = new StringBuilder();
        var outcome = await cage.RunAsync(
            new ToolRun
            {
                Tool = tools.Ffprobe,
                Arguments =
                [
                    "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", lossyToo ? $"{AcceptedMasters.Containers},{AcceptedMasters.LossyContainers}" : AcceptedMasters.Containers, "-select_streams", "a",
                    "-show_entries", "format=format_name:stream=codec_name,sample_fmt,sample_rate,channels,bits_per_sample,bits_per_raw_sample,duration_ts,time_base,duration",
                    "-of", "json", $"file:{file}",
                ],
                Folder = folder,
                MemoryBytes = options.ToolMemoryBytes,
                MaxFileBytes = 0,
                TimeLimit = options.MinTimeLimit,
                KillGrace = options.KillGrace,
                OnOutput = line =>
                {
                    if (output.Length + line.Length < MaxOutputChars)
                        output.AppendLine(line);
                    return true;
                },
            },
            cancellationToken);
        if (outcome.End != ToolEnd.Exited)
            throw ToolFailures.ToException("ffprobe", outcome);
        if (!outcome.Succeeded)
        {
            var advice = Advice(Path.Combine(folder, file));
            throw Unsupported($"It is not a WAV, W64, AIFF or FLAC file, whatever its name says{(advice is null ? "" : $" ({advice})")}");
        }

        try
        {
            return JsonSerializer.Deserialize(output.ToString(), ProbeJson.Default.ProbeOutput);
        }
        catch (JsonException error)
        {
            throw new JobException(JobFailure.Internal, $"ffprobe's answer cannot be read: {error.Message}", canRetry: false, error);
        }
    }

    /// <summary>The rules, on what ffprobe said.</summary>
    internal static MasterProbe Judge(ProbeOutput? probed, TranscoderOptions options)
    {
        if (probed?.Streams is not [var stream, ..] || probed.Format?.FormatName is not { } container || stream.CodecName is not { } codec)
            throw Unsupported("It holds no audio");
        var isLossy = options.AllowLossyMasters && AcceptedMasters.IsLossy(codec);
        if (!isLossy && !AcceptedMasters.Codecs.Split(',').Contains(codec))
            throw Unsupported($"Its audio is {codec}, which is lossy or unusual");
        if (stream.Channels is < 1 or > AcceptedMasters.MaxChannels)
            throw new JobException(JobFailure.UnsupportedChannels, $"The master has {stream.Channels} channels; deliver it in mono or stereo.");

        _ = int.TryParse(stream.SampleRate, NumberStyles.None, CultureInfo.InvariantCulture, out var rate);
        if (!AcceptedMasters.SampleRates.Contains(rate))
        {
            throw new JobException(
                JobFailure.UnsupportedSampleFormat,
                $"The master's sample rate is {rate} Hz; deliver it at {string.Join(", ", AcceptedMasters.SampleRates.SkipLast(1))} or {AcceptedMasters.SampleRates[^1]} Hz, from the original recording.");
        }

        if (isLossy)
            return CheckDuration(new MasterProbe(container.StartsWith("mov", StringComparison.Ordinal) ? "m4a" : container, codec, rate, stream.Channels, 32, LossySamples(stream, rate)));

        // FLAC says it in bits_per_raw_sample alone, 16-bit PCM in bits_per_sample alone.
        if (!int.TryParse(stream.BitsPerRawSample, NumberStyles.None, CultureInfo.InvariantCulture, out var bits) || bits == 0)
            bits = stream.BitsPerSample != 0 ? stream.BitsPerSample : stream.SampleFmt is "s16" ? 16 : 0;
        if (bits is not (16 or 24 or 32))
            throw new JobException(JobFailure.UnsupportedSampleFormat, $"The master has {bits} bits per sample; deliver it with 16 or 24 bits, or as 32-bit float.");
        return stream.DurationTs is { } samples and > 0
            ? CheckDuration(new MasterProbe(container, codec, rate, stream.Channels, bits, samples))
            : throw NoLength();

        MasterProbe CheckDuration(MasterProbe probe) =>
            probe.Duration < options.MinDuration ? throw Duration(probe, "shorter", options.MinDuration)
            : probe.Duration > options.MaxDuration ? throw Duration(probe, "longer", options.MaxDuration)
            : probe;

        static JobException Duration(MasterProbe probe, string comparison, TimeSpan bound) => new(
            JobFailure.UnsupportedDuration,
            string.Create(CultureInfo.InvariantCulture, $"The master lasts {probe.Duration.TotalSeconds:0.###} s, {comparison} than the {bound.TotalSeconds:0.###} s that the ladder takes; check that it is the right file."));
    }

    /// <summary>To the sample where the container counts samples, else as near as its header tells.</summary>
    private static long LossySamples(ProbedStream stream, int rate)
    {
        if (stream.DurationTs is { } units and > 0 && stream.TimeBase == FormattableString.Invariant($"1/{rate}"))
            return units;
        return double.TryParse(stream.Duration, NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds) && seconds > 0 ? (long)(seconds * rate) : throw NoLength();
    }

    private static string? Advice(string path)
    {
        using var content = File.OpenRead(path);
        Span<byte> head = stackalloc byte[ForeignFormat.HeadBytes];
        return ForeignFormat.Advice(head[..content.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)]);
    }

    private static JobException NoLength() =>
        new(JobFailure.CorruptMaster, "The master's header does not say how long it is, so nobody could tell whether it is whole; write it to a file, not to a pipe, and upload it again.");

    private static JobException Unsupported(string what) =>
        new(JobFailure.UnsupportedFormat, $"The master cannot be used. {what}; deliver WAV, W64, AIFF or FLAC with PCM of 16, 24 or 32 bits.");
}
