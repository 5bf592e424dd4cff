using System.Diagnostics;
using System.Runtime.InteropServices;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Fills;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Cache.HotTier;

/// <summary>Memory is measured, so nothing else may run meanwhile.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

[Collection(nameof(Alone))]
public sealed class HotTierStoreTests : IDisposable
{
    private readonly HotTierStore _hot = new(EdgeOptions.MinHotTierBytes, 16, NullLogger.Instance);

    public void Dispose() => _hot.Dispose();

    [Fact]
    public void Chunk_Admitted_ComesBackByteForByte()
    {
        var key = Key(1);
        Put(key, 1, 5000);
        var whole = new byte[5000];
        Assert.True(_hot.TryRead(key, 5000, 0, whole));
        Assert.Equal(Content(1, 5000), whole);
        var part = new byte[100];
        Assert.True(_hot.TryRead(key, 5000, 4900, part));
        Assert.Equal(Content(1, 5000)[4900..], part);
        Assert.False(_hot.TryRead(key, 4999, 0, new byte[10]));
        Assert.False(_hot.Contains(Key(2), 5000));
        Assert.Equal(0, _hot.SessionsInUse);
    }

    [Fact]
    public void Overfilled_OldChunksAreAbsentAndNewOnesWhole()
    {
        // Three times the budget. An evicted key must be "not found", never a read of the null device (TryRead throws on a pending one).
        var chunks = (int)(3 * EdgeOptions.MinHotTierBytes / Chunk.SizeBytes);
        var before = Committed();
        for (var i = 0; i < chunks; i++)
            Put(Key(i), i, Chunk.SizeBytes);
        var grown = Committed() - before;
        Assert.True(_hot.EvictedBytes > EdgeOptions.MinHotTierBytes);
        Assert.InRange(_hot.UsedBytes, EdgeOptions.MinHotTierBytes / 2, EdgeOptions.MinHotTierBytes);
        Assert.True(grown < EdgeOptions.MinHotTierBytes + (48 << 20), $"grew by {grown >> 20} MiB");

        var found = 0;
        var bytes = new byte[Chunk.SizeBytes];
        for (var i = 0; i < chunks; i++)
        {
            if (!_hot.TryRead(Key(i), Chunk.SizeBytes, 0, bytes))
                continue;
            found++;
            Assert.True(IsContent(bytes, i), $"chunk {i}");
        }

        Assert.False(_hot.Contains(Key(0), Chunk.SizeBytes));
        Assert.True(_hot.Contains(Key(chunks - 1), Chunk.SizeBytes));
        Assert.InRange(found * (long)Chunk.SizeBytes, EdgeOptions.MinHotTierBytes / 2, EdgeOptions.MinHotTierBytes);
    }

    [Fact]
    public void SmallChunks_DoNotOutgrowTheIndex()
    {
        var before = Committed();
        for (var i = 0; i < 60_000; i++)
            Put(Key(i), i, 10);
        var grown = Committed() - before;
        Assert.True(grown < EdgeOptions.MinHotTierBytes + (48 << 20), $"grew by {grown >> 20} MiB");
        Assert.True(_hot.Contains(Key(59_999), 10));
    }

    [Fact]
    public void Hit_AllocatesNothing()
    {
        var key = Key(7);
        Put(key, 7, Chunk.SizeBytes);
        var bytes = new byte[65_536];
        for (var i = 0; i < 100; i++)
            Assert.True(_hot.TryRead(key, Chunk.SizeBytes, 0, bytes));
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
        {
            if (!_hot.Contains(key, Chunk.SizeBytes) || !_hot.TryRead(key, Chunk.SizeBytes, 100, bytes))
                Assert.Fail("The chunk went away.");
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void SecondWriteOfAKey_LeavesTheFirstBytes()
    {
        var key = Key(3);
        Put(key, 3, 1000);
        Put(key, 4, 1000);
        var bytes = new byte[1000];
        Assert.True(_hot.TryRead(key, 1000, 0, bytes));
        Assert.Equal(Content(3, 1000), bytes);
    }

    [Fact]
    public void QueueFull_ChunkIsRefusedCountedAndGivenBack()
    {
        using var hot = new HotTierStore(EdgeOptions.MinHotTierBytes, 1, NullLogger.Instance);
        using var gate = new ManualResetEventSlim();
        using var stuck = new ManualResetEventSlim();
        var settled = 0;
        var buffer = new ChunkBuffer();
        hot.Admit(new(Key(1), buffer.Seal(10, Key(1).Object), () =>
        {
            stuck.Set();
            gate.Wait();
        }));
        Assert.True(stuck.Wait(TimeSpan.FromSeconds(20)));
        hot.Admit(new(Key(2), buffer.Seal(10, Key(2).Object), () => Interlocked.Increment(ref settled)));
        hot.Admit(new(Key(3), buffer.Seal(10, Key(3).Object), () => Interlocked.Increment(ref settled)));
        Assert.Equal(1, hot.NotAdmitted);
        Assert.Equal(1, settled);
        gate.Set();
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref settled) == 2, TimeSpan.FromSeconds(20)));
        Assert.False(hot.Contains(Key(3), 10));
    }

    [Fact]
    public async Task ReadersBesideTheWriter_SeeWholeChunksOrNone()
    {
        const int Seed = 20261121;
        using var stop = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 3).Select(r => Task.Run(() =>
        {
            var random = new Random(Seed + r);
            var bytes = new byte[Chunk.SizeBytes];
            long hits = 0;
            while (!stop.IsCancellationRequested)
            {
                var i = random.Next(1500);
                if (!_hot.TryRead(Key(i), Chunk.SizeBytes, 0, bytes))
                    continue;
                hits++;
                if (!IsContent(bytes, i))
                    return -i - 1L;
            }

            return hits;
        })).ToArray();
        for (var i = 0; i < 1500; i++)
            Put(Key(i), i, Chunk.SizeBytes);
        await stop.CancelAsync();
        foreach (var hits in await Task.WhenAll(readers))
            Assert.True(hits >= 0, $"seed {Seed}: chunk {-hits - 1} held other bytes");
        Assert.Equal(0, _hot.SessionsInUse);
    }

    private static long Committed()
    {
        GC.Collect();
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    private static ChunkKey Key(int i) => new(ObjectHash.OfVersion($"/audio/{i / 8}", "v", 0), i % 8);

    private static byte[] Content(int i, int length)
    {
        var bytes = new byte[length];
        Fill(bytes, i);
        return bytes;
    }

    // Written in place, so that the test's own garbage does not count as the tier's memory.
    private static void Fill(Span<byte> bytes, int i)
    {
        var words = MemoryMarshal.Cast<byte, int>(bytes);
        for (var w = 0; w < words.Length; w++)
            words[w] = i * 7919 + w;
        bytes[(words.Length * sizeof(int))..].Clear();
    }

    private static bool IsContent(byte[] bytes, int i)
    {
        var words = MemoryMarshal.Cast<byte, int>(bytes.AsSpan());
        for (var w = 0; w < words.Length; w++)
        {
            if (words[w] != i * 7919 + w)
                return false;
        }

        return true;
    }

    private void Put(ChunkKey key, int i, int length)
    {
        var buffer = _spare ??= new();
        Fill(buffer.Content.Span[..length], i);
        using var done = new ManualResetEventSlim();
        _hot.Admit(new(key, buffer.Seal(length, key.Object), done.Set));
        Assert.True(done.Wait(TimeSpan.FromSeconds(20)));
    }

    private ChunkBuffer? _spare;
}
