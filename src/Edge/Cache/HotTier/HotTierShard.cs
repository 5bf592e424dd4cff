using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

using ReadSession = ClientSession<ChunkKey, SpanByte, ChunkRead, bool, Empty, ChunkFunctions>;
using WriteSession = ClientSession<ChunkKey, SpanByte, ChunkRead, bool, Empty, ChunkWriter>;

/// <summary>
/// One FASTER store on a null device: a ring of pages in RAM, first in, first out. Any thread reads; one thread writes
/// (<see cref="HotTierStore"/>'s) and turns the pages: while the shard <see cref="IsFull"/>, it reads the oldest page's records, writes those that are
/// to stay to a tail, and drops the page.
/// </summary>
/// <remarks>
/// <c>BeginAddress</c> is moved before FASTER needs to move its head, so the records that a page turn is about to drop are already
/// absent: a read of an evicted key is a plain "not found" and the null device is never asked for it. FASTER drops the oldest page when the tail enters the
/// page after the last one of the ring, and may do so one page early. So three pages are given up before that: two for this, one because the survivors of a
/// turn, at most a page, are written before their page is dropped.
/// </remarks>
internal sealed class HotTierShard : IDisposable
{
    /// <summary>Pages of the ring that are free, or will be before the tail needs them.</summary>
    public const int FreePages = 3;

    private static readonly ChunkFunctions Readers = new();

    private readonly NullDevice _device = new();
    private readonly FasterKV<ChunkKey, SpanByte> _store;
    private readonly ChunkWriter _writing = new();
    private readonly WriteSession _writer;
    private readonly HotTierShardSize _size;

    // The names in each page of the ring, in the order of writing. A key list of our own, because FASTER's scan is not to be trusted beside readers.
    private readonly ChunkKey[]?[] _keys;
    private readonly int[] _keyCounts;

    private readonly SessionPool<ReadSession> _readers;
    private long _evictedBytes;

    public HotTierShard(HotTierShardSize size)
    {
        _size = size;
        _keys = new ChunkKey[]?[size.Pages];
        _keyCounts = new int[size.Pages];
        _store = new(new FasterKVSettings<ChunkKey, SpanByte>
        {
            IndexSize = size.IndexBytes,
            LogDevice = _device,
            PageSize = size.PageBytes,
            MemorySize = size.LogBytes,
            // A key in the mutable part is not written again (ChunkWriter), and the survivors of the oldest page must be: it is far from that part.
            MutableFraction = 0.25,
            SegmentSize = Math.Max(size.PageBytes, 1L << 30),
            ConcurrencyControlMode = ConcurrencyControlMode.None,
            ReadCopyOptions = ReadCopyOptions.None,
            EqualityComparer = new ChunkKeyComparer(),
            ValueLength = new ChunkValueLength(),
            CheckpointDir = null,
        });
        _writer = _store.For(_writing).NewSession<ChunkWriter>(_writing);
        _readers = new(() => _store.For(Readers).NewSession<ChunkFunctions>(Readers));
    }

    public HotTierShardSize Size => _size;

    /// <summary>Sessions made and not in the pool now; 0 when no read is under way.</summary>
    public int SessionsInUse => _readers.InUse;

    /// <summary>Bytes of log that hold chunks.</summary>
    public long UsedBytes => _store.Log.TailAddress - _store.Log.BeginAddress;

    /// <summary>Bytes of log dropped since the start, padding and what was written again included.</summary>
    public long EvictedBytes => Volatile.Read(ref _evictedBytes);

    /// <summary>Pages must be dropped before the next write.</summary>
    public bool IsFull => PageOf(_store.Log.BeginAddress) < PageOf(_store.Log.TailAddress) + FreePages - _size.Pages;

    /// <summary>The ring has been full: a page was dropped, or is about to be.</summary>
    public bool HasBeenFull => IsFull || Volatile.Read(ref _evictedBytes) > 0;

