using System.Buffers.Binary;

namespace Delivery.Transcoder.Tests.Cage;

/// <summary>FLAC files as an attacker makes them, byte by byte (RFC 9639): every checksum is right.</summary>
internal static class HostileFlac
{
    /// <summary>A second and a half of 44.1 kHz stereo in 18 bytes, the most that one frame can hold.</summary>
    public const int FrameSamples = 65_535;

    private const int StreamInfo = 0, VorbisComment = 4, CueSheet = 5, Picture = 6;

    /// <summary>Silence: 15,000 times larger when it is decoded.</summary>
    /// <param name="claimedSamples">What the header says.</param>
    /// <param name="frames">What is there.</param>
    public static byte[] Bomb(long claimedSamples, int frames)
    {
        using var flac = new MemoryStream();
        flac.Write(Header(claimedSamples));
        for (var number = 0; number < frames; number++)
            flac.Write(ConstantFrame(number));
        return flac.ToArray();
    }

    /// <summary>A header alone, with or without the bit that ends the metadata.</summary>
    public static byte[] Header(long samples, int channels = 2, int bits = 16, bool last = true)
    {
        var info = new byte[34];
        BinaryPrimitives.WriteUInt16BigEndian(info, FrameSamples);
        BinaryPrimitives.WriteUInt16BigEndian(info.AsSpan(2), FrameSamples);
        BinaryPrimitives.WriteUInt64BigEndian(info.AsSpan(10), (44_100UL << 44) | ((ulong)(channels - 1) << 41) | ((ulong)(bits - 1) << 36) | (ulong)samples);
        return [.. "fLaC"u8, .. Block(StreamInfo, info, last)];
    }

    /// <summary>Puts metadata behind the header of a good file.</summary>
    public static byte[] With(byte[] flac, params byte[][] blocks)
    {
        using var all = new MemoryStream();
        all.Write(flac.AsSpan(0, 4));
        all.WriteByte((byte)(flac[4] & 0x7f));
        all.Write(flac.AsSpan(5, 37));
        foreach (var block in blocks)
            all.Write(block);
        if ((flac[4] & 0x80) != 0)
            all.Write(Block(1, new byte[4], last: true));
        all.Write(flac.AsSpan(42));
        return all.ToArray();
    }

    public static byte[] Comments(params byte[][] comments)
    {
        using var block = new MemoryStream();
        Write(block, comments.Length, "delivery"u8);
        foreach (var comment in comments)
            WriteText(block, comment);
        return Block(VorbisComment, block.ToArray(), last: false);

        static void Write(MemoryStream to, int count, ReadOnlySpan<byte> vendor)
        {
            WriteText(to, vendor);
            Span<byte> number = stackalloc byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(number, count);
            to.Write(number);
        }

        static void WriteText(MemoryStream to, ReadOnlySpan<byte> text)
        {
            Span<byte> number = stackalloc byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(number, text.Length);
            to.Write(number);
            to.Write(text);
        }
    }

    /// <summary>A cover. The type "-->" says that its bytes are a URL (RFC 9639 §8.8).</summary>
    public static byte[] Cover(string type, byte[] content)
    {
        var picture = new byte[32 + type.Length + content.Length];
        BinaryPrimitives.WriteInt32BigEndian(picture, 3);
        BinaryPrimitives.WriteInt32BigEndian(picture.AsSpan(4), type.Length);
        System.Text.Encoding.ASCII.GetBytes(type, picture.AsSpan(8));
        BinaryPrimitives.WriteInt32BigEndian(picture.AsSpan(12 + type.Length), 500); // width; then height, depth, colours
        BinaryPrimitives.WriteInt32BigEndian(picture.AsSpan(28 + type.Length), content.Length);
        content.CopyTo(picture, 32 + type.Length);
        return Block(Picture, picture, last: false);
    }

    /// <summary>A cue sheet of one track and the lead-out, whose catalog number is a name to open.</summary>
    public static byte[] Cues(string catalog)
    {
        var sheet = new byte[396 + 36 + 12 + 36];
        System.Text.Encoding.ASCII.GetBytes(catalog.AsSpan(0, Math.Min(128, catalog.Length)), sheet);
        sheet[395] = 2;
        sheet[396 + 8] = 1;
        sheet[396 + 35] = 1;
        sheet[396 + 36 + 12 + 8] = 170;
        return Block(CueSheet, sheet, last: false);
    }

    private static byte[] Block(int type, byte[] content, bool last) =>
        [(byte)(type | (last ? 0x80 : 0)), (byte)(content.Length >> 16), (byte)(content.Length >> 8), (byte)content.Length, .. content];

    /// <summary>Two constant subframes of 16 bits, which are silence; the number is coded as UTF-8 codes characters (§9.1.5).</summary>
    private static byte[] ConstantFrame(int number)
    {
        byte[] coded = number < 0x80 ? [(byte)number]
            : number < 0x800 ? [(byte)(0xc0 | (number >> 6)), (byte)(0x80 | (number & 63))]
            : [(byte)(0xe0 | (number >> 12)), (byte)(0x80 | ((number >> 6) & 63)), (byte)(0x80 | (number & 63))];
        byte[] head = [0xff, 0xf8, 0x79, 0x18, .. coded, (FrameSamples - 1) >> 8, (FrameSamples - 1) & 0xff];
        byte[] frame = [.. head, (byte)Crc(head, 8, 0x07), 0, 0, 0, 0, 0, 0];
        var check = Crc(frame, 16, 0x8005);
        return [.. frame, (byte)(check >> 8), (byte)check];
    }

    private static int Crc(byte[] bytes, int width, int polynomial)
    {
        var crc = 0;
        foreach (var b in bytes)
        {
            crc ^= b << (width - 8);
            for (var bit = 0; bit < 8; bit++)
                crc = (crc & (1 << (width - 1))) != 0 ? (crc << 1) ^ polynomial : crc << 1;
            crc &= (1 << width) - 1;
        }

        return crc;
    }
}
