using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Delivery.Transcoder.Tests;

/// <summary>A synthesized master: what it sounds like, and as which file.</summary>
public sealed record Master
{
    public int SampleRate { get; init; } = 44_100;

    public int Bits { get; init; } = 16;

    public bool IsFloat { get; init; }

    public int Channels { get; init; } = 2;

    public required long Samples { get; init; }

    /// <summary>(time in s, channel) to -1..1. Default: chords that change, with decay and noise.</summary>
    public Func<double, int, double> Sound { get; init; } = Music;

    public static Master OfSeconds(double seconds, int sampleRate = 44_100, int bits = 16, int channels = 2) =>
        new() { Samples = (long)Math.Round(seconds * sampleRate), SampleRate = sampleRate, Bits = bits, Channels = channels };

    /// <summary>A 1 kHz tone, the same in all channels.</summary>
    public static Func<double, int, double> Tone(double amplitude) => (t, _) => amplitude * Math.Sin(2 * Math.PI * 1000 * t);

    public static double Music(double t, int channel)
    {
        double[][] chords = [[220, 277.2, 329.6], [246.9, 293.7, 370], [196, 246.9, 293.7]];
        var beat = t % 0.5;
        var sum = 0.0;
        foreach (var tone in chords[(int)(t / 0.5) % chords.Length])
            sum += Math.Sin(2 * Math.PI * tone * (1 + (channel * 0.001)) * t) + (0.3 * Math.Sin(4 * Math.PI * tone * t));
        var hash = (uint)((long)(t * 192_000) * 2 + channel) * 2_654_435_761u;
        return (0.15 * sum * Math.Exp(-3 * beat)) + (0.02 * ((hash / 4_294_967_296.0) - 0.5));
    }

    public byte[] ToWav()
    {
        var frameBytes = Channels * Bits / 8;
        var wav = new byte[44 + (Samples * frameBytes)];
        "RIFF"u8.CopyTo(wav);
        BinaryPrimitives.WriteUInt32LittleEndian(wav.AsSpan(4), (uint)(wav.Length - 8));
        "WAVEfmt "u8.CopyTo(wav.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(20), (short)(IsFloat ? 3 : 1));
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(22), (short)Channels);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(24), SampleRate);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(28), SampleRate * frameBytes);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(32), (short)frameBytes);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(34), (short)Bits);
        "data"u8.CopyTo(wav.AsSpan(36));
        BinaryPrimitives.WriteUInt32LittleEndian(wav.AsSpan(40), (uint)(Samples * frameBytes));
        Pcm().CopyTo(wav, 44);
        return wav;
    }

    /// <summary>The samples as they stand in the WAV file.</summary>
    public byte[] Pcm()
    {
        var pcm = new byte[Samples * Channels * Bits / 8];
        var at = 0;
        for (long i = 0; i < Samples; i++)
        {
            for (var channel = 0; channel < Channels; channel++)
            {
                var value = Sound((double)i / SampleRate, channel);
                if (IsFloat)
                    BinaryPrimitives.WriteSingleLittleEndian(pcm.AsSpan(at), (float)value);
                else
                    WriteInteger(pcm.AsSpan(at), (long)Math.Round(Math.Clamp(value, -1, 1) * ((1L << (Bits - 1)) - 1)));
                at += Bits / 8;
            }
        }

        return pcm;

        void WriteInteger(Span<byte> to, long sample)
        {
            for (var b = 0; b < Bits / 8; b++)
                to[b] = (byte)(sample >> (8 * b));
        }
    }

#pragma warning disable CA5351 // MD5 is what STREAMINFO holds (RFC 9639 §8.2); nothing is protected by it.
    public string PcmMd5() => Convert.ToHexStringLower(MD5.HashData(Pcm()));
#pragma warning restore CA5351
}
