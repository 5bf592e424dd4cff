using System.Diagnostics;
using System.Runtime.InteropServices;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Fills;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Cache.HotTier;

/// <summary>Memory is measured, so nothing else may run meanwhile.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

[Collection(nameof(Alone))]
public sealed class HotTierStoreTests : IDisposable
{
    private const int Seed = 20261121;

    // More chunks than the tier holds.
    private const int Capacity = (int)(EdgeOptions.MinHotTierBytes / Chunk.SizeBytes);

    private readonly CachePolicy _policy = new(CachePolicyOptions.For(EdgeOptions.MinHotTierBytes, 0));
    private readonly HashSet<ChunkKey> _onDisk = [];
    private readonly List<(CacheRecord Record, byte[] Bytes, bool Pinned)> _proven = [];
    private readonly HashSet<ObjectHash> _pins = [];
    private readonly HotTierStore _hot;
    private bool _diskHasRoom;
    private bool _diskAccepts = true;
    private bool _keepProven = true;
    private readonly (ChunkBuffer Buffer, ManualResetEventSlim Idle)[] _buffers = [.. Enumerable.Range(0, 8).Select(_ => (new ChunkBuffer(), new ManualResetEventSlim(true)))];
    private int _puts;
    private int _pushed;

    public HotTierStoreTests() => _hot = new(EdgeOptions.MinHotTierBytes, 16, _policy, new()
    {
        IsPinned = _pins.Contains,
        IsOnDisk = (key, _) =>
        {
            lock (_onDisk)
                return _onDisk.Contains(key);
        },
        HasDiskRoom = () => _diskHasRoom,
        Proven = (in record, chunk, pinned) =>
        {
            if (_keepProven)
                _proven.Add((record, chunk.ToArray(), pinned));
            if (!_diskAccepts)
                return;
            lock (_onDisk)
                _onDisk.Add(record.Key);
        },
    }, NullLogger.Instance);

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
            PutSoon(Key(i), i, Chunk.SizeBytes);
        Settle();
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

