namespace Delivery.Transcoder.Results;

/// <summary>
/// What was measured on the decoded master beside its loudness, and nothing but facts: what is worth a warning is the origin's judgement (<c>QualityThresholds</c>), so
/// that two workers with different settings write the same manifest. There is no count of samples that are not numbers: such a master is refused.
/// </summary>
public sealed record QualityReport
{
    /// <summary>The largest sample of any channel, in dBFS; above 0 in a float master that exceeds full scale. Null for digital silence.</summary>
    public double? SamplePeakDbfs { get; init; }

    /// <summary>Bits that the samples use, counted from the highest; null for float samples.</summary>
    public int? UsedBits { get; init; }

    /// <summary>Left before right.</summary>
    public required IReadOnlyList<ChannelReport> Channels { get; init; }

    /// <summary>Whether two channels agree in every figure that was measured of them: two-channel mono. Null for mono masters.</summary>
    public bool? IdenticalChannels { get; init; }

    /// <summary>
    /// Stretches of all channels below -60 dBFS that last at least 2 s, in order; at most 100: of more, the first 99 and the last.
    /// </summary>
    public required IReadOnlyList<Silence> Silences { get; init; }
}

/// <summary>EBU R128: integrated loudness in LUFS, range in LU, true peak in dBTP.</summary>
/// <param name="IntegratedLufs">In steps of 0.1.</param>
/// <param name="RangeLu">Null for masters shorter than a minute: EBU Tech 3342 calls it unfit for them.</param>
/// <param name="TruePeakDbtp">In steps of 0.1.</param>
public sealed record Loudness(double IntegratedLufs, double? RangeLu, double TruePeakDbtp);

/// <param name="PeakDbfs">Largest sample; null for digital silence.</param>
/// <param name="RmsDbfs">Root of the mean square; null for digital silence.</param>
/// <param name="DcOffset">Mean of the samples; full scale is 1.</param>
/// <param name="PeakCount">Samples at the lowest and at the highest level.</param>
/// <param name="FlatFactor">How flat the waveform lies at those levels: 20 log10 of the mean length of runs there; 0 when none is longer than a sample.</param>
public sealed record ChannelReport(double? PeakDbfs, double? RmsDbfs, double DcOffset, long PeakCount, double FlatFactor);

/// <param name="Start">Seconds.</param>
/// <param name="End">Seconds; null: to the end of the track.</param>
public sealed record Silence(double Start, double? End);
