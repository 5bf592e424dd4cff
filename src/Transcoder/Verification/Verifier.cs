using System.Globalization;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.TimeMaps;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Verification;

/// <summary>
/// Believes no encoder: every output is decoded back and compared with the master before anything of the set is uploaded.
/// </summary>
/// <remarks>
/// 1. its structure, read by our own code: index, edit list, pages, frames; 2. one strict decode of all outputs: sample-exact length;
/// 3. FLAC: its own MD5, and the master's where the samples must be the same; 4. the loudness of that decode against what the encoder was given;
/// 5. its size against the rung's bit rate; 6. the first sound within 64 KiB, confirmed by one decode of those prefixes; 7. digests.
/// The encoder's exit code and its <c>progress=end</c> were asked before.
/// </remarks>
internal sealed class Verifier(ToolSet tools, ToolCage cage, TranscoderOptions options)
{
    /// <summary>What open Spotify clients ask for first: every file must sound within it.</summary>
    public const int FirstRequestBytes = 65_536;

    /// <summary>
    /// Most that an output may have of its nominal bit rate: more means a wrong setting. libvorbis' quality mode has no upper bound of its own; measured
    /// 0.8 to 0.95 on produced music, 1.34 on chords with white noise at 320 kbit/s. AAC stays within 1.05. There is no lower bound: silence and
    /// solo voices need little.
    /// </summary>
    public const double MaxBitrateRatio = 2;

    // A second of music can be a single loud onset.
    private const int BitrateSlackBytes = 8_192;

    /// <summary>Of full scale. Encoders filter an offset out; a larger one than this is heard as a step at each end, and makes their loudness another.</summary>
    private const double MaxKeptOffset = 0.05;

    /// <param name="folder">The job's folder.</param>
    /// <param name="plan">What was encoded.</param>
    /// <param name="masterFile">The master's name in the folder.</param>
    /// <param name="encoded">What the encode run gave.</param>
    /// <param name="onProgress">Called now and then.</param>
    /// <param name="cancellationToken">Ends the tools.</param>
    /// <exception cref="JobException"><see cref="JobFailure.VerificationFailed"/>, naming the rendition and what is wrong with it.</exception>
    public async Task<IReadOnlyList<VerifiedRendition>> VerifyAsync(
        string folder, string masterFile, EncodePlan plan, EncodedMaster encoded, Func<bool> onProgress, CancellationToken cancellationToken)
    {
        // 1. structure
        var layouts = plan.Renditions.Select(r => ReadLayout(folder, plan, r)).ToList();

        // 2. one strict decode of all
        var loudness = new LoudnessLog();
        var decoded = await DecodeAsync(folder, plan, DecodeArguments.Whole(plan.Renditions), strict: true, loudness, onProgress, cancellationToken);
        for (var i = 0; i < layouts.Count; i++)
            CheckLength(plan, plan.Renditions[i], layouts[i], decoded[i]);

        // 3. FLAC
        var flac = plan.Renditions.Where(r => r.Rung.Codec == RungCodec.Flac).ToList();
        if (flac.Count > 0)
        {
            var test = await cage.RunAsync(Run(folder, plan, tools.Flac, ["-t", "-s", .. flac.Select(r => r.FileName)], null, null), cancellationToken);
            if (!test.Succeeded)
                throw test.End == ToolEnd.Exited ? Failed("The FLAC files", $"do not pass flac -t: {ToolFailures.Quote(test)}") : ToolFailures.ToException("flac", test);
        }

        for (var i = 0; i < layouts.Count; i++)
        {
            if (plan.Renditions[i].IsMastersPcm && layouts[i].PcmMd5 != encoded.Md5)
                throw Failed(Name(plan.Renditions[i]), $"has samples of MD5 {layouts[i].PcmMd5}, the master's are {encoded.Md5}");
        }

        // 4. loudness
        var lufs = await CheckLoudnessAsync(folder, masterFile, plan, encoded.Measured, loudness.Lufs, onProgress, cancellationToken);

        // 5. and 6. sizes and first sounds
        for (var i = 0; i < layouts.Count; i++)
            CheckSize(folder, plan.Renditions[i], layouts[i]);
        await CheckFirstSoundsAsync(folder, plan, layouts, onProgress, cancellationToken);

        // 7. digests
        var verified = new List<VerifiedRendition>();
        for (var i = 0; i < layouts.Count; i++)
        {
            var (planned, layout) = (plan.Renditions[i], layouts[i]);
            var digests = await FileDigests.ComputeAsync(Path.Combine(folder, planned.FileName), cancellationToken);
            var gapless = new Gapless(layout.EncoderDelay, (int)(decoded[i] - layout.EncoderDelay - layout.TotalSamples), layout.TotalSamples);
            verified.Add(new VerifiedRendition(planned, layout, digests, gapless, lufs[i] > MeasurementLog.GateLufs ? lufs[i] : null));
            onProgress();
        }

        return verified;
    }

