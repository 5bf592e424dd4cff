using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.TimeMaps;

/// <summary>How a rendition's file is built, read from the file itself.</summary>
internal sealed record AudioLayout
{
    /// <summary>Where the first audio byte's page, fragment or frame starts.</summary>
    public required long FirstAudioOffset { get; init; }

    /// <summary>Bytes up to the end of the first page, access unit or frame that decodes to sound after the encoder's delay.</summary>
    public required long FirstSoundBytes { get; init; }

    /// <summary>Samples to skip at the start.</summary>
    public required int EncoderDelay { get; init; }

    /// <summary>Samples to play, as the container says.</summary>
    public required long TotalSamples { get; init; }

    public required IReadOnlyList<TimePoint> TimeMap { get; init; }

    /// <summary>FLAC: the encoder's MD5 of the PCM, lower-case hex.</summary>
    public string? PcmMd5 { get; init; }
}

/// <summary>A rendition's file is not built as its encoder promises.</summary>
internal sealed class LayoutException(string message) : Exception(message);
