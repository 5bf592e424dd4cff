using System.Buffers.Binary;
using System.Text;
using Delivery.Cli.Demo.Score;
using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo;

/// <summary>
/// PCM in RIFF/WAVE, 16 or 24 bits, stereo. The length is known before the first sample, so the header is final when it is
/// written and the file is a single forward pass.
/// <code>
/// "RIFF" size "WAVE" | "fmt " (plain at 16 bits, WAVE_FORMAT_EXTENSIBLE at 24) | "LIST" INFO: title, artist, software | "data"
/// </code>
/// </summary>
internal sealed class WavWriter
{
    public const int Channels = 2;

    private readonly Stream _output;
    private readonly int _bitsPerSample;
    private readonly byte[] _bytes = new byte[Mixer.BlockFrames * Channels * 3];
    private Noise _dither = new(0x5EED);

    public WavWriter(Stream output, int bitsPerSample) => (_output, _bitsPerSample) = (output, bitsPerSample);

    /// <summary>Everything before the first sample.</summary>
    public static byte[] Header(Piece piece, string artist, string software)
    {
        var frameBytes = Channels * piece.BitsPerSample / 8;
        var dataBytes = checked((uint)(piece.FrameCount * frameBytes));
        var format = Format(piece, frameBytes);
        byte[] list = [.. "INFO"u8, .. Chunk("INAM", Text(piece.Title)), .. Chunk("IART", Text(artist)), .. Chunk("ISFT", Text(software))];
        byte[] chunks = [.. "WAVE"u8, .. Chunk("fmt ", format), .. Chunk("LIST", list), .. "data"u8, .. LittleEndian(dataBytes)];
        return [.. "RIFF"u8, .. LittleEndian((uint)chunks.Length + dataBytes), .. chunks];
    }

    /// <summary>Writes one block; both channels hold -1 to 1, and what lies outside is clipped.</summary>
    public void Write(ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        var at = 0;
        for (var n = 0; n < left.Length; n++)
        {
            at = Put(left[n], at);
            at = Put(right[n], at);
        }
        _output.Write(_bytes, 0, at);
    }

    private int Put(float sample, int at)
    {
        if (_bitsPerSample == 16)
        {
            // Triangular dither of ±1 step makes the rounding error a steady hiss at -96 dB, not a distortion of quiet tails
            // (Lipshitz, Wannamaker and Vanderkooy 1992).
            var dither = 0.5f * (_dither.Next() + _dither.Next());
            var value = (short)Math.Clamp(MathF.Round(sample * 32767 + dither), short.MinValue, short.MaxValue);
            BinaryPrimitives.WriteInt16LittleEndian(_bytes.AsSpan(at), value);
            return at + 2;
        }
        var wide = Math.Clamp((int)Math.Round(sample * 8388607.0), -8388608, 8388607);
        (_bytes[at], _bytes[at + 1], _bytes[at + 2]) = ((byte)wide, (byte)(wide >> 8), (byte)(wide >> 16));
        return at + 3;
    }

    private static byte[] Format(Piece piece, int frameBytes)
    {
        // Microsoft's rule: more than 16 bits per sample needs the extensible form, with its speaker mask and subformat.
        var extensible = piece.BitsPerSample > 16;
        byte[] plain =
        [
            .. LittleEndian((ushort)(extensible ? 0xFFFE : 1)), .. LittleEndian((ushort)Channels), .. LittleEndian((uint)piece.SampleRateHz),
            .. LittleEndian((uint)(piece.SampleRateHz * frameBytes)), .. LittleEndian((ushort)frameBytes), .. LittleEndian((ushort)piece.BitsPerSample),
        ];
        if (!extensible)
            return plain;
        const uint FrontLeftAndRight = 3;
        var pcm = new Guid("00000001-0000-0010-8000-00AA00389B71");
        return [.. plain, .. LittleEndian((ushort)22), .. LittleEndian((ushort)piece.BitsPerSample), .. LittleEndian(FrontLeftAndRight), .. pcm.ToByteArray()];
    }

    private static byte[] Chunk(string id, byte[] body) => [.. Encoding.ASCII.GetBytes(id), .. LittleEndian((uint)body.Length), .. body];

    /// <summary>Zero-terminated and padded to an even length, so that the chunk after it is aligned.</summary>
    private static byte[] Text(string text) => [.. Encoding.ASCII.GetBytes(text), .. new byte[2 - text.Length % 2]];

    private static byte[] LittleEndian(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] LittleEndian(ushort value) => [(byte)value, (byte)(value >> 8)];
}