    /// <param name="key">The chunk.</param>
    /// <param name="chunkLength">Its length, or <see cref="ChunkRead.AnyLength"/>.</param>
    public bool Contains(ref ChunkKey key, int chunkLength)
    {
        // A read of no bytes: the same checks, no copy, no use.
        var nothing = new ChunkRead { ChunkLength = chunkLength, Check = key.Object.High };
        return TryRead(ref key, ref nothing);
    }

    public bool TryRead(ref ChunkKey key, ref ChunkRead read)
    {
        var session = _readers.Rent();
        var copied = false;
        var status = session.Read(ref key, ref read, ref copied);
        // Never pending: whatever lies below the head lies below the begin address too. Were it so after all, the session would be busy
        // and `read` would point into memory that the caller unpins, so this is a broken promise and not a miss.
        if (status.IsPending)
            throw new InvalidOperationException("FASTER asked the null device for a record.");
        _readers.Return(session);
        return status.Found && copied;
    }

    /// <summary>Appends a chunk; the shard must not be full. A key that was written lately keeps its first bytes.</summary>
    public void Append(ref ChunkKey key, SpanByte value)
    {
        _writing.WrittenAt = 0;
        _writer.Upsert(ref key, ref value);
        if (_writing.WrittenAt == 0)
            return;
        var slot = (int)(PageOf(_writing.WrittenAt) % _size.Pages);
        (_keys[slot] ??= new ChunkKey[_size.PageRecords])[_keyCounts[slot]++] = key;
    }

    /// <summary>Reads what the live records of the oldest page say of themselves; records that were written again since are left out.</summary>
    /// <param name="records">Room for <see cref="HotTierShardSize.PageRecords"/>.</param>
    public unsafe int ReadOldestPage(Span<PageRecord> records)
    {
        var page = PageOf(_store.Log.BeginAddress);
        var slot = (int)(page % _size.Pages);
        var header = stackalloc byte[ChunkValue.HeaderBytes];
        var count = 0;
        for (var i = 0; i < _keyCounts[slot]; i++)
        {
            var key = _keys[slot]![i];
            var length = ReadRaw(ref key, header, ChunkValue.HeaderBytes, out var address);
            if (PageOf(address) == page && ChunkValue.TryReadHeader(new(header, length), key, out var record, out var uses))
                records[count++] = new(record, uses);
        }

        return count;
    }

    /// <summary>Copies a record's value, header included; its length, or 0 when it is absent. Only the writer calls this.</summary>
    public unsafe int CopyOut(ref ChunkKey key, Span<byte> destination)
    {
        fixed (byte* pointer = destination)
            return ReadRaw(ref key, pointer, destination.Length, out _);
    }

    /// <summary>Gives up the oldest page; may wait for readers that are inside it.</summary>
    public void DropOldestPage()
    {
        var begin = _store.Log.BeginAddress;
        var page = PageOf(begin);
        var keepFrom = (page + 1) * _size.PageBytes;
        _store.Log.ShiftBeginAddress(keepFrom);
        _keyCounts[(int)(page % _size.Pages)] = 0;
        Volatile.Write(ref _evictedBytes, _evictedBytes + keepFrom - begin);
    }

    public void Dispose()
    {
        _writer.Dispose();
        _readers.Dispose();
        _store.Dispose();
        _device.Dispose();
    }

    private long PageOf(long address) => address / _size.PageBytes;

    private unsafe int ReadRaw(ref ChunkKey key, byte* destination, int count, out long address)
    {
        var read = new ChunkRead { Destination = destination, Count = count };
        var copied = false;
        var status = _writer.Read(ref key, ref read, ref copied);
        if (status.IsPending)
            throw new InvalidOperationException("FASTER asked the null device for a record.");
        address = status.Found && copied ? read.Address : 0;
        return address > 0 ? read.Count : 0;
    }
}

/// <summary>A record in a page that is about to be dropped.</summary>
internal readonly record struct PageRecord(CacheRecord Record, byte Uses);
