using System.Diagnostics;
using System.Globalization;
using Delivery.Edge;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Bench;

/// <summary>The steps of <c>bench/cache/restart</c>, each in a process of its own.</summary>
internal static class CacheRestart
{
    private const int ChunksPerObject = 40;

    /// <summary>Fills a folder through the real writer, then kills this process, as a crash would.</summary>
    public static int Write(string folder, double gigabytes)
    {
        using var disk = LocalDisk.Open(folder);
        using var journal = CacheJournal.Open(disk, TimeProvider.System, out var fresh);
        var tier = Open(disk, journal, fresh, gigabytes);
        // Random bytes, shifted for each chunk: what they are does not matter, that they do not compress does.
        var pool = new byte[64 << 20];
        new Random(20261121).NextBytes(pool);
        var count = (long)(gigabytes * (1L << 30)) / Chunk.SizeBytes;
        var started = Stopwatch.GetTimestamp();
        for (long i = 0; i < count; i++)
        {
            var record = RecordOf(i);
            var bytes = pool.AsSpan((int)(i * 4099 % (pool.Length - Chunk.SizeBytes)), Chunk.SizeBytes);
            Admit(tier, record, bytes);
        }

        SpinWait.SpinUntil(() => tier.WriteBuffersInUse == 0);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"written {gigabytes} GB in {seconds:F1} s ({gigabytes / seconds:F2} GB/s), {tier.Segments} segments, write amplification {(double)tier.Counters.WrittenBytes / tier.Counters.AdmittedBytes:F4}"));
        Console.Out.Flush();
        Process.GetCurrentProcess().Kill();
        return 0;
    }

    /// <summary>Opens the folder and reads one chunk; prints one row of the table.</summary>
    public static async Task<int> Read(string folder, double gigabytes, string cache)
    {
        var started = Stopwatch.GetTimestamp();
        using var disk = LocalDisk.Open(folder);
        using var journal = CacheJournal.Open(disk, TimeProvider.System, out var fresh);
        using var tier = Open(disk, journal, fresh, gigabytes);
        var open = Stopwatch.GetElapsedTime(started);
        var buffer = new byte[64 << 10];
        var count = (long)(gigabytes * (1L << 30)) / Chunk.SizeBytes;
        // In the middle: neither the segment that was just scanned nor the first.
        if (!await tier.ReadAsync(RecordOf(count / 2).Key, Chunk.SizeBytes, 0, buffer))
            throw new InvalidOperationException("The chunk is not there.");
        var hit = Stopwatch.GetElapsedTime(started);
        var process = DateTime.Now - Process.GetCurrentProcess().StartTime;
        long present = 0;
        for (long i = 0; i < count; i++)
            present += tier.Contains(RecordOf(i).Key, Chunk.SizeBytes) ? 1 : 0;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"| {cache} | {gigabytes} GB, {tier.Segments} segments | {open.TotalMilliseconds:F0} ms | {hit.TotalMilliseconds:F0} ms | {process.TotalMilliseconds:F0} ms | {hit.TotalMilliseconds / gigabytes:F2} ms | {100.0 * present / count:F2} % |"));
        return 0;
    }

    /// <summary>
    /// Write amplification while segments are evicted: five times the budget is admitted, and what is there is used by Zipf's law, so that the second chance has work.
    /// </summary>
    public static async Task<int> Churn(string folder)
    {
        const long Budget = 1L << 30;
        using var disk = LocalDisk.Open(folder);
        var options = new DiskTierOptions { Bytes = Budget, ScrubBytesPerSecond = 0 };
        Console.WriteLine("| exponent | admitted | written | written again | write amplification | largest use of the budget |");
        Console.WriteLine("|---|---|---|---|---|---|");
        foreach (var exponent in (double[])[0.7, 0.9, 1.1])
        {
            using var tier = DiskTierStore.Open(disk, Guid.NewGuid(), dropAll: true, options, new(new() { DiskUsesToRam = int.MaxValue }), _ => false, _ => false, TimeProvider.System, NullLogger.Instance);
            var keys = 8 * Budget / Chunk.SizeBytes;
            var sums = new double[keys];
            for (var k = 0; k < keys; k++)
                sums[k] = (k > 0 ? sums[k - 1] : 0) + Math.Pow(k + 1, -exponent);
            var random = new Random(20261121);
            var bytes = new byte[Chunk.SizeBytes];
            random.NextBytes(bytes);
            var part = new byte[4096];
            long largest = 0;
            while (tier.Counters.AdmittedBytes < 5 * Budget)
            {
                var at = Array.BinarySearch(sums, random.NextDouble() * sums[^1]);
                var record = RecordOf(at < 0 ? ~at : at);
                // A miss is filled, as by an edge whose ghost knows every key.
                if (!await tier.ReadAsync(record.Key, record.Length, 0, part))
                    Admit(tier, record, bytes);

                largest = Math.Max(largest, tier.UsedBytes);
            }

            var counters = tier.Counters;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {exponent} | {counters.AdmittedBytes >> 20} MiB | {counters.WrittenBytes >> 20} MiB | {counters.ReinsertedBytes >> 20} MiB | {(double)counters.WrittenBytes / counters.AdmittedBytes:F3} | {100.0 * largest / Budget:F1} % |"));
        }

        return 0;
    }

    private static DiskTierStore Open(LocalDisk disk, CacheJournal journal, bool fresh, double gigabytes)
    {
        // A tenth more than is written: nothing is to be evicted.
        var options = new DiskTierOptions { Bytes = (long)(gigabytes * 1.1 * (1L << 30)), ScrubBytesPerSecond = 0 };
        return DiskTierStore.Open(disk, journal.CacheId, fresh, options, new(new()), _ => false, _ => false, TimeProvider.System, NullLogger.Instance);
    }

    // A refusal says that all write buffers are in use: the disk sets the pace.
    private static void Admit(DiskTierStore tier, in CacheRecord record, ReadOnlySpan<byte> bytes)
    {
        for (var spin = default(SpinWait); !tier.Write(record, bytes, pinned: false);)
            spin.SpinOnce();
    }

    private static CacheRecord RecordOf(long i)
    {
        var path = $"/audio/{i / ChunksPerObject:x40}.ogg";
        return new(new(ObjectHash.OfVersion(path, "v", 0), i % ChunksPerObject), ObjectHash.OfPath(path), 0, Chunk.SizeBytes);
    }
}
