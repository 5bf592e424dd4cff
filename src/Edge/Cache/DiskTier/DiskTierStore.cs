using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Chunks on disk: segment files, a directory of them in RAM, one thread that writes, some that read. No caller ever waits for a write, none waits for a read
/// longer than <see cref="DiskTierOptions.ReadTimeout"/>, and nothing is thrown for the disk: whatever it does, the answer is a chunk or a miss.
/// </summary>
internal sealed partial class DiskTierStore : IDisposable
{
    private readonly DiskTierOptions _options;
    private readonly CachePolicy _policy;
    private readonly ChunkDirectory _directory;
    private readonly SegmentTable _table;
    private readonly DiskHealth _health;
    private readonly WriteQueue _queue;
    private readonly DiskTierWriter _writer;
    private readonly DiskReader _reader;
    private readonly DiskTierUpkeep _upkeep;
    private readonly HeaderCache _headers = new();
    private readonly ILogger _log;
    private Action<CacheRecord>? _damaged;
    private int _damagedRunning;
    private int _disposed;

    private DiskTierStore(
        ICacheDisk disk, Guid cacheId, bool dropAll, DiskTierOptions options, CachePolicy policy, Func<ChunkKey, bool> isHot, Func<ObjectHash, bool> isPinned, TimeProvider time, ILogger log,
        Func<CacheRecord, bool>? isLive)
    {
        _options = options;
        _log = log;
        _policy = policy;
        _health = new(options.FailuresToTurnOff, log);
        _directory = new(options.ChunkBound);
        _table = new(disk, _directory, options, Counters);
        _queue = new((int)Math.Max(2, options.WriteBufferBytes / SegmentFormat.MaxRecordBytes));
        var segments = new SegmentWriter(disk, cacheId, _table, options, Counters);
        var evictor = new SegmentEvictor(_table, segments, options, policy, isHot, isPinned, Counters);
        _writer = new(_queue, segments, evictor, _table, options, _health, Counters, time, log);
        _reader = new(_directory, options, _health, Counters, OnDamaged, _writer.Watch, time, log);
        Scrubber = new(_table, OnDamaged, Counters);
        var recovery = new DiskTierRecovery(disk, cacheId, dropAll, isLive ?? (static _ => true), _table, segments, evictor, options, Counters, log);
        Action? again = null;
        try
        {
            recovery.Run();
        }
        catch (IOException e)
        {
            _health.Reads.TurnOff(DiskTrouble.FolderUnreadable, e);
            _health.Writes.TurnOff(DiskTrouble.FolderUnreadable, e);
            again = recovery.Run;
        }

        _writer.Start();
        _upkeep = new(options, _health, new(disk, _table, options, _health, time), Scrubber, _reader, again, log);
    }

    public DiskTierCounters Counters { get; } = new();

    public DiskTierState State => _health.State;

    public bool WritesOn => _health.Writes.IsOn;

    public long BudgetBytes => _options.Bytes;

    /// <summary>Sum of the segment files' lengths.</summary>
    public long UsedBytes => _table.UsedBytes;

    public int Segments => _table.Count;

    /// <summary>More is free than eviction keeps free: the tier has never been full, or lost files. Only then unproven chunks are worth writing.</summary>
    public bool HasRoom => _health.Writes.IsOn && _table.UsedBytes + 6 * _options.SegmentBytes <= _options.Bytes;

    /// <summary>RAM of the directory.</summary>
    public long DirectoryBytes => _directory.TotalBytes;

    /// <summary>
    /// A record was found bad, by a read or by the scrubber, and its entry is gone: to be fetched again. Called on the thread pool. Where not even its header could be
    /// read, path and sequence come from the segment's list, or are 0.
    /// </summary>
    public Action<CacheRecord>? Damaged
    {
        set => _damaged = value;
    }

    /// <summary>
    /// A chunk has proven itself on disk and was read for RAM. Called on a reader thread; the memory is the callee's until it returns.
    /// </summary>
    public Action<CacheRecord, ReadOnlyMemory<byte>>? Promoted
    {
        set => _reader.Promoted = value;
    }

    internal Scrubber Scrubber { get; }

    internal SegmentTable Table => _table;

    internal int SessionsInUse => _directory.SessionsInUse;

    internal int WriteBuffersInUse => _queue.InUse;

    internal int ReadsInUse => _reader.InUse;

    internal int PromotionsInUse => _reader.Promoting;

