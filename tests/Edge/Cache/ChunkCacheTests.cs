using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Tests.Cache.Segments;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Cache;

/// <summary>The tiers, the journal and the pins together, over a disk that does what the test says.</summary>
public sealed class ChunkCacheTests
{
    private const long Tomorrow = 4_000_000_000;

    private static readonly EdgeOptions Options = new()
    {
        KeyRingPath = "none",
        HotTierBytes = EdgeOptions.MinHotTierBytes,
        FillBufferBytes = 4 << 20,
        CacheFolder = "none",
        DiskTierBytes = EdgeOptions.MinDiskTierBytes,
        DiskRetryInterval = TimeSpan.FromMilliseconds(10),
    };

    private readonly FaultyDisk _disk = new();

    [Fact]
    public async Task PinnedChunk_GoesToDiskAtOnce_AndComesBackAfterAKill()
    {
        var (key, path) = Names("/audio/a", 0);
        using (var cache = Open())
        {
            Assert.True(cache.Pin(new(key.Object, path, 1000, Tomorrow)).IsPinned);
            await WriteAsync(cache, key, path, 1000, pinned: true);
            await Poll.UntilAsync(() => cache.IsStored(key, 1000));
        }

        using var again = Open();
        Assert.False(again.TryReadHot(key, 1000, 0, new byte[1000]));
        Assert.True(again.Pins.IsPinned(key.Object));
        await AssertReadsAsync(again, key, 1000);
    }

    [Fact]
    public void Pins_BeyondTheShare_AreRefusedInWords_AndTheOthersStay()
    {
        using var cache = Open();
        var share = Options.DiskTierBytes / 100 * Options.MaxPinnedPercent;
        var (first, path) = Names("/audio/a", 0);
        Assert.True(cache.Pin(new(first.Object, path, share - 1000, Tomorrow)).IsPinned);
        var (second, other) = Names("/audio/b", 0);
        var refused = cache.Pin(new(second.Object, other, 1001, Tomorrow));
        Assert.False(refused.IsPinned);
        Assert.Contains($"{share:N0}", refused.Refusal, StringComparison.Ordinal);
        Assert.True(cache.Pins.IsPinned(first.Object));
        Assert.False(cache.Pins.IsPinned(second.Object));

        // The same pin again takes nothing more; its end makes room.
        Assert.True(cache.Pin(new(first.Object, path, share - 1000, Tomorrow + 1)).IsPinned);
        Assert.True(cache.Unpin(first.Object));
        Assert.False(cache.Unpin(first.Object));
        Assert.True(cache.Pin(new(second.Object, other, 1001, Tomorrow)).IsPinned);
        Assert.Equal((1001, 1001), (cache.Pins.Bytes, cache.Pins.HeadBytes));
    }

