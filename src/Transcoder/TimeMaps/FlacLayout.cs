using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Transcoder.TimeMaps;

/// <summary>
/// FLAC with a fixed block size, frame by frame (RFC 9639 §8 metadata, §9 frames). A frame has no length field: the next one is found by its
/// sync code, the expected frame number, the header's CRC-8, and the CRC-16 of all that lies between.
/// </summary>
internal static class FlacLayout
{
    private const int MaxFrameHeaderBytes = 16;

    private static readonly byte[] Crc8Table = MakeCrc8();
    private static readonly ushort[] Crc16Table = MakeCrc16();

    public static AudioLayout Read(SafeFileHandle file, int sampleRate, TimeSpan duration)
    {
        var length = RandomAccess.GetLength(file);
        Span<byte> start = stackalloc byte[42];
        if (RandomAccess.Read(file, start, 0) < start.Length || !start[..4].SequenceEqual("fLaC"u8) || (start[4] & 0x7f) != 0)
            throw new LayoutException("The FLAC file does not start with its STREAMINFO.");
        var info = start[8..];
        var blockSize = BinaryPrimitives.ReadUInt16BigEndian(info[2..]);
        var minFrame = Math.Max(1, Int24(info[4..]));
        var maxFrame = Int24(info[7..]);
        var totalSamples = (long)(BinaryPrimitives.ReadUInt64BigEndian(info[10..]) & 0xf_ffff_ffff);
        var md5 = Convert.ToHexStringLower(info.Slice(18, 16));
        if (maxFrame == 0 || totalSamples == 0)
            throw new LayoutException("The FLAC file's STREAMINFO lacks its frame sizes or its length.");

        var offset = EndOfMetadata(file, length);
        var firstAudio = offset;
        long firstSound = -1;
        var map = new TimeMapBuilder(sampleRate, duration);
        var window = new byte[maxFrame + MaxFrameHeaderBytes];
        byte rateCode = 0, depthCode = 0;
        for (long number = 0; offset < length; number++)
        {
            var read = RandomAccess.Read(file, window, offset);
            var frame = window.AsSpan(0, read);
            if (number == 0 && read > 4)
                (rateCode, depthCode) = ((byte)(frame[2] & 0x0f), (byte)(frame[3] & 0x0f));
            if (!IsHeader(frame, number, rateCode, depthCode))
                throw new LayoutException($"No FLAC frame {number} starts at byte {offset}.");
            map.Add(offset, number * blockSize);
            offset += FrameLength(frame, minFrame, isLast: offset + read == length, number, rateCode, depthCode, offset);
            if (number == 0)
                firstSound = offset;
        }

        return new AudioLayout
        {
            FirstAudioOffset = firstAudio,
            FirstSoundBytes = firstSound,
            EncoderDelay = 0,
            TotalSamples = totalSamples,
            TimeMap = map.Points,
            PcmMd5 = md5,
        };
    }

    private static long EndOfMetadata(SafeFileHandle file, long length)
    {
        Span<byte> block = stackalloc byte[4];
        long offset = 4;
        while (offset < length && RandomAccess.Read(file, block, offset) == block.Length)
        {
            offset += block.Length + Int24(block[1..]);
            if ((block[0] & 0x80) != 0)
                return offset;
        }

        throw new LayoutException("The FLAC file ends within its metadata.");
    }

    private static int FrameLength(ReadOnlySpan<byte> frame, int minFrame, bool isLast, long number, byte rateCode, byte depthCode, long offset)
    {
        for (var at = minFrame; at < frame.Length;)
        {
            var sync = frame[at..].IndexOf((byte)0xff);
            if (sync < 0)
                break;
            at += sync;
            if (IsHeader(frame[at..], number + 1, rateCode, depthCode) && Crc16(frame[..at]) == 0)
                return at;
            at++;
        }

        return isLast && Crc16(frame) == 0
            ? frame.Length
            : throw new LayoutException($"FLAC frame {number} at byte {offset} does not end where the next one starts.");
    }

    private static bool IsHeader(ReadOnlySpan<byte> at, long number, byte rateCode, byte depthCode)
    {
        // Sync code with the fixed-block-size bit; the last frame alone has another block size, so that nibble is free.
        if (at.Length < 6 || at[0] != 0xff || at[1] != 0xf8 || (at[2] & 0x0f) != rateCode || (at[3] & 0x0f) != depthCode)
            return false;
        Span<byte> coded = stackalloc byte[7];
        var codedLength = CodeNumber(number, coded);
        var headerLength = 4 + codedLength
            + (at[2] >> 4) switch { 6 => 1, 7 => 2, _ => 0 }
            + rateCode switch { 12 => 1, 13 or 14 => 2, _ => 0 };
        return at.Length > headerLength
            && at.Slice(4, codedLength).SequenceEqual(coded[..codedLength])
            && Crc8(at[..(headerLength + 1)]) == 0;
    }

    /// <summary>The frame number in UTF-8's manner, extended to 36 bits (RFC 9639 §9.1.5).</summary>
    private static int CodeNumber(long number, Span<byte> coded)
    {
        if (number < 0x80)
        {
            coded[0] = (byte)number;
            return 1;
        }

        var length = 2;
        while (number >= 1L << (5 * length + 1))
            length++;
        for (var i = length - 1; i > 0; i--)
        {
            coded[i] = (byte)(0x80 | (number & 0x3f));
            number >>= 6;
        }

        coded[0] = (byte)(0xff << (8 - length) | (int)number);
        return length;
    }

    private static int Int24(ReadOnlySpan<byte> bytes) => bytes[0] << 16 | bytes[1] << 8 | bytes[2];

    private static byte Crc8(ReadOnlySpan<byte> bytes)
    {
        byte crc = 0;
        foreach (var b in bytes)
            crc = Crc8Table[crc ^ b];
        return crc;
    }

    /// <summary>Zero over a frame and its own CRC.</summary>
    private static ushort Crc16(ReadOnlySpan<byte> bytes)
    {
        ushort crc = 0;
        foreach (var b in bytes)
            crc = (ushort)(crc << 8 ^ Crc16Table[crc >> 8 ^ b]);
        return crc;
    }

    private static byte[] MakeCrc8() =>
    [
        .. Enumerable.Range(0, 256).Select(n =>
        {
            for (var bit = 0; bit < 8; bit++)
                n = (n & 0x80) != 0 ? n << 1 ^ 0x07 : n << 1; // x^8 + x^2 + x + 1
            return (byte)n;
        }),
    ];

    private static ushort[] MakeCrc16() =>
    [
        .. Enumerable.Range(0, 256).Select(n =>
        {
            n <<= 8;
            for (var bit = 0; bit < 8; bit++)
                n = (n & 0x8000) != 0 ? n << 1 ^ 0x8005 : n << 1; // x^16 + x^15 + x^2 + 1
            return (ushort)n;
        }),
    ];
}
