using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>Tries a direction that is off, for real.</summary>
internal sealed class DiskProbe(ICacheDisk disk, SegmentTable table, DiskTierOptions options, DiskHealth health, TimeProvider time)
{
    public const string FileName = "probe";

    private const int Block = 4096;

    // A disk with room for one block is still full: a whole small segment must fit, or writes would come and go.
    private const int FullProbeBytes = (int)DiskTierOptions.MinSegmentBytes;

    private readonly byte[] _buffer = new byte[64 << 10];
    private readonly Random _random = new();

    /// <summary>Writes, syncs and reads back a small file. Hangs as long as the disk does.</summary>
    public void ProbeWrites()
    {
        var size = health.Writes.LastTrouble == DiskTrouble.Full ? FullProbeBytes : Block;
        try
        {
            disk.Delete(FileName);
            using (var file = disk.Create(FileName))
            {
                _random.NextBytes(_buffer);
                for (var at = 0; at < size; at += _buffer.Length)
                    file.Write(at, _buffer.AsSpan(0, Math.Min(size - at, _buffer.Length)));
                file.Sync();
                Span<byte> back = stackalloc byte[Block];
                if (file.Read(0, back) != Block || !back.SequenceEqual(_buffer.AsSpan(0, Block)))
                    return;
            }

            disk.Delete(FileName);
            health.Writes.TurnOn();
        }
        catch (IOException)
        {
            // Still off.
        }
    }

    /// <summary>
    /// Reads a block somewhere in some segment, as a request would, within the time that a request has. Somewhere, because one place would be answered from memory.
    /// </summary>
    public void ProbeReads()
    {
        var segments = table.Snapshot();
        if (segments.Count == 0)
        {
            health.Reads.TurnOn();
            return;
        }

        var segment = segments.ElementAt(_random.Next(segments.Count));
        if (!segment.TryAcquire())
            return;
        try
        {
            var started = time.GetTimestamp();
            Span<byte> block = stackalloc byte[Block];
            var read = segment.File.Read(_random.NextInt64(Math.Max(1, segment.Length - Block)), block);
            if (read > 0 && time.GetElapsedTime(started) < options.ReadTimeout)
                health.Reads.TurnOn();
        }
        catch (IOException)
        {
            // Still off.
        }
        finally
        {
            segment.Release();
        }
    }
}
