using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Transcoder.TimeMaps;

/// <summary>Ogg Vorbis, by its pages (RFC 3533 §6): a page's granule position is the number of samples decoded up to its end.</summary>
internal static class OggLayout
{
    private const int FixedHeaderBytes = 27;

    public static AudioLayout Read(SafeFileHandle file, int sampleRate, TimeSpan duration)
    {
        var length = RandomAccess.GetLength(file);
        var map = new TimeMapBuilder(sampleRate, duration);
        Span<byte> header = stackalloc byte[FixedHeaderBytes + 255];
        long offset = 0, samples = 0, firstAudio = -1, firstSound = -1;
        while (offset < length)
        {
            var read = RandomAccess.Read(file, header, offset);
            if (read < FixedHeaderBytes || !header[..4].SequenceEqual("OggS"u8) || header[26] + FixedHeaderBytes > read)
                throw new LayoutException($"No Ogg page starts at byte {offset}.");
            var segments = header[26];
            var next = offset + FixedHeaderBytes + segments;
            foreach (var lacing in header.Slice(FixedHeaderBytes, segments))
                next += lacing;
            var granule = BinaryPrimitives.ReadInt64LittleEndian(header[6..]);
            // Pages of the three header packets have granule 0, a page inside of which no packet ends has -1.
            if (granule > 0)
            {
                if (granule <= samples)
                    throw new LayoutException($"The Ogg page at byte {offset} goes back in time.");
                if (firstAudio < 0)
                {
                    firstAudio = offset;
                    firstSound = next;
                }

                map.Add(offset, samples);
                samples = granule;
            }

            offset = next;
        }

        if (offset != length || firstAudio < 0)
            throw new LayoutException("The Ogg file ends in the middle of a page.");
        return new AudioLayout
        {
            FirstAudioOffset = firstAudio,
            FirstSoundBytes = firstSound,
            EncoderDelay = 0, // A Vorbis decoder drops the warm-up by itself, and the last granule position cuts the end.
            TotalSamples = samples,
            TimeMap = map.Points,
        };
    }
}
