using System.Diagnostics;
using System.Globalization;
using Delivery.Edge;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Fills;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Bench;

/// <summary>
/// What a RAM hit costs beside the least that a plain implementation could do: a dictionary's look-up and one copy, over the same bytes in the same random
/// order. The two take turns, so that a busy machine meets both, and the median of the pairs' ratios is told.
/// </summary>
internal sealed class HotHitBenchmark : IDisposable
{
    private const int Pairs = 30;
    private const int WorkingSetChunks = 3072; // 384 MiB: far more than any cache of the processor.
    private const long BytesPerTurn = 768L << 20;

    private readonly CachePolicy _policy;
    private readonly HotTierStore _hot;
    private readonly Dictionary<ChunkKey, byte[]> _plain = [];
    private readonly ChunkKey[] _keys = new ChunkKey[WorkingSetChunks];
    private readonly int[] _order = new int[1 << 16];
    private readonly byte[] _destination = GC.AllocateUninitializedArray<byte>(2 * Chunk.SizeBytes, pinned: true);

    private HotHitBenchmark()
    {
        const long Budget = 768L << 20;
        _policy = new(CachePolicyOptions.For(Budget, 0));
        _hot = new(Budget, 16, _policy, new(), NullLogger.Instance);
        var random = new Random(20261121);
        var buffer = new ChunkBuffer();
        using var settled = new AutoResetEvent(false);
        // Objects of eight chunks; a hit of 256 KiB is two neighbours. Written in random order, as many fills at once would: neighbours by the order of
        // allocation would be read ahead by the processor, on either side.
        for (var i = 0; i < WorkingSetChunks; i++)
            _keys[i] = new(ObjectHash.OfVersion($"/audio/{i / 8}", "v", 0), i % 8);
        var arrivals = (ChunkKey[])_keys.Clone();
        random.Shuffle(arrivals);
        foreach (var key in arrivals)
        {
            var bytes = new byte[Chunk.SizeBytes];
            random.NextBytes(bytes);
            _plain.Add(key, bytes);
            bytes.CopyTo(buffer.Content);
            var record = new CacheRecord(key, key.Object, 0, Chunk.SizeBytes);
            _hot.Write(new(record, buffer.Seal(record), () => settled.Set(), ToMain: true));
            settled.WaitOne();
        }

        for (var i = 0; i < _order.Length; i++)
            _order[i] = random.Next(WorkingSetChunks / 2) * 2;
    }

    public static int Run()
    {
        using var benchmark = new HotHitBenchmark();
        Console.WriteLine("| hit | hot tier | Dictionary + copy | hot tier | ratio, median of 30 pairs (quartiles) | allocated |");
        Console.WriteLine("|---|---|---|---|---|---|");
        foreach (var size in (int[])[64 << 10, 128 << 10, 256 << 10])
            benchmark.Compare(size);
        return 0;
    }

    public void Dispose() => _hot.Dispose();

    private void Compare(int size)
    {
        var hits = (int)(BytesPerTurn / size);
        Hot(size, hits);
        Plain(size, hits);
        var hot = new double[Pairs];
        var plain = new double[Pairs];
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var pair = 0; pair < Pairs; pair++)
        {
            // Whoever goes first changes too.
            if (pair % 2 == 0)
                hot[pair] = Hot(size, hits);
            plain[pair] = Plain(size, hits);
            if (pair % 2 != 0)
                hot[pair] = Hot(size, hits);
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        double[] ratios = [.. hot.Zip(plain, (h, p) => h / p).Order()];
        var time = Median(hot);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"| {size >> 10} KiB | {time:F0} ns | {Median(plain):F0} ns | {size / time:F1} GB/s | {Median(ratios):F3} ({ratios[Pairs / 4]:F3} to {ratios[Pairs * 3 / 4]:F3}) | {allocated} B |"));
    }

    // Nanoseconds for each hit.
    private double Hot(int size, int hits)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < hits; i++)
        {
            var first = _order[i & (_order.Length - 1)];
            for (var done = 0; done < size; done += Chunk.SizeBytes)
            {
                if (!_hot.TryRead(_keys[first + done / Chunk.SizeBytes], Chunk.SizeBytes, 0, _destination.AsSpan(done, Math.Min(size - done, Chunk.SizeBytes))))
                    throw new InvalidOperationException("A chunk of the working set is absent.");
            }
        }

        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / hits;
    }

    private double Plain(int size, int hits)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < hits; i++)
        {
            var first = _order[i & (_order.Length - 1)];
            for (var done = 0; done < size; done += Chunk.SizeBytes)
            {
                if (!_plain.TryGetValue(_keys[first + done / Chunk.SizeBytes], out var bytes))
                    throw new InvalidOperationException("A chunk of the working set is absent.");
                bytes.AsSpan(0, Math.Min(size - done, Chunk.SizeBytes)).CopyTo(_destination.AsSpan(done));
            }
        }

        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / hits;
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[sorted.Length / 2] + sorted[(sorted.Length - 1) / 2]) / 2;
    }
}
