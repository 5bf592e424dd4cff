using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache;

/// <summary>Makes a disk fail in seeded ways, one after the other, with calm in between. The journal is never damaged: it must refuse to lose a purge, not guess.</summary>
internal sealed class DiskWeather(FaultyDisk disk, Random random)
{
    private const int Kinds = 9;

    private static readonly int[] Errors = [FaultyDisk.EIO, FaultyDisk.EIO, FaultyDisk.ENOSPC, FaultyDisk.EROFS];

    /// <param name="life">How long this life of the cache is; the power goes off near its end.</param>
    /// <param name="stop">The life ends.</param>
    public async Task RunAsync(TimeSpan life, CancellationToken stop)
    {
        var powerOff = random.Next(3) > 0;
        var kinds = Enumerable.Range(0, Kinds).ToArray();
        var next = Kinds;
        var until = Environment.TickCount64 + (long)(life.TotalMilliseconds * 0.8);
        try
        {
            while (Environment.TickCount64 < until)
            {
                if (next == Kinds)
                {
                    random.Shuffle(kinds);
                    next = 0;
                }

                using (Trouble(kinds[next++]))
                    await Task.Delay(random.Next(5, 50), stop);
                disk.InPageCache = true;
                await Task.Delay(random.Next(5, 40), stop);
            }

            if (powerOff)
                disk.LosePowerAfter(random.Next(60));
            await Task.Delay(Timeout.Infinite, stop);
        }
        catch (OperationCanceledException)
        {
        }

        disk.InPageCache = true;
    }

    private DiskRule? Trouble(int kind)
    {
        var error = Errors[random.Next(Errors.Length)];
        switch (kind)
        {
            case 0:
                return disk.Fail(DiskOperations.Reads, FaultyDisk.EIO, times: random.Next(1, 30));
            case 1:
                return disk.Fail(DiskOperations.Write, error, skip: random.Next(3), times: random.Next(1, 6), written: random.Next(200_000));
            case 2:
                return disk.Fail(DiskOperations.Sync, FaultyDisk.EIO, times: random.Next(1, 3));
            case 3:
                return disk.Fail(DiskOperations.Create | DiskOperations.Rename | DiskOperations.Delete | DiskOperations.SyncFolder, error, times: random.Next(1, 4));
            case 4:
                // Slower than the read time-out: the late bytes must go nowhere.
                disk.InPageCache = false;
                return disk.Stall(DiskOperations.Read);
            case 5:
                return disk.Stall(DiskOperations.Write | DiskOperations.Sync, call => !IsJournal(call.Name));
            case 6:
                return disk.FlipOnRead(random.Next(4 << 20), random.Next(8), call => !IsJournal(call.Name));
            case 7:
                for (var i = 0; i < 8; i++)
                    Rot();
                return null;
            default:
                disk.InPageCache = false;
                return null;
        }
    }

    private void Rot()
    {
        var segments = disk.List().Where(name => !IsJournal(name)).ToList();
        if (segments.Count == 0)
            return;
        try
        {
            var name = segments[random.Next(segments.Count)];
            long length;
            using (var file = disk.Open(name, write: false))
                length = file.Length;
            if (length > 0)
                disk.FlipBit(name, random.NextInt64(length), random.Next(8));
        }
        catch (IOException)
        {
            // Evicted meanwhile.
        }
    }

    private static bool IsJournal(string name) => name.StartsWith("journal", StringComparison.Ordinal);
}
