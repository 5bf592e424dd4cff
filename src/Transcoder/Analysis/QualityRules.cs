using System.Globalization;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>What content ops should know of a master, though it does not stop the release. The bounds are judgement, not law.</summary>
internal static class QualityRules
{
    public static IReadOnlyList<QualityWarning> Judge(MasterProbe probe, MasterMeasurement measured)
    {
        var warnings = new List<QualityWarning>();
        var seconds = (double)measured.Samples / probe.SampleRate;
        if (measured.Loudness is not { } loudness)
        {
            warnings.Add(new QualityWarning("silent", "The whole track is digital silence."));
            return warnings;
        }

        if (loudness.TruePeakDbtp > -1)
            Warn("truePeakAboveMinus1", $"The true peak is {loudness.TruePeakDbtp:0.0} dBTP; lossy renditions overshoot it and may clip in a player that does not normalise.");
        if (measured is { PeakCount: > 100, FlatFactor: > 15 })
            Warn("clipping", $"{measured.PeakCount:0} samples lie flat at the peak level: the master is clipped.");
        if (loudness.IntegratedLufs > -6)
            Warn("veryLoud", $"The integrated loudness is {loudness.IntegratedLufs:0.0} LUFS.");
        if (loudness.IntegratedLufs < -30)
            Warn("veryQuiet", $"The integrated loudness is {loudness.IntegratedLufs:0.0} LUFS.");
        if (Math.Abs(measured.DcOffset) > 0.001)
            Warn("dcOffset", $"The samples' mean is {measured.DcOffset:0.0000} of full scale, not zero.");
        if (probe is { BitsPerSample: 24, IsFloat: false } && measured.UsedBits is > 0 and <= 16)
            Warn("paddedBitDepth", $"The master has 24 bits per sample and uses {measured.UsedBits}.");

        foreach (var silence in measured.Silences)
        {
            var end = silence.End ?? seconds;
            var length = end - silence.Start;
            var isFirst = silence.Start <= 0;
            var isLast = end >= seconds - 0.1;
            if (isFirst && length > 2)
                Warn("leadingSilence", $"The track starts with {length:0.0} s of silence.");
            else if (isLast && length > 5)
                Warn("trailingSilence", $"The track ends with {length:0.0} s of silence.");
            else if (!isFirst && !isLast && length > 10 && !warnings.Any(w => w.Code == "innerSilence"))
                Warn("innerSilence", $"There are {length:0.0} s of silence from {silence.Start:0.0} s on.");
        }

        return warnings;

        void Warn(string code, FormattableString message) => warnings.Add(new QualityWarning(code, message.ToString(CultureInfo.InvariantCulture)));
    }
}
