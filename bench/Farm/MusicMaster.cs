using System.Buffers.Binary;

namespace Delivery.Bench.Farm;

/// <summary>A WAV master of 16/44.1 stereo: chords with decay and noise, each number its own music.</summary>
internal static class MusicMaster
{
    private const int Rate = 44_100;

    public static byte[] Create(int number, double seconds)
    {
        var frames = (int)(seconds * Rate);
        var wav = new byte[44 + (frames * 4)];
        "RIFF"u8.CopyTo(wav);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(4), wav.Length - 8);
        "WAVEfmt "u8.CopyTo(wav.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(20), 1);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(22), 2);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(24), Rate);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(28), Rate * 4);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(32), 4);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(34), 16);
        "data"u8.CopyTo(wav.AsSpan(36));
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(40), frames * 4);
        var random = new Random(number);
        for (var i = 0; i < frames; i++)
        {
            var t = (double)i / Rate;
            var root = 110 * Math.Pow(2, ((number * 7) + ((int)(t * 2) % 4 * 5)) % 12 / 12.0);
            var level = 0.2 * Math.Exp(-2 * (t % 0.5));
            for (var channel = 0; channel < 2; channel++)
            {
                var value = level * (Math.Sin(2 * Math.PI * root * t) + Math.Sin(2 * Math.PI * root * 1.26 * t) + Math.Sin(2 * Math.PI * root * (1.498 + (channel * 0.002)) * t));
                BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(44 + (i * 4) + (channel * 2)), (short)(32_000 * (value + (0.01 * (random.NextDouble() - 0.5)))));
            }
        }

        return wav;
    }

    /// <summary>The header promises more than there is, as after a broken transfer.</summary>
    public static byte[] Truncated(int number, double seconds) => Create(number, seconds)[..^4_000];
}
