using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>What ffmpeg measured on the decoded master.</summary>
internal sealed record MasterMeasurement
{
    /// <summary>Null for digital silence.</summary>
    public required Loudness? Loudness { get; init; }

    /// <summary>Decoded samples per channel.</summary>
    public required long Samples { get; init; }

    /// <summary>Samples at the peak level, mean over the channels.</summary>
    public double PeakCount { get; init; }

    /// <summary>How flat the waveform is at its peaks.</summary>
    public double FlatFactor { get; init; }

    /// <summary>Mean of the samples, full scale is 1.</summary>
    public double DcOffset { get; init; }

    /// <summary>Bits that the samples really use.</summary>
    public int UsedBits { get; init; }

    /// <summary>Samples that are no number or infinite (float masters).</summary>
    public double NotNumbers { get; init; }

    /// <summary>Stretches below -60 dB that last at least 2 s, in seconds, in order; at most <see cref="MeasurementLog.MaxSilences"/>.</summary>
    public required IReadOnlyList<Silence> Silences { get; init; }
}

/// <param name="Start">Seconds.</param>
/// <param name="End">Seconds; null: to the end of the track.</param>
internal readonly record struct Silence(double Start, double? End);
