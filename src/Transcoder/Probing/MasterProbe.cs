namespace Delivery.Transcoder.Probing;

/// <summary>What a master says it is. Only decoding it proves it: a truncated FLAC still claims its full length.</summary>
/// <param name="Container"><c>wav</c>, <c>w64</c>, <c>aiff</c> or <c>flac</c>.</param>
/// <param name="Codec">ffmpeg's codec name, for example <c>pcm_s24le</c>.</param>
/// <param name="SampleRate">Hz.</param>
/// <param name="Channels">1 or 2.</param>
/// <param name="BitsPerSample">16, 24 or 32; 32 for float and for lossy codecs, whose decoders give float.</param>
/// <param name="Samples">Samples per channel that the header declares.</param>
internal sealed record MasterProbe(string Container, string Codec, int SampleRate, int Channels, int BitsPerSample, long Samples)
{
    public bool IsFloat => AcceptedMasters.IsFloat(Codec);

    /// <summary>Whether FLAC can hold the samples as they are.</summary>
    public bool FitsFlac => !IsFloat && BitsPerSample <= 24;

    public TimeSpan Duration => TimeSpan.FromSeconds((double)Samples / SampleRate);
}