        Assert.True(_hot.Contains(Key(chunks - 1), Chunk.SizeBytes));
        Assert.InRange(found * (long)Chunk.SizeBytes, EdgeOptions.MinHotTierBytes / 2, EdgeOptions.MinHotTierBytes);
    }

    [Fact]
    public void SmallChunks_DoNotOutgrowTheIndex()
    {
        var before = Committed();
        for (var i = 0; i < 30_000; i++)
            PutSoon(Key(i), i, 10);
        Settle();
        var grown = Committed() - before;
        Assert.True(grown < EdgeOptions.MinHotTierBytes + (48 << 20), $"grew by {grown >> 20} MiB");
        Assert.True(_hot.Contains(Key(29_999), 10));
    }

    [Fact]
    public void Hit_AllocatesNothing()
    {
        var key = Key(7);
        Put(key, 7, Chunk.SizeBytes);
        var bytes = new byte[65_536];
        for (var i = 0; i < 100; i++)
            Assert.True(_hot.TryRead(key, Chunk.SizeBytes, 0, bytes));
        Assert.Equal(0, Allocation.Of(() =>
        {
            for (var i = 0; i < 1000; i++)
            {
                if (!_hot.Contains(key, Chunk.SizeBytes) || !_hot.TryRead(key, Chunk.SizeBytes, 100, bytes))
                    Assert.Fail("The chunk went away.");
            }
        }));
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
        using var hot = new HotTierStore(EdgeOptions.MinHotTierBytes, 1, new(new()), new(), NullLogger.Instance);
        using var gate = new ManualResetEventSlim();
        using var stuck = new ManualResetEventSlim();
        var settled = 0;
        var buffer = new ChunkBuffer();
        hot.Write(new(Record(Key(1), 10), buffer.Seal(Record(Key(1), 10)), () =>
        {
            stuck.Set();
            gate.Wait();
        }));
        Assert.True(stuck.Wait(TimeSpan.FromSeconds(20)));
        hot.Write(new(Record(Key(2), 10), buffer.Seal(Record(Key(2), 10)), () => Interlocked.Increment(ref settled)));
        hot.Write(new(Record(Key(3), 10), buffer.Seal(Record(Key(3), 10)), () => Interlocked.Increment(ref settled)));
        Assert.Equal(1, hot.NotAdmitted);
        Assert.Equal(1, settled);
        gate.Set();
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref settled) == 2, TimeSpan.FromSeconds(20)));
        Assert.False(hot.Contains(Key(3), 10));
    }

    [Fact]
    public void Probation_UnusedChunk_IsForgottenButForItsName()
    {
        FillUp();
        Put(Key(1), 1, Chunk.SizeBytes);
        Assert.False(_hot.IsInMain(Key(1)));
        PushThroughProbation();
        Assert.False(_hot.Contains(Key(1), Chunk.SizeBytes));
        Assert.Empty(_proven);

        // The second fill is the re-use: main and disk at once, with all that a disk record needs.
        Put(Key(1), 1, Chunk.SizeBytes);
        Assert.True(_hot.IsInMain(Key(1)));
        var (record, bytes, pinned) = Assert.Single(_proven);
        Assert.Equal(Record(Key(1), Chunk.SizeBytes), record);
        Assert.True(IsContent(bytes, 1));
        Assert.False(pinned);
    }

    [Fact]
    public void Probation_UnusedChunk_TakesFreeRoomOnDisk()
    {
        FillUp();
        _diskHasRoom = true;
        Put(Key(1), 1, 5000);
        PushThroughProbation();
        _diskHasRoom = false;
        Assert.False(_hot.Contains(Key(1), 5000));
        var proven = _proven.Single(p => p.Record.Key.Equals(Key(1)));
        Assert.Equal(Content(1, 5000), proven.Bytes);
        Assert.Equal(0, _hot.Promoted);
    }

    [Fact]
    public void Probation_UsedChunk_IsPromotedWithItsBytes()
    {
        FillUp();
        var (head, tail, once) = (Key(8), Key(9), Key(10));
        Put(head, 8, 5000);
        Put(tail, 9, 70_001);
        Put(once, 10, 5000);
        Use(head, 5000, _policy.Options.HeadUses);
        Use(tail, 70_001, _policy.Options.TailUses);
        Use(once, 5000, _policy.Options.TailUses - 1);
        PushThroughProbation();
        Assert.True(_hot.IsInMain(head) && _hot.IsInMain(tail));
        Assert.False(_hot.Contains(once, 5000));
        Assert.Equal([Record(head, 5000), Record(tail, 70_001)], _proven.Select(p => p.Record));
        Assert.Equal(Content(9, 70_001), _proven[1].Bytes);
        var read = new byte[70_001];
        Assert.True(_hot.TryRead(tail, 70_001, 0, read));
        Assert.Equal(Content(9, 70_001), read);
        Assert.Equal(2, _hot.Promoted);
    }

    [Fact]
    public void Use_IsAReadFromTheFirstByte_NothingElse()
    {
        FillUp();
        var key = Key(8);
        Put(key, 8, Chunk.SizeBytes);
        var part = new byte[1000];
        for (var i = 0; i < 10; i++)
        {
            Assert.True(_hot.Contains(key, Chunk.SizeBytes));
            Assert.True(_hot.TryRead(key, Chunk.SizeBytes, 1, part));
            Assert.True(_hot.TryRead(key, Chunk.SizeBytes, 65_536, part));
            Assert.True(_hot.TryRead(key, Chunk.SizeBytes, 0, part, countsAsUse: false));
        }

        PushThroughProbation();
        Assert.False(_hot.Contains(key, Chunk.SizeBytes));
    }

    [Fact]
    public void Main_UsedChunksAreKeptLapAfterLap_UnusedOnesLeave()
    {
        // Every fourth is used: a page of the smallest shard holds three chunks, and keeps two.
        for (var i = 0; i < 80; i++)
            Put(Key(i), i, Chunk.SizeBytes, toMain: true);
        for (var lap = 0; lap < 4; lap++)
        {
            for (var i = 0; i < 80; i += 4)
                Use(Key(i), Chunk.SizeBytes, 3);
            for (var i = 0; i < Capacity; i++)
                PutSoon(Key(1000 + lap * Capacity + i), i, Chunk.SizeBytes, toMain: true);
            Settle();
        }

        Assert.Equal(Enumerable.Range(0, 20).Select(i => i * 4), Enumerable.Range(0, 80).Where(IsWhole));
        Assert.True(_hot.KeptBytes >= 3 * 20L * Chunk.SizeBytes);
    }

    [Fact]
    public void Main_AllOfItUsed_StillTakesNewChunks()
    {
        _keepProven = false;
        for (var i = 0; i < 4 * Capacity; i++)
        {
            Put(Key(i), i, Chunk.SizeBytes, toMain: true);
            Use(Key(i), Chunk.SizeBytes, 3);
            for (var back = 1; back < 300; back += 7)
                _hot.TryRead(Key(i - back), Chunk.SizeBytes, 0, new byte[1]);
        }

        Assert.Equal(0, _hot.NotAdmitted);
        Assert.True(IsWhole(4 * Capacity - 1));
    }

    [Fact]
    public void KeptChunk_ThatTheDiskRefused_IsOfferedAgain()
    {
        _diskAccepts = false;
        Put(Key(1), 1, Chunk.SizeBytes, toMain: true);
        Assert.Single(_proven);
        Use(Key(1), Chunk.SizeBytes, 1);
        _diskAccepts = true;
        for (var i = 0; i < Capacity; i++)
            PutSoon(Key(1000 + i), i, Chunk.SizeBytes, toMain: true);
        Settle();
        Assert.Equal(2, _proven.Count(p => p.Record.Key.Equals(Key(1))));
        Assert.Contains(Key(1), _onDisk);
    }

    [Fact]
    public void PinnedHeads_StayWhateverThePressure()
    {
        _keepProven = false;
        // A quarter of main, more than a page's keep share of any page that holds them side by side.
        var pinned = (int)(_hot.MainBytes / 4 / Chunk.SizeBytes);
        for (var i = 0; i < pinned; i++)
        {
            _pins.Add(Key(i * 8).Object);
            Put(Key(i * 8), i, Chunk.SizeBytes, pinned: true);
        }

        for (var i = 0; i < 6 * Capacity; i++)
        {
            var key = 8 * (10_000 + i) + i % 2;
            Put(Key(key), i, Chunk.SizeBytes, toMain: true);
            Use(Key(key), Chunk.SizeBytes, 3);
        }

        for (var i = 0; i < pinned; i++)
            Assert.True(_hot.IsInMain(Key(i * 8)), $"pinned head {i} of {pinned}");
        Assert.Equal(0, _hot.NotAdmitted);
    }

    [Fact]
    public void Pins_BeyondEveryShare_DoNotStopTheWriter()
    {
        _keepProven = false;
        using var hot = new HotTierStore(EdgeOptions.MinHotTierBytes, 16, _policy, new() { IsPinned = static _ => true }, NullLogger.Instance);
        for (var i = 0; i < 2 * Capacity; i++)
            PutSoon(Key(8 * i), i, Chunk.SizeBytes, pinned: true, into: hot);
        Settle();
        Assert.True(hot.IsInMain(Key(8 * (2 * Capacity - 1))));
    }

    [Fact]
    public void Scan_TenTimesTheBudget_LeavesTheHotSet()
    {
        FillUp();
        const int Hot = 150;
        var random = new Random(Seed);
        for (var i = 0; i < Hot; i++)
            PutSoon(Key(i), i, Chunk.SizeBytes, toMain: true);
        Settle();
        // A crawler: every chunk once, read in two ranges; between, listeners of the hot set.
        for (var i = 0; i < 10 * Capacity; i++)
        {
            PutSoon(Key(100_000 + i), i, Chunk.SizeBytes);
            // The one whose buffer has come back just now: it is written.
            var key = Key(100_000 + i - _buffers.Length);
            if (key.Index != 0 && i >= _buffers.Length)
                Use(key, Chunk.SizeBytes, 1);
            _hot.TryRead(key, Chunk.SizeBytes, 65_536, new byte[1]);
            Use(Key(random.Next(Hot)), Chunk.SizeBytes, 1);
        }

        Settle();
        Assert.Equal(Hot, Enumerable.Range(0, Hot).Count(IsWhole));
        Assert.Empty(_proven.Skip(Hot));
        Assert.Equal(0, _hot.SessionsInUse);
    }

    [Fact]
    public async Task ReadersBesideTheWriter_SeeWholeChunksOrNone()
    {
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
            PutSoon(Key(i), i, Chunk.SizeBytes);
        Settle();
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

    // Main has room for unproven chunks until it has been full once.
    private void FillUp()
    {
        for (var i = 0; i < 2 * Capacity; i++)
            PutSoon(Key(50_000 + i), i, Chunk.SizeBytes);
        Settle();
        Assert.Empty(_proven);
    }

    private void PushThroughProbation()
    {
        for (var i = 0; i < Capacity / 4; i++)
            PutSoon(Key(80_000 + _pushed++), i, Chunk.SizeBytes);
        Settle();
    }

    private void Use(ChunkKey key, int length, int times)
    {
        for (var i = 0; i < times; i++)
            Assert.True(_hot.TryRead(key, length, 0, new byte[1]), $"chunk {key.Index} of {key.Object}");
    }

    private bool IsWhole(int i)
    {
        var bytes = new byte[Chunk.SizeBytes];
        return _hot.TryRead(Key(i), Chunk.SizeBytes, 0, bytes) && IsContent(bytes, i);
    }

    private static CacheRecord Record(ChunkKey key, int length) => new(key, new(key.Object.Low, ~key.Object.High), key.Index + 77, length);

    private void Put(ChunkKey key, int i, int length, bool pinned = false, bool toMain = false)
    {
        PutSoon(key, i, length, pinned, toMain);
        Settle();
    }

    // Not one by one: a thread's turn on a busy machine costs more than the write.
    private void PutSoon(ChunkKey key, int i, int length, bool pinned = false, bool toMain = false, HotTierStore? into = null)
    {
        var (buffer, idle) = _buffers[_puts++ % _buffers.Length];
        Assert.True(idle.Wait(TimeSpan.FromSeconds(20)));
        idle.Reset();
        Fill(buffer.Content.Span[..length], i);
        (into ?? _hot).Write(new(Record(key, length), buffer.Seal(Record(key, length)), idle.Set, pinned, toMain));
    }

    private void Settle() => Assert.All(_buffers, b => Assert.True(b.Idle.Wait(TimeSpan.FromSeconds(20))));
}
