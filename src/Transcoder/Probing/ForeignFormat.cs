namespace Delivery.Transcoder.Probing;

/// <summary>Recognizes what people upload in place of a master by its first bytes, to say what to do about it. Decides nothing.</summary>
internal static class ForeignFormat
{
    /// <summary>Bytes that are looked at.</summary>
    public const int HeadBytes = 12;

    /// <summary>What it is and what to do, as the middle of a sentence; null when it is unknown.</summary>
    public static string? Advice(ReadOnlySpan<byte> head)
    {
        if (head.StartsWith("ID3"u8)) // RFC 9639 has no place for such a tag; ffprobe looks past a small one only.
            return "it starts with an ID3 tag: it is an MP3 file, or a FLAC file whose large tag has to be removed";
        if (head is [0xff, >= 0xe0, ..])
            return "it is MPEG audio (MP3 or AAC): a lossy copy, ask for the original";
        if (head.Length >= 8 && head[4..].StartsWith("ftyp"u8))
            return "it is an MP4 file: convert ALAC to FLAC, which loses nothing; for AAC, a lossy copy, ask for the original";
        if (head.StartsWith("OggS"u8))
            return "it is an Ogg file: for Vorbis or Opus, lossy copies, ask for the original; take FLAC out of Ogg";
        if (head.StartsWith("DSD "u8) || head.StartsWith("FRM8"u8))
            return "it is DSD: convert it to PCM of 24 bits at 88200 or 176400 Hz";
        if (head.StartsWith("wvpk"u8) || head.StartsWith("MAC "u8) || head.StartsWith("TTA1"u8))
            return "it is a lossless format of another kind: convert it to FLAC, which loses nothing";
        return head.StartsWith(".snd"u8) || head.StartsWith("caff"u8) ? "it is an AU or CAF file: convert it to WAV" : null;
    }
}
