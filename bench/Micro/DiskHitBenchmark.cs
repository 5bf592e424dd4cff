using System.Diagnostics;
using System.Globalization;
using Delivery.Edge;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;
using Delivery.ObjectStore;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Bench;

/// <summary>
/// What a disk hit costs beside the least that a plain implementation could do: one read of the same bytes of the same file and their CRC, page cache warm, in the same
/// random order. The two take turns, so that a busy machine meets both, and the median of the pairs' ratios is told.
/// </summary>
internal sealed class DiskHitBenchmark : IDisposable
{
    private const int Pairs = 30;
    private const int Chunks = 4096; // 512 MiB: far more than any cache of the processor.
    private const long BytesPerTurn = 384L << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("disk-hit-").FullName;
    private readonly LocalDisk _disk;
    private readonly DiskTierStore _tier;
    private readonly ChunkKey[] _keys = new ChunkKey[Chunks];
    private readonly (SafeFileHandle Handle, long Payload)[] _places = new (SafeFileHandle, long)[Chunks];
    private readonly Dictionary<string, SafeFileHandle> _handles = [];
    private readonly (int Chunk, int Place)[] _order = new (int, int)[1 << 16];
    private readonly byte[] _destination = GC.AllocateUninitializedArray<byte>(Chunk.SizeBytes, pinned: true);
    private readonly long[] _times = new long[BytesPerTurn / 4096];
    private uint _sink;

    private DiskHitBenchmark()
    {
        _disk = LocalDisk.Open(_folder);
        // No offers to RAM: they would be work of another thread.
        var policy = new CachePolicy(new() { DiskUsesToRam = int.MaxValue });
        _tier = DiskTierStore.Open(_disk, Guid.NewGuid(), false, new() { Bytes = 1L << 30, ScrubBytesPerSecond = 0 }, policy, _ => false, _ => false, TimeProvider.System, NullLogger.Instance);
        var random = new Random(20261121);
        var bytes = new byte[Chunk.SizeBytes];
        var numbers = new Dictionary<ChunkKey, int>();
        for (var i = 0; i < Chunks; i++)
        {
            _keys[i] = new(ObjectHash.OfVersion($"/audio/{i / 8}", "v", 0), i % 8);
            numbers[_keys[i]] = i;
            random.NextBytes(bytes);
            while (!_tier.Write(new(_keys[i], _keys[i].Object, 0, bytes.Length), bytes, pinned: false))
                Thread.Yield();
        }

        while (_tier.WriteBuffersInUse > 0)
            Thread.Yield();
        foreach (var segment in _tier.Table.Snapshot())
        {
            _handles[segment.Name] = File.OpenHandle(Path.Combine(_folder, segment.Name), share: FileShare.ReadWrite);
            var entries = new List<SegmentEntry>();
            SegmentScan.Of(segment.File, entries);
            foreach (var entry in entries)
                _places[numbers[entry.Record.Key]] = (_handles[segment.Name], entry.Offset + SegmentFormat.RecordHeaderBytes(entry.Record.Length));
        }

        for (var i = 0; i < _order.Length; i++)
            _order[i] = (random.Next(Chunks), random.Next());
    }

    public static int Run()
    {
        using var benchmark = new DiskHitBenchmark();
        Console.WriteLine("| hit | beside | disk tier p50 / p99 / max | plain p50 / p99 / max | ratio, median of 30 pairs (quartiles) | allocated |");
        Console.WriteLine("|---|---|---|---|---|---|");
        benchmark.Compare(64 << 10, 64 << 10);
        benchmark.Compare(128 << 10, 128 << 10);
        benchmark.Compare(4 << 10, 4 << 10);
        benchmark.Compare(4 << 10, SegmentFormat.BlockBytes);
        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Of {benchmark._tier.Counters.Reads(DiskReadOutcome.Cached)} reads from the page cache, {benchmark._tier.Counters.Reads(DiskReadOutcome.Read)} by a reader thread."));
        return 0;
    }

