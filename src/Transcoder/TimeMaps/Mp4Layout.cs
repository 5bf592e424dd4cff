using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Transcoder.TimeMaps;

/// <summary>
/// Fragmented MP4 with one track, an edit list and one global segment index (ISO/IEC 14496-12 §8.6.6 elst, §8.16.3 sidx, §8.8.8 trun).
/// The index counts presentation time: its first reference is shorter by the priming samples that the edit list skips.
/// </summary>
internal static class Mp4Layout
{
    /// <summary>The index of 300 fragments is 4 KB and the first fragment's head as much; all of it must lie within a first request anyway.</summary>
    private const int HeadBytes = 65_536;

    public static AudioLayout Read(SafeFileHandle file, int sampleRate, TimeSpan duration)
    {
        var length = RandomAccess.GetLength(file);
        var buffer = new byte[(int)Math.Min(length, HeadBytes)];
        if (RandomAccess.Read(file, buffer, 0) != buffer.Length)
            throw new LayoutException("The MP4 file cannot be read.");
        ReadOnlySpan<byte> head = buffer;

        var moov = Find(head, 0, head.Length, "moov"u8);
        var trak = Find(head, moov, "trak"u8);
        var timescale = U32(head, Find(head, Find(head, trak, "mdia"u8), "mdhd"u8).Body + 12);
        if (timescale != sampleRate)
            throw new LayoutException($"The MP4 track counts time in 1/{timescale} s, not in samples of {sampleRate} Hz.");
        var delay = EditDelay(head, Find(head, Find(head, trak, "edts"u8), "elst"u8));

        var sidx = Find(head, 0, head.Length, "sidx"u8);
        var version = head[sidx.Body];
        var references = sidx.Body + 12 + (version == 0 ? 8 : 16);
        var firstOffset = version == 0 ? U32(head, references - 4) : (long)U64(head, references - 8);
        var count = U16(head, references + 2);
        var map = new TimeMapBuilder(sampleRate, duration);
        long offset = sidx.End + firstOffset, time = 0;
        var firstAudio = offset;
        for (var i = 0; i < count; i++)
        {
            var at = references + 4 + (12 * i);
            map.Add(offset, time);
            offset += U32(head, at) & 0x7fff_ffff; // The top bit would say that it points to another index.
            time += U32(head, at + 4);
        }

        if (offset > length)
            throw new LayoutException("The MP4 index points past the end of the file.");
        return new AudioLayout
        {
            FirstAudioOffset = firstAudio,
            FirstSoundBytes = FirstSound(head, (int)firstAudio, delay),
            EncoderDelay = delay,
            TotalSamples = time,
            TimeMap = map.Points,
        };
    }

    private static int EditDelay(ReadOnlySpan<byte> head, Box elst)
    {
        var version = head[elst.Body];
        if (U32(head, elst.Body + 4) != 1)
            throw new LayoutException("The MP4 edit list does not have exactly one entry.");
        return version == 0 ? (int)U32(head, elst.Body + 12) : (int)U64(head, elst.Body + 16);
    }

    /// <summary>End of the first access unit whose samples reach past the encoder's delay.</summary>
    private static long FirstSound(ReadOnlySpan<byte> head, int moofOffset, int delay)
    {
        var moof = Find(head, moofOffset, head.Length, "moof"u8);
        var traf = Find(head, moof, "traf"u8);
        var tfhd = Find(head, traf, "tfhd"u8);
        var trun = Find(head, traf, "trun"u8);

        var tfhdFlags = U32(head, tfhd.Body) & 0xff_ffff;
        var field = tfhd.Body + 8 + ((tfhdFlags & 0x1) != 0 ? 8 : 0) + ((tfhdFlags & 0x2) != 0 ? 4 : 0);
        uint defaultDuration = 0, defaultSize = 0;
        if ((tfhdFlags & 0x8) != 0)
        {
            defaultDuration = U32(head, field);
            field += 4;
        }

        if ((tfhdFlags & 0x10) != 0)
            defaultSize = U32(head, field);

        var flags = U32(head, trun.Body) & 0xff_ffff;
        var samples = U32(head, trun.Body + 4);
        if ((flags & 0x1) == 0)
            throw new LayoutException("The MP4 fragment does not say where its data starts.");
        long end = moof.Start + U32(head, trun.Body + 8);
        var entry = trun.Body + 12 + ((flags & 0x4) != 0 ? 4 : 0);
        long decoded = 0;
        for (var i = 0; i < samples && decoded <= delay; i++)
        {
            var duration = defaultDuration;
            var size = defaultSize;
            if ((flags & 0x100) != 0)
            {
                duration = U32(head, entry);
                entry += 4;
            }

            if ((flags & 0x200) != 0)
            {
                size = U32(head, entry);
                entry += 4;
            }

            entry += ((flags & 0x400) != 0 ? 4 : 0) + ((flags & 0x800) != 0 ? 4 : 0);
            decoded += duration;
            end += size;
        }

        return decoded > delay ? end : throw new LayoutException("The first MP4 fragment holds nothing but the encoder's delay.");
    }

    private static Box Find(ReadOnlySpan<byte> head, Box parent, ReadOnlySpan<byte> type) => Find(head, parent.Body, parent.End, type);

    private static Box Find(ReadOnlySpan<byte> head, int from, int to, ReadOnlySpan<byte> type)
    {
        while (from + 8 <= to)
        {
            var size = (int)U32(head, from);
            if (head.Slice(from + 4, 4).SequenceEqual(type))
                return size >= 8 && from + size <= head.Length ? new Box(from, from + 8, from + size) : throw new LayoutException($"The MP4 box {Name(type)} is longer than the file's head.");
            if (size < 8)
                break; // 0 and 1 (to the end, 64-bit) are only used by mdat, and nothing after one is looked for.
            from += size;
        }

        throw new LayoutException($"The MP4 file has no {Name(type)} box where one must be.");
    }

    private static string Name(ReadOnlySpan<byte> type) => System.Text.Encoding.ASCII.GetString(type);

    private static ushort U16(ReadOnlySpan<byte> head, int at) => BinaryPrimitives.ReadUInt16BigEndian(Part(head, at, 2));

    private static uint U32(ReadOnlySpan<byte> head, int at) => BinaryPrimitives.ReadUInt32BigEndian(Part(head, at, 4));

    private static ulong U64(ReadOnlySpan<byte> head, int at) => BinaryPrimitives.ReadUInt64BigEndian(Part(head, at, 8));

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> head, int at, int length) =>
        at >= 0 && at + length <= head.Length ? head.Slice(at, length) : throw new LayoutException("An MP4 box ends in the middle.");

    private readonly record struct Box(int Start, int Body, int End);
}