    /// <summary>
    /// Recovers what is in the folder and starts. A folder that cannot be read is no error: the tier is off then, and tries again.
    /// </summary>
    /// <param name="disk">The folder. Stays the caller's, to be closed after this.</param>
    /// <param name="cacheId">The journal's: segments of another cache are unlinked.</param>
    /// <param name="dropAll">Unlinks all segments: the journal is new, so purges may be lost.</param>
    /// <param name="options">Checked by the caller.</param>
    /// <param name="policy">Decides what outlives its segment, and what goes to RAM.</param>
    /// <param name="isHot">Whether RAM main holds the chunk.</param>
    /// <param name="isPinned">Asked with a chunk's <see cref="ChunkKey.Object"/>: the version's name, or for metadata the path's.</param>
    /// <param name="time">For time-outs and intervals.</param>
    /// <param name="log">Told when a direction goes off or on.</param>
    /// <param name="isLive">Whether a record from before is to be served: false for what a purge has taken. Null: all are.</param>
    public static DiskTierStore Open(
        ICacheDisk disk, Guid cacheId, bool dropAll, DiskTierOptions options, CachePolicy policy, Func<ChunkKey, bool> isHot, Func<ObjectHash, bool> isPinned, TimeProvider time, ILogger log,
        Func<CacheRecord, bool>? isLive = null) =>
        new(disk, cacheId, dropAll, options, policy, isHot, isPinned, time, log, isLive);

    /// <summary>Whether a read has a chance: no I/O, no allocation.</summary>
    public bool Contains(in ChunkKey key, int chunkLength) => _health.Reads.IsOn && IsPresent(key, chunkLength);

    /// <summary>As <see cref="Contains"/>, for an object's metadata.</summary>
    public bool ContainsMetadata(ObjectHash path) =>
        _health.Reads.IsOn && _table.TryLocate(CacheRecord.MetadataKey(path), out _);

    /// <summary>
    /// Reads a part of a chunk. On a page-cache hit it completes here and now and allocates nothing. The destination's content is undefined after a miss.
    /// </summary>
    /// <returns>False: absent, damaged, failed, slow, or the tier is off.</returns>
    public ValueTask<bool> ReadAsync(ChunkKey key, int chunkLength, int offset, Memory<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(destination.Length, chunkLength - offset);
        // A use is a read of the first byte: a listener passes there once, however a player cuts its ranges.
        var found = offset == 0 ? _directory.TryUse(key, out var location) : _directory.TryFind(key, out location);
        if (!found || location.Length != chunkLength)
            return new(false);
        if (destination.IsEmpty)
            return new(true);
        var outcome = TryReadCached(key, location, offset, destination, out var segment);
        if (outcome == DiskReadOutcome.Cached)
        {
            if (offset == 0)
                Offer(key, location);
            return new(true);
        }

        if (outcome != DiskReadOutcome.Read)
            return new(false);
        if (offset == 0)
            Offer(key, location);
        if (_reader.TryStart(key, location, segment!, offset, destination, out var operation))
            return operation.AsTask();
        segment!.Release();
        Counters.Read(DiskReadOutcome.Busy);
        return new(false);
    }

    /// <summary>Reads an object's metadata record.</summary>
    /// <returns>Bytes of it; 0: absent, or longer than the destination, or as in <see cref="ReadAsync"/>.</returns>
    public ValueTask<int> ReadMetadataAsync(ObjectHash path, Memory<byte> destination)
    {
        var key = CacheRecord.MetadataKey(path);
        if (!_directory.TryUse(key, out var location) || location.Length > destination.Length)
            return new(0);
        destination = destination[..location.Length];
        var outcome = TryReadCached(key, location, 0, destination, out var segment);
        if (outcome == DiskReadOutcome.Cached)
            return new(destination.Length);
        if (outcome != DiskReadOutcome.Read)
            return new(0);
        if (_reader.TryStart(key, location, segment!, 0, destination, out var operation))
            return operation.AsCountTask();
        segment!.Release();
        Counters.Read(DiskReadOutcome.Busy);
        return new(0);
    }

    /// <summary>Copies a record's payload and queues it. A chunk that is on disk already is done.</summary>
    /// <returns>False, and counted: no buffer is free, or writes are off. Never waits for the disk.</returns>
    public bool Write(in CacheRecord record, ReadOnlySpan<byte> payload, bool pinned)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(payload.Length, record.Length);
        if (!_health.Writes.IsOn)
        {
            Counters.Refused(NotAdmittedReason.WritesOff);
            return false;
        }

        if (!record.IsMetadata && IsPresent(record.Key, record.Length))
            return true;

