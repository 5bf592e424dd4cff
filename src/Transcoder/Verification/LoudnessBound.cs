using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Ladders;

namespace Delivery.Transcoder.Verification;

/// <summary>
/// How far a rendition's loudness may lie from what its encoder was given. 0.5 LU, but where good encodes are known to lie further off; each
/// exception is as wide as what was measured there (ffmpeg 5.1, music and synthetic material; docs/formats/manifests.md).
/// </summary>
internal static class LoudnessBound
{
    /// <summary>For every rendition without a reason of its own; music of 5 s and more lies within 0.3 LU.</summary>
    public const double MaxDriftLu = 0.5;

    /// <summary>
    /// Quieter is taken for this: 5 LU above the gate of EBU R128, below which blocks drop out of the measurement and hardly any sound is left.
    /// </summary>
    public const double FloorLufs = -65;

    /// <summary>Below it a few gated blocks decide: good encodes were off by 0.6 LU, at 24 kbit/s by 2.9.</summary>
    public static readonly TimeSpan ShortDuration = TimeSpan.FromSeconds(5);

    /// <summary>For a rung of low bit rate; -1.0 (single strokes) to +0.7 LU were measured, 1.0 too for HE-AAC v2.</summary>
    public const double LowBitrateDriftLu = 1.5;

    /// <summary>Below <see cref="BandHz"/> alone: encoders put noise in place of noise, and stereo noise is up to 0.5 LU louder then.</summary>
    public const double BandDriftLu = 1;

    /// <summary>The same for a rung of low bit rate: up to +1.7 LU.</summary>
    public const double LowBitrateBandDriftLu = 2;

    /// <summary>ffmpeg's AAC encoder turns frames down that would clip: -0.3 to -0.8 LU on material that is loud throughout.</summary>
    public const double HotAacDriftLu = 1;

    /// <summary>From here on material is loud throughout.</summary>
    public const double HotLufs = -8;

    /// <summary>Bit/s per channel below which a rung's bit rate is low.</summary>
    public const int LowBitratePerChannel = 32_000;

    /// <summary>
    /// Every rung keeps what lies below. A codec may drop what lies above its own bandwidth (white noise loses 1.6 LU at 96 kbit/s), so material that is off
    /// as a whole is compared below this alone before it is refused.
    /// </summary>
    public const int BandHz = 3_000;

    /// <summary>Largest drift that passes, exclusive, in LU; null where loudness says nothing.</summary>
    public static double? Of(PlannedRendition rendition, double fedLufs, TimeSpan duration, bool inBand)
    {
        var isShort = duration < ShortDuration;
        if (rendition.Rung.Bitrate is { } bitrate && bitrate / rendition.Channels < LowBitratePerChannel)
            return isShort ? null : inBand ? LowBitrateBandDriftLu : LowBitrateDriftLu;
        var bound = inBand ? BandDriftLu : rendition.Rung.Codec == RungCodec.Aac && fedLufs > HotLufs ? HotAacDriftLu : MaxDriftLu;
        return isShort && !inBand ? 2 * bound : bound;
    }

    /// <summary>How much louder the second is than the first, in LU; both in LUFS as ebur128 prints them, in steps of 0.1.</summary>
    public static double Drift(double fedLufs, double decodedLufs) => Math.Round(AtLeastFloor(decodedLufs) - AtLeastFloor(fedLufs), 1);

    // Silence may be "nan".
    private static double AtLeastFloor(double lufs) => lufs > FloorLufs ? lufs : FloorLufs;
}
