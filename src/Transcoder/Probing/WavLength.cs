using System.Buffers.Binary;

namespace Delivery.Transcoder.Probing;

/// <summary>
/// Whether a WAV file is as long as its header says. ffmpeg reads what the header claims and no more, so a header that claims too little would
/// silently cut the music; one that claims too much, or nothing, is found by a strict decode but without a helpful word.
/// </summary>
internal static class WavLength
{
    private const int MaxChunks = 1_000;

    /// <summary>What is wrong, as the end of a sentence; null when nothing is, or when it is no WAV file.</summary>
    public static string? Problem(Stream file)
    {
        Span<byte> header = stackalloc byte[12];
        if (file.ReadAtLeast(header, 12, throwOnEndOfStream: false) < 12 || !header[8..].SequenceEqual("WAVE"u8))
            return null;
        var isRf64 = header[..4].SequenceEqual("RF64"u8);
        if (!isRf64 && !header[..4].SequenceEqual("RIFF"u8))
            return null;

        long? longDataBytes = null;
        var sawData = false;
        Span<byte> chunk = stackalloc byte[8];
        Span<byte> ds64 = stackalloc byte[16];
        for (var chunks = 0; chunks < MaxChunks && file.Position < file.Length; chunks++)
        {
            var read = file.ReadAtLeast(chunk, 8, throwOnEndOfStream: false);
            if (read < 8)
                return sawData ? null : "its header ends in the middle"; // A stray pad byte after the music hurts nobody.
            var id = chunk[..4];
            long size = BinaryPrimitives.ReadUInt32LittleEndian(chunk[4..]);
            var start = file.Position;
            if (isRf64 && id.SequenceEqual("ds64"u8) && size >= 16 && file.ReadAtLeast(ds64, 16, throwOnEndOfStream: false) == 16)
                longDataBytes = (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(ds64[8..]), long.MaxValue);
            var left = file.Length - start;
            if (id.SequenceEqual("data"u8))
            {
                if (sawData)
                    return "it has two data chunks";
                sawData = true;
                if (isRf64 && size == uint.MaxValue)
                    size = longDataBytes ?? 0;
                else if (size == uint.MaxValue)
                    return "its header does not say how long it is (it was written to a pipe)";
                if (size == 0)
                    return "its header says that it holds no audio";
                if (size > left)
                    return $"its header promises {size:N0} bytes of audio and {left:N0} are there";
            }
            else if (sawData && !IsChunkId(id))
            {
                return $"{left + 8:N0} bytes follow the end that its header names";
            }
            else if (size > left)
            {
                return sawData ? null : "its header ends in the middle";
            }

            file.Position = Math.Min(file.Length, start + size + (size & 1)); // RIFF pads chunks to even length.
        }

        return sawData ? null : "it has no data chunk";
    }

    private static bool IsChunkId(ReadOnlySpan<byte> id)
    {
        foreach (var b in id)
        {
            if (b is < 0x20 or > 0x7e)
                return false;
        }

        return true;
    }
}