    private static AudioLayout ReadLayout(string folder, EncodePlan plan, PlannedRendition rendition)
    {
        try
        {
            using var file = File.OpenHandle(Path.Combine(folder, rendition.FileName));
            return rendition.Rung.Codec switch
            {
                RungCodec.Vorbis => OggLayout.Read(file, rendition.SampleRate, plan.Master.Duration),
                RungCodec.Flac => FlacLayout.Read(file, rendition.SampleRate, plan.Master.Duration),
                _ => Mp4Layout.Read(file, rendition.SampleRate, plan.Master.Duration),
            };
        }
        catch (Exception error) when (error is LayoutException or FileNotFoundException)
        {
            throw Failed(Name(rendition), error.Message);
        }
    }

    private static void CheckLength(EncodePlan plan, PlannedRendition rendition, AudioLayout layout, long decoded)
    {
        var name = Name(rendition);
        var isLossy = rendition.Rung.Codec != RungCodec.Flac;
        var atLossyRate = isLossy ? Resampled(plan.Master.Samples, plan.Master.SampleRate, Ladder.LossySampleRate) : 0;
        var expected = rendition.Rung.Excerpt && plan.Excerpt is { } cut
            ? Resampled(cut.EndSample - cut.StartSample, Ladder.LossySampleRate, rendition.SampleRate)
            : isLossy
                ? Resampled(atLossyRate, Ladder.LossySampleRate, rendition.SampleRate)
                : Resampled(plan.Master.Samples, plan.Master.SampleRate, rendition.SampleRate);
        // A resampler rounds the last sample up or down, twice where the rate is changed twice; without one the length is exact.
        var tolerance = (plan.Master.SampleRate == rendition.SampleRate ? 0 : 1) + (isLossy && rendition.SampleRate != Ladder.LossySampleRate ? 1 : 0);
        if (Math.Abs(layout.TotalSamples - expected) > tolerance)
            throw Failed(name, $"has {layout.TotalSamples} samples, {expected} are expected");

        // AAC decodes its priming and fills its last frame; ffmpeg 5.1 does not apply the edit list of a fragmented file, a player does.
        var padding = decoded - layout.EncoderDelay - layout.TotalSamples;
        var mostPadding = rendition.Rung.Codec is RungCodec.Aac or RungCodec.HeAacV2 ? 4_096 : 0;
        if (padding < 0 || padding > mostPadding)
            throw Failed(name, $"decodes to {decoded} samples, its container says {layout.EncoderDelay} + {layout.TotalSamples}");
    }

    private static long Resampled(long samples, int from, int to) => (long)Math.Round((decimal)samples * to / from, MidpointRounding.AwayFromZero);

    private static void CheckSize(string folder, PlannedRendition rendition, AudioLayout layout)
    {
        if (rendition.Rung.Bitrate is not { } nominal)
            return;
        var audioBytes = new FileInfo(Path.Combine(folder, rendition.FileName)).Length - layout.FirstAudioOffset;
        var nominalBytes = nominal / 8.0 * layout.TotalSamples / rendition.SampleRate;
        if (audioBytes > (nominalBytes * MaxBitrateRatio) + BitrateSlackBytes)
            throw Failed(Name(rendition), FormattableString.Invariant($"has {audioBytes} bytes of audio, its bit rate gives {nominalBytes:0}"));
    }

