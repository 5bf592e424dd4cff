using System.Security.Cryptography;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Results;

/// <summary>Writes down what was made: a pure function, so that the same master, ladder and encoder give the same bytes.</summary>
internal static class RenditionSetBuilder
{
    public static RenditionSet Build(
        string masterSha256, Ladder ladder, string encoder, MasterProbe probe, EncodedMaster encoded, IReadOnlyList<VerifiedRendition> verified)
    {
        var waveform = encoded.Waveform.ToBytes();
        return new RenditionSet
        {
            MasterSha256 = masterSha256,
            Ladder = ladder.Name,
            Encoder = encoder,
            Master = new MasterFacts(probe.Container, probe.Codec, probe.SampleRate, probe.BitsPerSample, probe.Channels, encoded.Measured.Samples),
            Loudness = encoded.Measured.Loudness,
            Report = encoded.Measured.Report,
            Waveform = new WaveformFacts(
                waveform.Length, Convert.ToHexStringLower(SHA256.HashData(waveform)), encoded.Waveform.SampleRate, encoded.Waveform.SamplesPerPoint, encoded.Waveform.Points),
            Renditions = [.. verified.Select(Describe)],
        };
    }

    private static Rendition Describe(VerifiedRendition verified)
    {
        var (planned, layout, digests, gapless, integratedLufs) = verified;
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
            IntegratedLufs = integratedLufs,
            Gapless = gapless,
            FirstSoundBytes = (int)layout.FirstSoundBytes,
            Sha256 = digests.Sha256,
            ChunkBytes = FileDigests.ChunkBytes,
            ChunkSha256 = digests.ChunkSha256,
            TimeMap = layout.TimeMap,
        };
    }
}
