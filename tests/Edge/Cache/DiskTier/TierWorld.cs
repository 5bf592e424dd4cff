using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Tests.Cache.DiskTier;

/// <summary>A disk tier on a disk, chunks whose bytes follow from their number, and what the tier asks of its neighbours.</summary>
internal sealed class TierWorld : IDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Eight segments of 4 MiB, some 31 full chunks each. Time-outs that a busy machine does not meet.</summary>
    public static readonly DiskTierOptions Small = new()
    {
        Bytes = DiskTierOptions.MinBytes,
        ReadThreads = 2,
        ReadTimeout = Patience,
        WriteStall = Patience,
        StopWait = Patience,
        ScrubBytesPerSecond = 0,
        RetryInterval = TimeSpan.FromMilliseconds(20),
        SyncInterval = TimeSpan.FromMilliseconds(20),
    };

    private readonly ICacheDisk _disk;

    public TierWorld(ICacheDisk disk, DiskTierOptions? options = null, bool open = true)
    {
        _disk = disk;
        Options = options ?? Small;
        if (open)
            Open();
    }

    public static readonly Guid CacheId = new("6a1f2b3c-0000-4000-8000-000000000001");

    public DiskTierOptions Options { get; set; }

    public CachePolicy Policy { get; set; } = new(new() { DiskUsesToRam = int.MaxValue });

    public ConcurrentDictionary<ObjectHash, bool> Pins { get; } = new();

    public ConcurrentDictionary<ChunkKey, bool> Hot { get; } = new();

    public ConcurrentQueue<CacheRecord> Damaged { get; } = new();

    public LineLog Log { get; } = new();

    public DiskTierStore Tier { get; private set; } = null!;

    public static CacheRecord Record(int i, int length = Chunk.SizeBytes) => new(Key(i), ObjectHash.OfPath(PathOf(i)), i, length);

    public static ChunkKey Key(int i) => new(ObjectHash.OfVersion(PathOf(i), "v", 0), i % 8);

    public static ObjectHash Version(int i) => Key(i).Object;

    public static string PathOf(int i) => $"/audio/{i / 8}";

    public static byte[] Content(int i, int length = Chunk.SizeBytes)
    {
        var bytes = new byte[length];
        var words = MemoryMarshal.Cast<byte, int>(bytes.AsSpan());
        for (var w = 0; w < words.Length; w++)
            words[w] = i * 7919 + w;
        for (var b = words.Length * sizeof(int); b < length; b++)
            bytes[b] = (byte)(i + b);
        return bytes;
    }

    public DiskTierStore Open(bool dropAll = false, Guid? cacheId = null)
    {
        Tier = DiskTierStore.Open(_disk, cacheId ?? CacheId, dropAll, Options, Policy, Hot.ContainsKey, Pins.ContainsKey, TimeProvider.System, Log);
        Tier.Damaged = Damaged.Enqueue;
        return Tier;
    }

    /// <summary>Ends as a process should, and starts again.</summary>
    public DiskTierStore Reopen()
    {
        Close();
        return Open();
    }

    /// <summary>Ends; whatever the pools lent must be back.</summary>
    public void Close()
    {
        Tier.Dispose();
        Assert.Equal((0, 0, 0, 0), (Tier.SessionsInUse, Tier.WriteBuffersInUse, Tier.ReadsInUse, Tier.PromotionsInUse));
    }

    public void Put(int i, int length = Chunk.SizeBytes, bool pinned = false)
    {
        var content = Content(i, length);
        Until(() => Tier.Write(Record(i, length), content, pinned), $"chunk {i} was not taken");
    }

    public void PutMetadata(int i, byte[] bytes) =>
        Until(() => Tier.Write(new(CacheRecord.MetadataKey(ObjectHash.OfPath(PathOf(i))), ObjectHash.OfPath(PathOf(i)), i, bytes.Length), bytes, pinned: false), "no buffer");

    /// <summary>Puts chunks and waits until they are written.</summary>
    public void PutAll(int from, int count, int length = Chunk.SizeBytes, bool pinned = false)
    {
        for (var i = from; i < from + count; i++)
            Put(i, length, pinned);
        Written();
    }

    public void Written() => Until(() => Tier.WriteBuffersInUse == 0, "buffers do not come back");

    /// <summary>True: the chunk, byte for byte. False: a miss. Other bytes fail the test.</summary>
    public bool Has(int i, int length = Chunk.SizeBytes, int offset = 1, int? count = null)
    {
        var part = new byte[count ?? length - offset];
        if (!Tier.ReadAsync(Key(i), length, offset, part).AsTask().GetAwaiter().GetResult())
            return false;
        Assert.True(part.AsSpan().SequenceEqual(Content(i, length).AsSpan(offset, part.Length)), $"chunk {i} has other bytes");
        return true;
    }

    /// <summary>A use: a read from the first byte.</summary>
    public bool Use(int i, int length = Chunk.SizeBytes) => Has(i, length, 0, Math.Min(length, 1000));

    public int CountPresent(int from, int count) => Enumerable.Range(from, count).Count(i => Has(i));

    public static void Until(Func<bool> condition, string otherwise) => Assert.True(SpinWait.SpinUntil(condition, Patience), otherwise);

    public void Dispose() => Tier?.Dispose();
}

/// <summary>Keeps the lines of the log.</summary>
internal sealed class LineLog : ILogger
{
    private readonly ConcurrentQueue<(int Id, string Line)> _lines = new();

    public IReadOnlyList<(int Id, string Line)> Lines => [.. _lines];

    public int Count(int id) => _lines.Count(l => l.Id == id);

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _lines.Enqueue((eventId.Id, formatter(state, exception)));
}

/// <summary>A folder of the real file system for one test.</summary>
internal sealed class TempDisk : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("disk-tier-").FullName;

    public TempDisk() => Disk = LocalDisk.Open(Folder);

    public LocalDisk Disk { get; }

    public void Dispose()
    {
        Disk.Dispose();
        Directory.Delete(Folder, recursive: true);
    }
}
