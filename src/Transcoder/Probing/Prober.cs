using System.Globalization;
using System.Text;
using System.Text.Json;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Probing;

/// <summary>Asks ffprobe what a master is, and refuses what the ladder cannot take, in one sentence that says what to do.</summary>
internal sealed class Prober(ToolSet tools, ToolCage cage, TranscoderOptions options)
{
    private const int MaxOutputChars = 64 * 1024;

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

        var output = new StringBuilder();
        var outcome = await cage.RunAsync(
            new ToolRun
            {
                Tool = tools.Ffprobe,
                Arguments =
                [
                    "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", AcceptedMasters.Containers, "-select_streams", "a",
                    "-show_entries", "format=format_name:stream=codec_name,sample_fmt,sample_rate,channels,bits_per_sample,bits_per_raw_sample,duration_ts",
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
            // RFC 9639 has no place for such a tag; ffprobe looks past a small one only.
            var start = StartsWithId3(path) ? " (it starts with an ID3 tag: it is an MP3 file, or a FLAC file whose large tag has to be removed)" : "";
            throw Unsupported($"It is not a WAV, W64, AIFF or FLAC file, whatever its name says{start}");
        }

        ProbeOutput? probed;
        try
        {
            probed = JsonSerializer.Deserialize(output.ToString(), ProbeJson.Default.ProbeOutput);
        }
        catch (JsonException error)
        {
            throw new JobException(JobFailure.Internal, $"ffprobe's answer cannot be read: {error.Message}", canRetry: false, error);
        }

        return Judge(probed, options);
    }

    /// <summary>The rules, on what ffprobe said.</summary>
    internal static MasterProbe Judge(ProbeOutput? probed, TranscoderOptions options)
    {
        if (probed?.Streams is not [var stream, ..] || probed.Format?.FormatName is not { } container || stream.CodecName is not { } codec)
            throw Unsupported("It holds no audio");
        if (!AcceptedMasters.Codecs.Split(',').Contains(codec))
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

        // FLAC says it in bits_per_raw_sample alone, 16-bit PCM in bits_per_sample alone.
        if (!int.TryParse(stream.BitsPerRawSample, NumberStyles.None, CultureInfo.InvariantCulture, out var bits) || bits == 0)
            bits = stream.BitsPerSample != 0 ? stream.BitsPerSample : stream.SampleFmt is "s16" ? 16 : 0;
        if (bits is not (16 or 24 or 32))
            throw new JobException(JobFailure.UnsupportedSampleFormat, $"The master has {bits} bits per sample; deliver it with 16 or 24 bits, or as 32-bit float.");
        if (stream.DurationTs is not { } samples || samples <= 0)
            throw new JobException(JobFailure.CorruptMaster, "The master's header does not say how long it is, so nobody could tell whether it is whole; write it to a file, not to a pipe, and upload it again.");

        var probe = new MasterProbe(container, codec, rate, stream.Channels, bits, samples);
        if (probe.Duration < options.MinDuration)
            throw Duration("shorter", options.MinDuration);
        return probe.Duration > options.MaxDuration ? throw Duration("longer", options.MaxDuration) : probe;

        JobException Duration(string comparison, TimeSpan bound) => new(
            JobFailure.UnsupportedDuration,
            string.Create(CultureInfo.InvariantCulture, $"The master lasts {probe.Duration.TotalSeconds:0.###} s, {comparison} than the {bound.TotalSeconds:0.###} s that the ladder takes; check that it is the right file."));
    }

    private static bool StartsWithId3(string path)
    {
        using var content = File.OpenRead(path);
        Span<byte> start = stackalloc byte[3];
        return content.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start.SequenceEqual("ID3"u8);
    }

    private static JobException Unsupported(string what) =>
        new(JobFailure.UnsupportedFormat, $"The master cannot be used. {what}; deliver WAV, W64, AIFF or FLAC with PCM of 16, 24 or 32 bits.");
}