        if (!_queue.TryRent(out var buffer))
        {
            Counters.Refused(NotAdmittedReason.NoBuffer);
            return false;
        }

        payload.CopyTo(buffer.Bytes.AsSpan(SegmentFormat.RecordHeaderBytes(payload.Length)));
        buffer.Record = record;
        buffer.IsPinned = pinned;
        _queue.Enqueue(buffer);
        return true;
    }

    /// <summary>Forgets a record until the next start; a later write brings the key back.</summary>
    public void Remove(in ChunkKey key)
    {
        if (_directory.TryFind(key, out var location))
            _directory.Kill(key, location);
    }

    /// <summary>
    /// Writes what is queued, seals what is open and closes the files. A disk that hangs is waited for some seconds; then its threads and what they hold are left behind.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        var written = _writer.Stop();
        var read = _reader.Stop();
        var kept = _upkeep.Stop();
        // What a thread that hangs in the disk holds, it may still touch.
        if (!written || !read || !kept)
            return;
        _writer.Dispose();
        _reader.Dispose();
        _upkeep.Dispose();
        _table.Close();
        SpinWait.SpinUntil(() => Volatile.Read(ref _damagedRunning) == 0, TimeSpan.FromSeconds(2));
        _directory.Dispose();
    }

    private bool IsPresent(in ChunkKey key, int length) => _table.TryLocate(key, out var location) && location.Length == length;

    // Read: the disk has to be asked, and the caller holds a reference on the segment.
    private DiskReadOutcome TryReadCached(in ChunkKey key, in ChunkLocation location, int offset, Memory<byte> destination, out Segment? segment)
    {
        segment = null;
        if (!_health.Reads.IsOn)
            return Count(DiskReadOutcome.Off);
        if (!_table.TryAcquire(location.Segment, out var found))
            return Count(DiskReadOutcome.Evicted);
        var part = new RecordRead(key, location, offset, destination.Length);
        switch (part.ReadCached(found.File, destination.Span, _headers))
        {
            case null:
                segment = found;
                return DiskReadOutcome.Read;
            case true:
                found.Release();
                return Count(DiskReadOutcome.Cached);
            default:
                found.Release();
                OnDamaged(key, location);
                return Count(DiskReadOutcome.Damaged);
        }
    }

    private DiskReadOutcome Count(DiskReadOutcome outcome)
    {
        Counters.Read(outcome);
        return outcome;
    }

    private void Offer(in ChunkKey key, in ChunkLocation location)
    {
        if (!_policy.PromoteFromDisk(key, location.Uses) || !_table.TryAcquire(location.Segment, out var segment))
            return;
        // Whatever becomes of the offer, the next one is that many uses away.
        _directory.RestartUses(key, location);
        if (!_reader.TryPromote(key, location, segment))
            segment.Release();
    }

    private void OnDamaged(ChunkKey key, ChunkLocation location)
    {
        // Only the first of those who find it bad says so.
        if (!_directory.Kill(key, location))
            return;
        Counters.Damaged();
        Interlocked.Increment(ref _damagedRunning);
        ThreadPool.UnsafeQueueUserWorkItem(
            static state =>
            {
                try
                {
                    state.Store._damaged?.Invoke(state.Store.Describe(state.Key, state.Location));
                }
                catch (Exception e)
                {
                    LogNotRepaired(state.Store._log, e);
                }
                finally
                {
                    Interlocked.Decrement(ref state.Store._damagedRunning);
                }
            },
            (Store: this, Key: key, Location: location),
            preferLocal: false);
    }

    private CacheRecord Describe(in ChunkKey key, in ChunkLocation location)
    {
        var record = new CacheRecord(key, default, 0, location.Length);
        if (!_table.TryAcquire(location.Segment, out var segment))
            return record;
        try
        {
            Span<byte> header = stackalloc byte[SegmentFormat.MaxRecordHeaderBytes];
            if (SegmentFormat.TryReadHeader(header[..segment.File.Read(location.Offset, header)], out var head) && head.Key.Equals(key))
                return head;
            var entries = new List<SegmentEntry>();
            SegmentScan.Of(segment.File, entries);
            foreach (var entry in entries)
            {
                if (entry.Offset == location.Offset && entry.Record.Key.Equals(key))
                    return entry.Record;
            }
        }
        catch (IOException)
        {
            // Then nothing more is known of it.
        }
        finally
        {
            segment.Release();
        }

        return record;
    }

    [LoggerMessage(1056, LogLevel.Error, "A damaged record could not be asked for again")]
    private static partial void LogNotRepaired(ILogger logger, Exception exception);
}
