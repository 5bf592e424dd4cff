using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Results;

/// <summary>Writes down what was made: a pure function, so that the same master, ladder and encoder give the same bytes.</summary>
internal static class RenditionSetBuilder
{
    /// <summary>Below this part of its nominal bit rate, a loud rendition is worth a look: the master may be empty above, or on one side.</summary>
    private const double LowBitrateRatio = 0.45;

    public static RenditionSet Build(
        string masterSha256, Ladder ladder, string encoder, MasterProbe probe, MasterMeasurement measured, IReadOnlyList<VerifiedRendition> verified)
    {
        var renditions = verified.Select(Describe).ToList();
        var warnings = QualityRules.Judge(probe, measured).ToList();
        var lean = renditions.Where(r => r is { Codec: "vorbis", Quality: not "preview", NominalBitrate: { } nominal } && r.Bitrate < nominal * LowBitrateRatio).ToList();
        if (measured.Loudness is { IntegratedLufs: > -40 } && lean.Count > 0)
        {
            warnings.Add(new QualityWarning(
                "lowBitrate",
                $"{string.Join(", ", lean.Select(r => FormattableString.Invariant($"{r.Quality} Vorbis needs only {r.Bitrate / 1000} kbit/s")))}: the master carries little sound; check that it is the right file."));
        }

        return new RenditionSet
        {
            MasterSha256 = masterSha256,
            Ladder = ladder.Name,
            Encoder = encoder,
            Master = new MasterFacts(probe.Container, probe.Codec, probe.SampleRate, probe.BitsPerSample, probe.Channels, measured.Samples),
            Loudness = measured.Loudness,
            Warnings = warnings,
            Renditions = renditions,
        };
    }

    private static Rendition Describe(VerifiedRendition verified)
    {
        var (planned, layout, digests, gapless) = verified;
        var (codec, codecString, extension, contentType) = planned.Rung.Codec switch
        {
            RungCodec.Vorbis => ("vorbis", "vorbis", "ogg", "audio/ogg"),
            RungCodec.Aac => ("aac", "mp4a.40.2", "m4a", "audio/mp4"),
            RungCodec.HeAacV2 => ("aac", "mp4a.40.29", "m4a", "audio/mp4"),
            _ => ("flac", "flac", "flac", "audio/flac"), // RFC 9639 §11
        };
        return new Rendition
        {
            Quality = planned.Rung.Quality,
            Codec = codec,
            CodecString = codecString,
            FileId = digests.Sha256[..40],
            Extension = extension,
            ContentType = contentType,
            Bytes = digests.Length,
            Bitrate = (int)Math.Round((decimal)digests.Length * 8 * planned.SampleRate / layout.TotalSamples),
            NominalBitrate = planned.Rung.Bitrate,
            SampleRate = planned.SampleRate,
            Channels = planned.Channels,
            BitsPerSample = planned.BitsPerSample,
            Gapless = gapless,
            FirstSoundBytes = (int)layout.FirstSoundBytes,
            Sha256 = digests.Sha256,
            ChunkBytes = FileDigests.ChunkBytes,
            ChunkSha256 = digests.ChunkSha256,
            TimeMap = layout.TimeMap,
        };
    }
}
