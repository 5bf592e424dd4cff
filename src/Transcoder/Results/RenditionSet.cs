using System.Text.Json.Serialization;

namespace Delivery.Transcoder.Results;

/// <summary>
/// A worker's result: <c>catalog/renditions/{masterSha256}/{ladder}-{encoder}.json</c>, create-only, written after every rendition that it
/// names is in the store. Deterministic: the same master, ladder and encoder give the same bytes. Format: docs/formats/manifests.md.
/// </summary>
public sealed record RenditionSet
{
    /// <summary>The only format that is read: 2 holds facts where 1 held warnings.</summary>
    public const int CurrentFormat = 2;

    public int Format { get; init; } = CurrentFormat;

    public required string MasterSha256 { get; init; }

    /// <summary>Ladder name with its version, for example <c>default-1</c>.</summary>
    public required string Ladder { get; init; }

    /// <summary>Encoder id: ffmpeg version and a digest of what decides the bytes (library versions, arguments).</summary>
    public required string Encoder { get; init; }

    public required MasterFacts Master { get; init; }

    /// <summary>Measured once per master, never applied. Null when nothing passes the gate of EBU R128: silence, or less than -70 LUFS.</summary>
    public Loudness? Loudness { get; init; }

    public required QualityReport Report { get; init; }

    /// <summary>The waveform at <see cref="ResultKeys.Waveform"/> of this manifest's key.</summary>
    public required WaveformFacts Waveform { get; init; }

    public required IReadOnlyList<Rendition> Renditions { get; init; }
}

/// <summary>What the master is, by decoding it.</summary>
public sealed record MasterFacts(string Container, string Codec, int SampleRate, int BitsPerSample, int Channels, long Samples)
{
    [JsonIgnore]
    public TimeSpan Duration => TimeSpan.FromSeconds((double)Samples / SampleRate);
}

/// <summary>A waveform's file, and how it counts.</summary>
public sealed record WaveformFacts(long Bytes, string Sha256, int SampleRate, int SamplesPerPoint, int Points);

/// <summary>One file of the ladder.</summary>
public sealed record Rendition
{
    /// <summary><c>low</c>, <c>normal</c>, <c>high</c>, <c>veryhigh</c>, <c>lossless</c>, <c>hires</c> or <c>preview</c>.</summary>
    public required string Quality { get; init; }

    /// <summary><c>vorbis</c>, <c>aac</c> or <c>flac</c>.</summary>
    public required string Codec { get; init; }

    /// <summary>RFC 6381 codecs parameter: <c>vorbis</c>, <c>mp4a.40.2</c>, <c>flac</c>.</summary>
    public required string CodecString { get; init; }

    /// <summary>First 40 hex digits of <see cref="Sha256"/>.</summary>
    public required string FileId { get; init; }

    /// <summary><c>ogg</c>, <c>m4a</c> or <c>flac</c>.</summary>
    public required string Extension { get; init; }

    public required string ContentType { get; init; }

    public required long Bytes { get; init; }

    /// <summary>Measured: bytes × 8 ÷ duration, in bit/s.</summary>
    public required int Bitrate { get; init; }

    /// <summary>The rung's nominal bit rate in bit/s, or null (FLAC).</summary>
    public int? NominalBitrate { get; init; }

    public required int SampleRate { get; init; }

    public required int Channels { get; init; }

    public int? BitsPerSample { get; init; }

    /// <summary>EBU R128 integrated, decoded back; null when nothing of it passed the gate of -70 LUFS. Below the master's where the codec drops sound.</summary>
    public double? IntegratedLufs { get; init; }

    public required Gapless Gapless { get; init; }

    /// <summary>Smallest prefix in bytes that gives a first decoded sample; at most 65,536.</summary>
    public required int FirstSoundBytes { get; init; }

    public required string Sha256 { get; init; }

    /// <summary>Bytes per entry of <see cref="ChunkSha256"/> (the last may be shorter).</summary>
    public int ChunkBytes { get; init; } = 131_072;

    /// <summary>Lower-case hex SHA-256 of each aligned chunk, in order.</summary>
    public required IReadOnlyList<string> ChunkSha256 { get; init; }

    /// <summary>
    /// Byte-to-time map: pairs of (byte offset where a decodable unit starts, its time in ms), ascending in both, about one per second,
    /// the first at the first audio byte. Lets an edge turn bytes delivered into seconds heard, and a player turn a seek into a range.
    /// </summary>
    public required IReadOnlyList<TimePoint> TimeMap { get; init; }

    /// <summary>Object key and, with a leading slash, public path.</summary>
    [JsonIgnore]
    public string Key => $"audio/{FileId}.{Extension}";
}

/// <summary>Sample-exact playback: skip <paramref name="EncoderDelay"/> samples, play <paramref name="TotalSamples"/>, drop <paramref name="Padding"/>.</summary>
public sealed record Gapless(int EncoderDelay, int Padding, long TotalSamples);

[JsonConverter(typeof(TimePointConverter))]
public readonly record struct TimePoint(long Offset, long TimeMs);
