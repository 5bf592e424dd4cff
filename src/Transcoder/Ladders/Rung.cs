using System.Text.Json.Serialization;

namespace Delivery.Transcoder.Ladders;

/// <summary>How a rung is encoded.</summary>
public enum RungCodec
{
    /// <summary>Ogg Vorbis by libvorbis.</summary>
    Vorbis,

    /// <summary>AAC-LC by ffmpeg's own encoder, in fragmented MP4.</summary>
    Aac,

    /// <summary>HE-AAC v2 by libfdk_aac, in fragmented MP4; only where the ffmpeg has it and a test encode passes verification.</summary>
    HeAacV2,

    /// <summary>FLAC.</summary>
    Flac,
}

/// <summary>One recipe of a ladder. Format and bounds: docs/formats/ladder.md.</summary>
public sealed record Rung
{
    /// <summary>One of <see cref="Ladder.Qualities"/>.</summary>
    public string Quality { get; init; } = "";

    public RungCodec Codec { get; init; }

    /// <summary>Nominal bit rate in bit/s, 8,000 to 512,000; null for FLAC.</summary>
    public int? Bitrate { get; init; }

    /// <summary>In Hz. Null: 44,100, or for a FLAC rung the master's own.</summary>
    public int? SampleRate { get; init; }

    /// <summary>1 or 2. Null: 2, or for a FLAC rung the master's own.</summary>
    public int? Channels { get; init; }

    /// <summary>FLAC only: 16 or 24. Null: the master's own (24 for 32-bit and float masters, which FLAC cannot hold).</summary>
    public int? BitsPerSample { get; init; }

    /// <summary>FLAC only, 0 to 12.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>MP4 only: shortest fragment in seconds, 1 to 10; null: 1. Fragments grow with the track so that there are at most about 300.</summary>
    public int? FragmentSeconds { get; init; }

    /// <summary>An excerpt of the track, cut by the ladder's <see cref="Ladder.Preview"/>.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Excerpt { get; init; }

    /// <summary>What to make instead where the ffmpeg cannot encode this one; HE-AAC v2 must have one.</summary>
    public Rung? Fallback { get; init; }

    /// <summary>True for a FLAC rung that keeps the master's rate and depth; it is left out when the master is no more than 16 bit at 44.1 kHz.</summary>
    [JsonIgnore]
    public bool KeepsMaster => Codec == RungCodec.Flac && SampleRate is null && BitsPerSample is null;
}

/// <summary>Where an excerpt is cut.</summary>
public sealed record PreviewCut
{
    /// <summary>Length in seconds, 1 to 90; a shorter track is taken whole.</summary>
    public int Seconds { get; init; }

    /// <summary>Start as a part of the track's length, 0 to 1: intros seldom last longer than a quarter.</summary>
    public double StartFraction { get; init; }

    /// <summary>Latest start in seconds, 0 to 600.</summary>
    public int LatestStartSeconds { get; init; }

    /// <summary>Fade at each end that is a cut, 0 to 2,000 ms: a cut inside music clicks.</summary>
    public int FadeMilliseconds { get; init; }
}
