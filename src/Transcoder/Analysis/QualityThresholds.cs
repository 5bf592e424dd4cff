using System.Globalization;

namespace Delivery.Transcoder.Analysis;

/// <summary>
/// From where on a fact of a master is worth a warning. Judgement, not law, and no warning stops a release; so the origin applies them when it
/// publishes, and a worker's result does not depend on them.
/// </summary>
public sealed record QualityThresholds
{
    /// <summary>A true peak above it, in dBTP, warns <c>truePeak</c>; -20 to 6. Default -1: lossy renditions overshoot by up to 0.8 dB (EBU R128 s2 asks for -1 too).</summary>
    public double MaxTruePeakDbtp { get; set; } = -1;

    /// <summary>An integrated loudness above it, in LUFS, warns <c>veryLoud</c>; -40 to 0. Default -6: players turn such a master down by 8 dB and more.</summary>
    public double MaxIntegratedLufs { get; set; } = -6;

    /// <summary>An integrated loudness below it, in LUFS, warns <c>veryQuiet</c>; -70 to -10. Default -30.</summary>
    public double MinIntegratedLufs { get; set; } = -30;

    /// <summary>Samples at one channel's peak levels above which <c>clipping</c> warns, if they lie flat too; 1 to 1,000,000,000. Default 100.</summary>
    public long MaxPeakCount { get; set; } = 100;

    /// <summary>Flat factor above which <c>clipping</c> warns, if there are as many samples too; 0 to 100. Default 15: music that is not clipped has 0 to 5, a clipped master 20 to 40.</summary>
    public double MaxFlatFactor { get; set; } = 15;

    /// <summary>Mean of a channel's samples, full scale being 1, above which <c>dcOffset</c> warns; 0 to 1. Default 0.001 (-60 dB).</summary>
    public double MaxDcOffset { get; set; } = 0.001;

    /// <summary>Peak in dBFS below which one channel counts as dead while the other is not: <c>deadChannel</c>; -120 to -20. Default -60.</summary>
    public double DeadChannelDbfs { get; set; } = -60;

    /// <summary>Silence at the start longer than it warns <c>leadingSilence</c>; 2 s to 1 h, because shorter silences are not measured. Default 2 s.</summary>
    public TimeSpan MaxLeadingSilence { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Silence at the end longer than it warns <c>trailingSilence</c>; 2 s to 1 h. Default 5 s.</summary>
    public TimeSpan MaxTrailingSilence { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Silence inside longer than it warns <c>innerSilence</c>; 2 s to 1 h. Default 10 s: a hidden track, or a hole.</summary>
    public TimeSpan MaxInnerSilence { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Part of its nominal bit rate below which a Vorbis rendition of an audible master warns <c>lowBitrate</c>; 0 to 1. Default 0.45: produced music takes 0.8 to 0.95.</summary>
    public double MinBitrateRatio { get; set; } = 0.45;

    /// <summary>Everything that is wrong, one phrase each with the accepted range; empty when all is good.</summary>
    /// <param name="section">What stands before each key, for example <c>Quality</c>.</param>
    public IReadOnlyList<string> Validate(string section)
    {
        var problems = new List<string>();
        Range(nameof(MaxTruePeakDbtp), MaxTruePeakDbtp, -20, 6);
        Range(nameof(MaxIntegratedLufs), MaxIntegratedLufs, -40, 0);
        Range(nameof(MinIntegratedLufs), MinIntegratedLufs, -70, -10);
        if (MinIntegratedLufs >= MaxIntegratedLufs)
            problems.Add(string.Create(CultureInfo.InvariantCulture, $"{section}.{nameof(MinIntegratedLufs)}: must be below {nameof(MaxIntegratedLufs)} ({MaxIntegratedLufs})"));
        Range(nameof(MaxPeakCount), MaxPeakCount, 1, 1_000_000_000);
        Range(nameof(MaxFlatFactor), MaxFlatFactor, 0, 100);
        Range(nameof(MaxDcOffset), MaxDcOffset, 0, 1);
        Range(nameof(DeadChannelDbfs), DeadChannelDbfs, -120, -20);
        Span(nameof(MaxLeadingSilence), MaxLeadingSilence);
        Span(nameof(MaxTrailingSilence), MaxTrailingSilence);
        Span(nameof(MaxInnerSilence), MaxInnerSilence);
        Range(nameof(MinBitrateRatio), MinBitrateRatio, 0, 1);
        return problems;

        void Range(string key, double value, double least, double most)
        {
            if (!(value >= least && value <= most)) // Not a number is neither.
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{section}.{key}: {value} is outside {least} to {most}"));
        }

        void Span(string key, TimeSpan value)
        {
            if (value < TimeSpan.FromSeconds(2) || value > TimeSpan.FromHours(1))
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"{section}.{key}: {value} is outside 00:00:02 to 01:00:00"));
        }
    }
}
