using System.Collections.Concurrent;
using FASTER.core;

namespace Delivery.Edge.Cache.HotTier;

using Session = ClientSession<ChunkKey, SpanByte, ChunkRead, bool, Empty, ChunkFunctions>;

/// <summary>
/// One FASTER store on a null device: a ring of pages in RAM, first in, first out. Any thread reads; one thread writes
/// (<see cref="HotTierStore"/>'s).
/// </summary>
/// <remarks>
/// <c>BeginAddress</c> is moved before FASTER needs to move its head, so the records that a page turn is about to drop are already
/// absent: a read of an evicted key is a plain "not found" and the null device is never asked for it.
/// </remarks>
internal sealed class HotTierShard : IDisposable
{
    private static readonly ChunkFunctions Functions = new();

    private readonly NullDevice _device = new();
    private readonly FasterKV<ChunkKey, SpanByte> _store;
    private readonly Session _writer;
    private readonly HotTierShardSize _size;

    // A session belongs to one thread at a time. One slot per thread id in the common case; the bag takes the collisions. Sessions are
    // cheap to keep and dear to make, so none is ever closed before the shard is.
    private readonly Session?[] _slots = new Session?[64];
    private readonly ConcurrentBag<Session> _spare = [];
    private int _sessions;
    private long _evictedBytes;

    public HotTierShard(HotTierShardSize size)
    {
        _size = size;
        _store = new(new FasterKVSettings<ChunkKey, SpanByte>
        {
            IndexSize = size.IndexBytes,
            LogDevice = _device,
            PageSize = size.PageBytes,
            MemorySize = size.LogBytes,
            SegmentSize = Math.Max(size.PageBytes, 1L << 30),
            ConcurrencyControlMode = ConcurrencyControlMode.None,
            ReadCopyOptions = ReadCopyOptions.None,
            EqualityComparer = new ChunkKeyComparer(),
            ValueLength = new ChunkValueLength(),
            CheckpointDir = null,
        });
        _writer = NewSession();
    }

    /// <summary>Sessions made and not in the pool now; 0 when no read is under way.</summary>
    public int SessionsInUse => _sessions - _spare.Count - _slots.Count(s => s is not null);

    /// <summary>Bytes of log that hold chunks.</summary>
    public long UsedBytes => _store.Log.TailAddress - _store.Log.BeginAddress;

    /// <summary>Bytes of log dropped since the start, padding included.</summary>
    public long EvictedBytes => Volatile.Read(ref _evictedBytes);

    public bool Contains(ref ChunkKey key, int chunkLength)
    {
        // A read of no bytes: the same checks, no copy.
        var nothing = new ChunkRead { ChunkLength = chunkLength, Check = key.Object.High };
        return TryRead(ref key, ref nothing);
    }

    public bool TryRead(ref ChunkKey key, ref ChunkRead read)
    {
        var session = Rent();
        var copied = false;
        var status = session.Read(ref key, ref read, ref copied);
        // Never pending: whatever lies below the head lies below the begin address too. Were it so after all, the session would be busy
        // and `read` would point into memory that the caller unpins, so this is a broken promise and not a miss.
        if (status.IsPending)
            throw new InvalidOperationException("FASTER asked the null device for a record.");
        Return(session);
        return status.Found && copied;
    }

    /// <summary>Appends a chunk. Only the writer thread calls this; may wait for readers that are inside the page to be dropped.</summary>
    public void Write(ref ChunkKey key, SpanByte value)
    {
        MakeRoom();
        _writer.Upsert(ref key, ref value);
    }

    public void Dispose()
    {
        _writer.Dispose();
        foreach (var session in _slots)
            session?.Dispose();
        foreach (var session in _spare)
            session.Dispose();
        _store.Dispose();
        _device.Dispose();
    }

    // FASTER drops the oldest page when the tail enters the page after the last one of the ring, and may do so one page early: two pages
    // are given up before that.
    private void MakeRoom()
    {
        var begin = _store.Log.BeginAddress;
        var keepFrom = (_store.Log.TailAddress / _size.PageBytes + 2) * _size.PageBytes - _size.LogBytes;
        if (keepFrom <= begin)
            return;
        _store.Log.ShiftBeginAddress(keepFrom);
        Volatile.Write(ref _evictedBytes, _evictedBytes + keepFrom - begin);
    }

    private Session Rent()
    {
        ref var slot = ref _slots[Environment.CurrentManagedThreadId & (_slots.Length - 1)];
        return Interlocked.Exchange(ref slot, null) ?? (_spare.TryTake(out var session) ? session : NewReader());
    }

    private void Return(Session session)
    {
        ref var slot = ref _slots[Environment.CurrentManagedThreadId & (_slots.Length - 1)];
        if (Interlocked.CompareExchange(ref slot, session, null) is not null)
            _spare.Add(session);
    }

    private Session NewReader()
    {
        Interlocked.Increment(ref _sessions);
        return NewSession();
    }

    private Session NewSession() => _store.For(Functions).NewSession<ChunkFunctions>(Functions);
}