    public void Dispose()
    {
        foreach (var handle in _handles.Values)
            handle.Dispose();
        _tier.Dispose();
        _disk.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private void Compare(int size, int plainSize)
    {
        var hits = (int)Math.Min(_times.Length, BytesPerTurn / Math.Max(size, 16 << 10));
        Tier(size, hits, []);
        Plain(size, plainSize, hits, []);
        var tier = new double[Pairs];
        var plain = new double[Pairs];
        var tierTimes = new List<long>(Pairs * hits);
        var plainTimes = new List<long>(Pairs * hits);
        long allocated = 0;
        for (var pair = 0; pair < Pairs; pair++)
        {
            // Whoever goes first changes too.
            if (pair % 2 != 0)
                plain[pair] = Plain(size, plainSize, hits, plainTimes);
            var before = GC.GetAllocatedBytesForCurrentThread();
            tier[pair] = Tier(size, hits, tierTimes);
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            if (pair % 2 == 0)
                plain[pair] = Plain(size, plainSize, hits, plainTimes);
        }

        double[] ratios = [.. tier.Zip(plain, (t, p) => t / p).Order()];
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"| {size >> 10} KiB | read of {plainSize >> 10} KiB + CRC | {Spread(tierTimes)} | {Spread(plainTimes)} | {(ratios[Pairs / 2] + ratios[(Pairs - 1) / 2]) / 2:F3} ({ratios[Pairs / 4]:F3} to {ratios[Pairs * 3 / 4]:F3}) | {allocated} B |"));
    }

    // Nanoseconds for each hit.
    private double Tier(int size, int hits, List<long> times)
    {
        var destination = _destination.AsMemory(0, size);
        var start = Stopwatch.GetTimestamp();
        var last = start;
        for (var i = 0; i < hits; i++)
        {
            var (chunk, place) = _order[i & (_order.Length - 1)];
            var read = _tier.ReadAsync(_keys[chunk], Chunk.SizeBytes, OffsetOf(place, size), destination);
            if (!(read.IsCompletedSuccessfully ? read.Result : read.AsTask().GetAwaiter().GetResult()))
                throw new InvalidOperationException("A chunk of the working set is absent.");
            var now = Stopwatch.GetTimestamp();
            _times[i] = now - last;
            last = now;
        }

        var each = Stopwatch.GetElapsedTime(start, last).TotalNanoseconds / hits;
        times.AddRange(_times.AsSpan(0, times.Capacity == 0 ? 0 : hits));
        return each;
    }

    private double Plain(int size, int plainSize, int hits, List<long> times)
    {
        var destination = _destination.AsSpan(0, plainSize);
        var start = Stopwatch.GetTimestamp();
        var last = start;
        for (var i = 0; i < hits; i++)
        {
            var (chunk, place) = _order[i & (_order.Length - 1)];
            var (handle, payload) = _places[chunk];
            if (RandomAccess.Read(handle, destination, payload + OffsetOf(place, size) / plainSize * plainSize) != plainSize)
                throw new InvalidOperationException("The file is too short.");
            _sink ^= Crc32C.Of(destination);
            var now = Stopwatch.GetTimestamp();
            _times[i] = now - last;
            last = now;
        }

        var each = Stopwatch.GetElapsedTime(start, last).TotalNanoseconds / hits;
        times.AddRange(_times.AsSpan(0, times.Capacity == 0 ? 0 : hits));
        return each;
    }

    private static int OffsetOf(int place, int size) => place % (Chunk.SizeBytes / size) * size;

    private static string Spread(List<long> ticks)
    {
        ticks.Sort();
        var micros = 1e6 / Stopwatch.Frequency;
        return string.Create(CultureInfo.InvariantCulture, $"{ticks[ticks.Count / 2] * micros:F1} / {ticks[(int)(ticks.Count * 0.99)] * micros:F1} / {ticks[^1] * micros:F0} µs");
    }
}
