using System.Buffers.Binary;
using System.Text;

namespace Delivery.EndToEnd.Tests;

/// <summary>A master: 16-bit 44.1 kHz stereo, two slow chords, so that encoders have something to do.</summary>
internal static class Tone
{
    public static void Write(string path, int seconds)
    {
        const int rate = 44_100;
        var samples = rate * seconds;
        var bytes = new byte[44 + (samples * 4)];
        Encoding.ASCII.GetBytes("RIFF").CopyTo(bytes, 0);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), bytes.Length - 8);
        Encoding.ASCII.GetBytes("WAVEfmt ").CopyTo(bytes, 8);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(20), 1);
        BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(22), 2);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(24), rate);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(28), rate * 4);
        BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(32), 4);
        BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(34), 16);
        Encoding.ASCII.GetBytes("data").CopyTo(bytes, 36);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(40), samples * 4);
        for (var i = 0; i < samples; i++)
        {
            var t = (double)i / rate;
            var root = 220 * Math.Pow(2, Math.Floor(t % 4) / 12);
            BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(44 + (i * 4)), (short)(6000 * (Math.Sin(2 * Math.PI * root * t) + Math.Sin(3 * Math.PI * root * t))));
            BinaryPrimitives.WriteInt16LittleEndian(bytes.AsSpan(46 + (i * 4)), (short)(6000 * (Math.Sin(2 * Math.PI * root * t) + Math.Sin(2.5 * Math.PI * root * t))));
        }

        File.WriteAllBytes(path, bytes);
    }
}
