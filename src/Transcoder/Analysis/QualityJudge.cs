using System.Globalization;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>What content ops should know of a master, though it does not stop the release.</summary>
/// <param name="Code">For programs, for example <c>clipping</c>; all are in docs/formats/manifests.md.</param>
/// <param name="Message">For people: what was found, with its figure.</param>
public sealed record QualityWarning(string Code, string Message);

/// <summary>Turns the facts of a result into warnings.</summary>
public static class QualityJudge
{
    /// <summary>A silence that ends so close to the track's end is its trailing one.</summary>
    private const double EndToleranceSeconds = 0.1;

    /// <summary>Quieter masters need few bits by nature.</summary>
    private const double AudibleLufs = -40;

    /// <summary>In a fixed order; empty for a master that nothing is to be said of.</summary>
    public static IReadOnlyList<QualityWarning> Judge(RenditionSet set, QualityThresholds thresholds)
    {
        var warnings = new List<QualityWarning>();
        var report = set.Report;
        if (AcceptedMasters.IsLossy(set.Master.Codec))
            Warn("lossySource", $"The master is {set.Master.Codec}, a lossy format: what it lost is gone from every rendition, the lossless ones too. Ask for the original.");
        if (report.SamplePeakDbfs is not { } samplePeak)
        {
            Warn("silent", $"The whole track is digital silence.");
            return warnings;
        }

        Levels(samplePeak);
        Channels();
        var isFloat = AcceptedMasters.IsFloat(set.Master.Codec);
        // Sixteen bits in a container of twenty-four, twenty-four in thirty-two; the latter is how some recorders write, but FLAC then needs dither.
        if (!isFloat && report.UsedBits is > 0 and var bits && bits <= set.Master.BitsPerSample - 8)
            Warn("paddedBitDepth", $"The master has {set.Master.BitsPerSample} bits per sample and uses {bits}.");
        if (isFloat && samplePeak > 0)
            Warn("overFullScale", $"The samples reach {samplePeak:0.0} dBFS: the FLAC renditions are clipped there. Ask for a master below full scale.");
        Silences();
        Bitrates();
        return warnings;

        void Levels(double peak)
        {
            if (set.Loudness is not { } loudness)
            {
                Warn("veryQuiet", $"The track has no measurable loudness (below -70 LUFS, or too short); its largest sample is at {peak:0.0} dBFS.");
                return;
            }

            if (loudness.TruePeakDbtp > thresholds.MaxTruePeakDbtp)
                Warn("truePeak", $"The true peak is {loudness.TruePeakDbtp:0.0} dBTP; lossy renditions overshoot it and may clip in a player that does not normalise.");
            if (loudness.IntegratedLufs > thresholds.MaxIntegratedLufs)
                Warn("veryLoud", $"The integrated loudness is {loudness.IntegratedLufs:0.0} LUFS.");
            if (loudness.IntegratedLufs < thresholds.MinIntegratedLufs)
                Warn("veryQuiet", $"The integrated loudness is {loudness.IntegratedLufs:0.0} LUFS.");
        }

        void Channels()
        {
            var clipped = report.Channels.Where(c => c.PeakCount > thresholds.MaxPeakCount && c.FlatFactor > thresholds.MaxFlatFactor).Sum(c => c.PeakCount);
            if (clipped > 0)
                Warn("clipping", $"{clipped:0} samples lie flat at the peak level: the master is clipped.");
            if (report.Channels.MaxBy(c => Math.Abs(c.DcOffset)) is { DcOffset: var offset } && Math.Abs(offset) > thresholds.MaxDcOffset)
                Warn("dcOffset", $"The samples' mean is {offset:0.0000} of full scale, not zero.");
            if (report.Channels is not [var left, var right])
                return;
            if (IsDead(left) != IsDead(right))
                Warn("deadChannel", $"The {(IsDead(left) ? "left" : "right")} channel is silent.");
            else if (report.IdenticalChannels == true)
                Warn("dualMono", $"Both channels are the same: deliver it in mono, or look for the stereo master.");
        }

        bool IsDead(ChannelReport channel) => channel.PeakDbfs is not { } peak || peak < thresholds.DeadChannelDbfs;

        void Silences()
        {
            var seconds = set.Master.Duration.TotalSeconds;
            var sawInner = false;
            foreach (var silence in report.Silences)
            {
                var end = silence.End ?? seconds;
                var length = end - silence.Start;
                if (silence.Start <= 0)
                {
                    if (length > thresholds.MaxLeadingSilence.TotalSeconds)
                        Warn("leadingSilence", $"The track starts with {length:0.0} s of silence.");
                }
                else if (end >= seconds - EndToleranceSeconds)
                {
                    if (length > thresholds.MaxTrailingSilence.TotalSeconds)
                        Warn("trailingSilence", $"The track ends with {length:0.0} s of silence.");
                }
                else if (!sawInner && length > thresholds.MaxInnerSilence.TotalSeconds)
                {
                    sawInner = true;
                    Warn("innerSilence", $"There are {length:0.0} s of silence from {silence.Start:0.0} s on.");
                }
            }
        }

        void Bitrates()
        {
            var lean = set.Renditions.Where(r => r is { Codec: "vorbis", Quality: not "preview", NominalBitrate: { } nominal } && r.Bitrate < nominal * thresholds.MinBitrateRatio).ToList();
            if (set.Loudness is { IntegratedLufs: > AudibleLufs } && lean.Count > 0)
            {
                var needs = string.Join(", ", lean.Select(r => FormattableString.Invariant($"{r.Quality} Vorbis needs only {r.Bitrate / 1000} kbit/s")));
                Warn("lowBitrate", $"{needs}: the master carries little sound; check that it is the right file.");
            }
        }

        void Warn(string code, FormattableString message) => warnings.Add(new QualityWarning(code, message.ToString(CultureInfo.InvariantCulture)));
    }
}