    /// <returns>Integrated loudness of each rendition.</returns>
    private async Task<double[]> CheckLoudnessAsync(
        string folder, string masterFile, EncodePlan plan, MasterMeasurement master, IReadOnlyDictionary<string, double> decoded, Func<bool> onProgress, CancellationToken cancellationToken)
    {
        var fed = master.Lufs;
        var offset = master.Report.Channels.Max(c => Math.Abs(c.DcOffset));
        var lufs = new double[plan.Renditions.Count];
        var suspects = new List<(PlannedRendition Rendition, string Problem)>();
        for (var i = 0; i < lufs.Length; i++)
        {
            var rendition = plan.Renditions[i];
            var given = Measured(fed, FfmpegArguments.LoudnessFilter(plan, rendition.Feed));
            lufs[i] = rendition.IsMastersPcm ? given : Measured(decoded, DecodeArguments.Filter(i));
            if (Problem(rendition, given, lufs[i], inBand: false) is not { } problem)
                continue;
            if (rendition.Rung.Codec == RungCodec.Flac)
                throw Failed(Name(rendition), problem);
            suspects.Add((rendition, problem));
        }

        if (suspects.Count == 0)
            return lufs;
        var inBand = new LoudnessLog();
        await DecodeAsync(folder, plan, DecodeArguments.InBand(plan, masterFile, [.. suspects.Select(s => s.Rendition)]), strict: true, inBand, onProgress, cancellationToken);
        for (var i = 0; i < suspects.Count; i++)
        {
            var (rendition, problem) = suspects[i];
            if (Problem(rendition, Measured(inBand.Lufs, DecodeArguments.FedFilter(i)), Measured(inBand.Lufs, DecodeArguments.Filter(i)), inBand: true) is not { } again)
                continue;
            throw offset > MaxKeptOffset
                ? new JobException(JobFailure.CorruptMaster, string.Create(CultureInfo.InvariantCulture, $"The master has a constant (DC) offset of {offset:0.00} of full scale, which no lossy encoder keeps; remove it with a high-pass filter and upload it again."))
                : Failed(Name(rendition), $"{problem}, and below {LoudnessBound.BandHz} Hz {again}");
        }

        return lufs;

        string? Problem(PlannedRendition rendition, double given, double found, bool inBand)
        {
            var duration = rendition.Feed.Excerpt ? TimeSpan.FromSeconds((double)(plan.Excerpt!.EndSample - plan.Excerpt.StartSample) / Ladder.LossySampleRate) : plan.Master.Duration;
            return LoudnessBound.Of(rendition, given, duration, inBand) is { } bound && Math.Abs(LoudnessBound.Drift(given, found)) >= bound
                ? FormattableString.Invariant($"is at {found:0.0} LUFS, its encoder was given {given:0.0}; less than {bound:0.0} LU of difference are allowed")
                : null;
        }

        static double Measured(IReadOnlyDictionary<string, double> by, string filter) =>
            by.TryGetValue(filter, out var value) ? value : throw new JobException(JobFailure.Internal, $"ffmpeg did not tell the loudness of {filter}; report it with the ffmpeg's version.");
    }

    /// <summary>The structure says where the first sound ends; a decoder is asked whether that is true.</summary>
    private async Task CheckFirstSoundsAsync(string folder, EncodePlan plan, List<AudioLayout> layouts, Func<bool> onProgress, CancellationToken cancellationToken)
    {
        var heads = new List<string>();
        for (var i = 0; i < layouts.Count; i++)
        {
            var bytes = layouts[i].FirstSoundBytes;
            if (bytes > FirstRequestBytes)
                throw Failed(Name(plan.Renditions[i]), $"sounds after {bytes} bytes, {FirstRequestBytes} are allowed");
            var head = new byte[bytes];
            using (var file = File.OpenHandle(Path.Combine(folder, plan.Renditions[i].FileName)))
                RandomAccess.Read(file, head, 0);
            heads.Add($"head-{plan.Renditions[i].FileName}");
            await File.WriteAllBytesAsync(Path.Combine(folder, heads[i]), head, cancellationToken);
        }

        var decoded = await DecodeAsync(folder, plan, DecodeArguments.Prefixes(heads), strict: false, null, onProgress, cancellationToken);
        for (var i = 0; i < layouts.Count; i++)
        {
            if (decoded[i] <= layouts[i].EncoderDelay)
                throw Failed(Name(plan.Renditions[i]), $"does not sound from its first {layouts[i].FirstSoundBytes} bytes");
            File.Delete(Path.Combine(folder, heads[i]));
        }
    }

    /// <returns>How many samples each output gave.</returns>
    private async Task<long[]> DecodeAsync(
        string folder, EncodePlan plan, IReadOnlyList<string> arguments, bool strict, LoudnessLog? loudness, Func<bool> onProgress, CancellationToken cancellationToken)
    {
        var counts = new long[plan.Renditions.Count];
        var run = Run(folder, plan, tools.Ffmpeg, arguments, _ => onProgress(), line =>
        {
            loudness?.Add(line);
            if (DecodeArguments.TryReadCount(line, out var output, out var samples) && output < counts.Length)
                counts[output] = samples;
        });
        var outcome = await cage.RunAsync(run, cancellationToken);
        if (outcome.End != ToolEnd.Exited)
            throw ToolFailures.ToException("ffmpeg", outcome);
        return outcome.ExitCode == 0 || !strict ? counts : throw Failed("A rendition", $"does not decode: {ToolFailures.Quote(outcome)}");
    }

    private ToolRun Run(string folder, EncodePlan plan, string tool, IReadOnlyList<string> arguments, Func<string, bool>? onOutput, Action<string>? onLog) => new()
    {
        Tool = tool,
        Arguments = arguments,
        Folder = folder,
        MemoryBytes = options.ToolMemoryBytes,
        MaxFileBytes = 0,
        TimeLimit = options.TimeLimit(plan.Master.Duration),
        KillGrace = options.KillGrace,
        OnOutput = onOutput,
        OnLog = onLog,
    };

    private static string Name(PlannedRendition rendition) => $"The rendition {rendition.Rung.Quality} {rendition.Rung.Codec}";

    private static JobException Failed(string what, string problem) =>
        new(JobFailure.VerificationFailed, string.Create(CultureInfo.InvariantCulture, $"{what} {problem}; nothing was published. Keep the master and report it: the encoder broke its promise."));
}