    [Fact]
    public void PinnedHeads_HaveABoundOfTheirOwn()
    {
        using var cache = Open();
        var heads = (int)(Options.HotTierBytes / 100 * Options.MaxPinnedPercent / Chunk.SizeBytes);
        for (var i = 0; i < heads; i++)
        {
            var (key, path) = Names($"/audio/{i}", 0);
            Assert.True(cache.Pin(new(key.Object, path, Chunk.SizeBytes, Tomorrow)).IsPinned);
        }

        var (last, lastPath) = Names("/audio/last", 0);
        Assert.Contains("RAM", cache.Pin(new(last.Object, lastPath, Chunk.SizeBytes, Tomorrow)).Refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void ExpiredPins_AreNone()
    {
        var time = new ManualTime();
        using var cache = ChunkCache.Open(Options, () => _disk, time, NullLogger.Instance);
        var (key, path) = Names("/audio/a", 0);
        var share = Options.DiskTierBytes / 100 * Options.MaxPinnedPercent;
        Assert.True(cache.Pin(new(key.Object, path, share, time.GetUtcNow().AddMinutes(1).ToUnixTimeSeconds())).IsPinned);
        time.Advance(TimeSpan.FromMinutes(2));
        Assert.False(cache.Pins.IsPinned(key.Object));
        Assert.False(cache.Pins.IsPinned(path));
        var (next, nextPath) = Names("/audio/b", 0);
        Assert.True(cache.Pin(new(next.Object, nextPath, share, Tomorrow)).IsPinned);
    }

    [Fact]
    public void Purge_ThatCannotBeWrittenDown_SaysSo_AndIsDurableWhenRepeated()
    {
        var (_, path) = Names("/audio/a", 0);
        using (var cache = Open())
        {
            using (_disk.Fail(DiskOperations.Write, FaultyDisk.EIO, call => call.Name.StartsWith("journal", StringComparison.Ordinal)))
            {
                Assert.ThrowsAny<IOException>(() => cache.Purge(path, 5));
                // In effect all the same; an older one may not be said to be durable either.
                Assert.Equal(5, cache.GenerationOf(path));
                Assert.ThrowsAny<IOException>(() => cache.Purge(path, 4));
            }

            cache.Purge(path, 5);
        }

        _disk.PowerCut(seed: 1);
        using var again = Open();
        Assert.Equal((5, 5), (again.GenerationOf(path), again.Sequence));
    }

    [Fact]
    public void Purge_EndsThePinsOfItsPath()
    {
        var (key, path) = Names("/audio/a", 0);
        var (other, otherPath) = Names("/audio/b", 0);
        using (var cache = Open())
        {
            Assert.True(cache.Pin(new(key.Object, path, 1000, Tomorrow)).IsPinned);
            Assert.True(cache.Pin(new(other.Object, otherPath, 500, Tomorrow)).IsPinned);
            cache.Purge(path, 1);
            Assert.Equal((500, 1), (cache.Pins.Bytes, cache.Pins.Count));
        }

        using var again = Open();
        Assert.Equal((500, 1), (again.Pins.Bytes, again.Pins.Count));
        again.PurgeAll(2);
        Assert.Equal(0, again.Pins.Count);
    }

    [Fact]
    public async Task PurgedRecords_DoNotComeBackFromDisk()
    {
        var (old, path) = Names("/audio/a", 0);
        var (kept, keptPath) = Names("/audio/b", 0);
        using (var cache = Open())
        {
            await WriteAsync(cache, old, path, 1000, pinned: true);
            await WriteAsync(cache, kept, keptPath, 1000, pinned: true);
            await Poll.UntilAsync(() => cache.IsStored(old, 1000) && cache.IsStored(kept, 1000));
            cache.Purge(path, 1);
        }

        using (var again = Open())
        {
            // Not even under its old name.
            Assert.False(again.IsStored(old, 1000));
            await AssertReadsAsync(again, kept, 1000);
            again.PurgeAll(2);
        }

        using var last = Open();
        Assert.False(last.IsStored(kept, 1000));
        Assert.Equal(2, last.GenerationOf(keptPath));
    }

    [Fact]
    public async Task DiskThatCannotBeOpened_IsServedAround_AndJoinsLater()
    {
        var (stored, path) = Names("/audio/a", 0);
        using (var first = Open())
        {
            await WriteAsync(first, stored, path, 1000, pinned: true);
            await Poll.UntilAsync(() => first.IsStored(stored, 1000));
        }

        var log = new CountingLog();
        var broken = _disk.Fail(DiskOperations.All, FaultyDisk.EIO);
        using var cache = ChunkCache.Open(Options, () => _disk, TimeProvider.System, log);
        Assert.Null(cache.Disk);
        var (key, other) = Names("/audio/b", 0);
        await WriteAsync(cache, key, other, 500);
        Assert.True(cache.TryReadHot(key, 500, 0, new byte[500]));
        Assert.False(cache.IsStored(stored, 1000));
        Assert.ThrowsAny<IOException>(() => cache.Purge(other, 1));
        await Poll.UntilAsync(() => broken.Hits > 5);
        Assert.Equal(1, log.Count(1011));

        broken.Dispose();
        await Poll.UntilAsync(() => cache.Disk is not null);
        await AssertReadsAsync(cache, stored, 1000);
        Assert.Equal((1, 1), (log.Count(1011), log.Count(1012)));
        cache.Purge(other, 2);
    }

    [Fact]
    public async Task JournalGone_SegmentsAreNotBelieved()
    {
        var (key, path) = Names("/audio/a", 0);
        using (var cache = Open())
        {
            await WriteAsync(cache, key, path, 1000, pinned: true);
            await Poll.UntilAsync(() => cache.IsStored(key, 1000));
        }

        _disk.Delete("journal");
        var log = new CountingLog();
        using var again = ChunkCache.Open(Options, () => _disk, TimeProvider.System, log);
        Assert.Equal(1, log.Count(1013));
        Assert.False(again.IsStored(key, 1000));
        Assert.Equal(0, again.Disk!.Segments);
    }

    [Fact]
    public async Task WithoutADisk_EverythingWorksInRam()
    {
        using var cache = ChunkCache.Open(Options with { CacheFolder = null }, null, TimeProvider.System, NullLogger.Instance);
        var (key, path) = Names("/audio/a", 0);
        await WriteAsync(cache, key, path, 700);
        await AssertReadsAsync(cache, key, 700);
        cache.Purge(path, 1);
        Assert.Equal(1, cache.GenerationOf(path));
        Assert.True(cache.Pin(new(key.Object, path, 700, Tomorrow)).IsPinned);
        Assert.True(cache.Unpin(key.Object));
        Assert.False(cache.IsStored(key, 700));
    }

    private static (ChunkKey Key, ObjectHash Path) Names(string path, long index) => (new(ObjectHash.OfVersion(path, "v", 0), index), ObjectHash.OfPath(path));

    private static byte[] Content(ChunkKey key, int length)
    {
        var bytes = new byte[length];
        new Random((int)key.Mix()).NextBytes(bytes);
        return bytes;
    }

    private static async Task WriteAsync(ChunkCache cache, ChunkKey key, ObjectHash path, int length, bool pinned = false)
    {
        var buffer = new ChunkBuffer();
        Content(key, length).CopyTo(buffer.Content);
        // Not on the writer thread, which would then dispose of itself.
        var settled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var record = new CacheRecord(key, path, cache.Sequence, length);
        cache.Write(new(record, buffer.Seal(record), settled.SetResult, pinned));
        await settled.Task.WaitAsync(TimeSpan.FromSeconds(20));
        GC.KeepAlive(buffer);
    }

    private static async Task AssertReadsAsync(ChunkCache cache, ChunkKey key, int length)
    {
        var bytes = new byte[length];
        Assert.True(await cache.ReadAsync(key, length, 0, bytes));
        Assert.Equal(Content(key, length), bytes);
    }

    private ChunkCache Open() => ChunkCache.Open(Options, () => _disk, TimeProvider.System, NullLogger.Instance);

    private sealed class CountingLog : ILogger
    {
        private readonly System.Collections.Concurrent.ConcurrentBag<int> _events = [];

        public int Count(int id) => _events.Count(e => e == id);

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => _events.Add(eventId.Id);
    }
}
