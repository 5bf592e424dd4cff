namespace Delivery.Transcoder.Probing;

/// <summary>What the farm takes as a master. ffmpeg gets the same lists, so that nothing else of it ever sees the bytes.</summary>
internal static class AcceptedMasters
{
    public const string Containers = "wav,w64,aiff,flac";

    public const string Codecs = "pcm_s16le,pcm_s24le,pcm_s32le,pcm_s16be,pcm_s24be,pcm_s32be,pcm_f32le,pcm_f32be,flac";

    /// <summary>Beside <see cref="Containers"/>, where lossy masters are allowed: each says how long it is, which raw AAC (ADTS) does not.</summary>
    public const string LossyContainers = "mp3,mov,ogg";

    /// <summary>Beside <see cref="Codecs"/>, where lossy masters are allowed.</summary>
    public const string LossyCodecs = "mp3,aac,vorbis";

    /// <summary>What decodes <see cref="LossyCodecs"/>: ffmpeg's whitelist compares the names of decoders.</summary>
    public const string LossyDecoders = "mp3float,aac,vorbis";

    /// <summary>The rates of music production. Others are telephony, mistakes or DSD.</summary>
    public static readonly IReadOnlyList<int> SampleRates = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

    public const int MaxChannels = 2;

    public static bool IsFloat(string codec) => codec is "pcm_f32le" or "pcm_f32be" || IsLossy(codec);

    public static bool IsLossy(string codec) => LossyCodecs.Split(',').Contains(codec);
}
