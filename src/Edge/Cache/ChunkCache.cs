using System.Collections.Concurrent;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache;

/// <summary>
/// The cache as the rest of the edge sees it: read from RAM, read from disk, write, purge, pin. Without a folder, or while the disk cannot be opened, it is RAM alone; the disk
/// joins when it can.
/// </summary>
/// <remarks>
/// Who goes where is <see cref="CachePolicy"/>'s; RAM is <see cref="HotTierStore"/>'s; the disk is <see cref="DiskTierStore"/>'s; what must be remembered across a crash is
/// <see cref="CacheJournal"/>'s. This class joins them and does nothing else.
/// </remarks>
internal sealed partial class ChunkCache : IDisposable
{
    private readonly EdgeOptions _options;
    private readonly Func<ICacheDisk>? _openDisk;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly CachePolicy _policy;
    private readonly PurgeTable _purges = new();
    private readonly PinTable _pins;
    private readonly ITimer? _retry;
    private readonly Lock _gate = new();
    // Chunks on their way from disk to RAM, at once; at the bound an offer is dropped, and comes again with the next read.
    private readonly ConcurrentBag<ChunkBuffer> _promotionBuffers = [.. Enumerable.Range(0, 8).Select(_ => new ChunkBuffer())];
    private volatile Storage? _storage;
    private ObjectHash _metadataQueued;
    private volatile bool _disposed;
    private bool _complained;

    private ChunkCache(EdgeOptions options, Func<ICacheDisk>? openDisk, TimeProvider time, ILogger log)
    {
        (_options, _openDisk, _time, _log) = (options, openDisk, time, log);
        _pins = new(
            openDisk is null ? long.MaxValue : options.DiskTierBytes / 100 * options.MaxPinnedPercent,
            options.HotTierBytes / 100 * options.MaxPinnedPercent,
            time);
        _policy = new(CachePolicyOptions.For(options.HotTierBytes, openDisk is null ? 0 : options.DiskTierBytes));
        // Room for every buffer there is: a chunk that is refused here is filled again by the reader who had not reached it yet, so the bound that bites first must be the
        // buffers', for which fills wait.
        var links = new HotTierLinks { IsPinned = _pins.IsPinned, IsOnDisk = IsOnDisk, HasDiskRoom = () => Disk is { HasRoom: true }, Proven = Store };
        Hot = new(options.HotTierBytes, (int)(options.FillBufferBytes / Chunk.SizeBytes), _policy, links, log);
        if (openDisk is null)
            return;
        try
        {
            OpenDisk(atStart: true);
        }
        catch
        {
            Hot.Dispose();
            throw;
        }

        if (_storage is null)
            _retry = time.CreateTimer(_ => OpenDisk(atStart: false), null, options.DiskRetryInterval, options.DiskRetryInterval);
    }

    public HotTierStore Hot { get; }

    /// <summary>Null without a disk tier, and until the disk can be opened.</summary>
    public DiskTierStore? Disk => _storage?.Tier;

    public PinTable Pins => _pins;

    /// <summary>Whether the options ask for a disk tier.</summary>
    public bool WantsDisk => _openDisk is not null;

    /// <summary>The highest purge applied: what a fill that starts now is newer than.</summary>
    public long Sequence => _purges.Sequence;

    /// <summary>Gives the metadata record of a path, empty when there is none to keep. Asked when the first chunk of an object goes to disk.</summary>
    public Func<ObjectHash, byte[]> MetadataOf { get; set; } = static _ => [];

    /// <summary>Told of a record that was found bad: to be fetched again.</summary>
    public Action<CacheRecord> Damaged { get; set; } = static _ => { };

    /// <param name="options">Budgets and times; validated.</param>
    /// <param name="openDisk">Opens the disk; null for RAM alone.</param>
    /// <param name="time">The clock of pins, time-outs and retries.</param>
    /// <param name="log">Event ids 1010 to 1069.</param>
    /// <exception cref="IOException">The folder is another process's, or cannot be one. A disk that fails is no exception: it is tried again.</exception>
    public static ChunkCache Open(EdgeOptions options, Func<ICacheDisk>? openDisk, TimeProvider time, ILogger log) => new(options, openDisk, time, log);

    /// <summary>Sequence of the last purge of a path; 0 without one.</summary>
    public long GenerationOf(ObjectHash path) => _purges.GenerationOf(path);

    /// <summary>Whether a chunk can be read without upstream. No I/O, no allocation.</summary>
    public bool Contains(in ChunkKey key, int chunkLength) => Hot.Contains(key, chunkLength) || IsStored(key, chunkLength);

    /// <summary>Whether a chunk can be read from disk.</summary>
    public bool IsStored(in ChunkKey key, int chunkLength) => _storage is { } storage && storage.Tier.Contains(key, chunkLength);

    /// <summary>Copies a part of a chunk from RAM, filling <paramref name="destination"/>; false when it is not there.</summary>
    public bool TryReadHot(in ChunkKey key, int chunkLength, int offset, Span<byte> destination, bool countsAsUse = true) =>
        Hot.TryRead(key, chunkLength, offset, destination, countsAsUse);

    /// <summary>
    /// Reads a part of a chunk from disk, filling <paramref name="destination"/>; false when it is not there, is damaged, or does not come in time. Completes at once when
    /// the system has the bytes in memory.
    /// </summary>
    public ValueTask<bool> ReadStoredAsync(in ChunkKey key, int chunkLength, int offset, Memory<byte> destination) =>
        _storage is { } storage ? storage.Tier.ReadAsync(key, chunkLength, offset, destination) : new(false);

    /// <summary>Reads a part of a chunk from RAM, else from disk.</summary>
    public ValueTask<bool> ReadAsync(in ChunkKey key, int chunkLength, int offset, Memory<byte> destination) =>
        TryReadHot(key, chunkLength, offset, destination.Span) ? new(true) : ReadStoredAsync(key, chunkLength, offset, destination);

    public bool HasMetadata(ObjectHash path) => _storage is { } storage && storage.Tier.ContainsMetadata(path);

    /// <summary>Reads an object's metadata record; 0 when there is none.</summary>
    public ValueTask<int> ReadMetadataAsync(ObjectHash path, Memory<byte> destination) =>
        _storage is { } storage ? storage.Tier.ReadMetadataAsync(path, destination) : new(0);

    public void DropMetadata(ObjectHash path) => _storage?.Tier.Remove(CacheRecord.MetadataKey(path));

    /// <summary>Queues a chunk; never waits. <see cref="Admission.Settled"/> is called in every case.</summary>
    public void Write(in Admission chunk) => Hot.Write(chunk);

    /// <summary>
    /// Makes everything unreachable that was fetched for a path before now, and ends its pins. When this returns, it holds also across a crash. An older or repeated sequence changes nothing.
    /// </summary>
    /// <exception cref="IOException">It is in effect, but not written down.</exception>
    public void Purge(ObjectHash path, long sequence)
    {
        _purges.Raise(path, sequence);
        DropMetadata(path);
        // Whatever the sequence: what answers "done" here must be written down, also when an earlier call of the same or a later purge could not write it.
        var generation = _purges.GenerationOf(path);
        Journal(journal =>
        {
            journal.Purge(path, generation);
            // Nobody can ask for the pinned version any more.
            foreach (var version in _pins.VersionsOf(path))
                Unpin(version);
            // The journal's bound: beyond it everything is purged (CacheJournal.MaxPurges).
            _purges.RaiseAll(journal.PurgedAllAt);
            return true;
        });
    }

    /// <summary>As <see cref="Purge"/>, for every path.</summary>
    public void PurgeAll(long sequence)
    {
        _purges.RaiseAll(sequence);
        Journal(journal =>
        {
            journal.PurgeAll(sequence);
            foreach (var version in _pins.Versions)
                Unpin(version);
            return true;
        });
    }

    /// <summary>Keeps an object's chunks, once they are here, until the pin ends; survives a restart. Refused beyond <see cref="EdgeOptions.MaxPinnedPercent"/>.</summary>
    /// <exception cref="IOException">The pin could not be written down; it is not in effect.</exception>
    public PinOutcome Pin(PinEntry pin) => _pins.TryPin(pin, p => Journal(journal => journal.Pin(p)));

    /// <exception cref="IOException">It could not be written down; the pin stays.</exception>
    public bool Unpin(ObjectHash version) => _pins.Unpin(version, v => Journal(journal =>
    {
        journal.Unpin(v);
        return true;
    }));

    public void Dispose()
    {
        lock (_gate)
            _disposed = true;
        _retry?.Dispose();
        // RAM's writer first, as it hands chunks to the disk; RAM's memory last, as the disk's threads look into it.
        Hot.Stop();
        _storage?.Dispose();
        Hot.Dispose();
    }

    // On the hot tier's writer thread: a chunk is proven, or has made a lap in RAM without being on disk.
    private void Store(in CacheRecord record, ReadOnlySpan<byte> chunk, bool pinned)
    {
        if (_storage is not { } storage || !storage.Tier.Write(record, chunk, pinned))
            return;
        // The disk's writer comes later, so the directory does not know yet what was queued a moment ago.
        if (record.Path == _metadataQueued || storage.Tier.ContainsMetadata(record.Path))
            return;
        var metadata = MetadataOf(record.Path);
        if (metadata.Length > 0 && storage.Tier.Write(new(CacheRecord.MetadataKey(record.Path), record.Path, record.Sequence, metadata.Length), metadata, pinned))
            _metadataQueued = record.Path;
    }

    private bool IsOnDisk(ChunkKey key, int chunkLength) => _storage is not { } storage || storage.Tier.Contains(key, chunkLength);

    // Without a disk there is nothing that a crash could bring back.
    private bool Journal(Func<CacheJournal, bool> write) =>
        _storage is { } storage ? write(storage.Journal) : WantsDisk ? throw new IOException("The cache's disk is not open.") : true;

    // A folder that is another process's, or no folder, is a mistake of whoever started the edge; a disk that fails is not, and the edge serves without it.
    private void OpenDisk(bool atStart)
    {
        lock (_gate)
        {
            if (_disposed || _storage is not null)
                return;
            try
            {
                _storage = OpenStorage();
                _retry?.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
                if (!atStart)
                    LogOpened(_log);
            }
            catch (IOException exception) when (!atStart || DiskErrors.IsOfTheDisk(exception))
            {
                if (!_complained)
                    LogNotOpened(_log, exception);
                _complained = true;
            }
        }
    }

    // On a reader thread of the disk's; the bytes are valid during the call.
    private void Promote(CacheRecord record, ReadOnlyMemory<byte> chunk)
    {
        if (!_promotionBuffers.TryTake(out var buffer))
            return;
        chunk.CopyTo(buffer.Content);
        Write(new(record, buffer.Seal(record), () => _promotionBuffers.Add(buffer), _pins.IsPinned(record.Key.Object), ToMain: true));
    }

    private Storage OpenStorage()
    {
        var disk = _openDisk!();
        CacheJournal? journal = null;
        try
        {
            journal = CacheJournal.Open(disk, _time, out var fresh);
            if (fresh && disk.List().Any(name => Segment.TryParseName(name, out _)))
                LogColdStart(_log);
            // Purges first: what they forbid must not enter the directory.
            foreach (var (path, sequence) in journal.Purges)
                _purges.Raise(path, sequence);
            _purges.RaiseAll(journal.PurgedAllAt);
            foreach (var pin in journal.Pins)
                _pins.Restore(pin);
            var tier = DiskTierStore.Open(disk, journal.CacheId, fresh, Options(_options), _policy, IsHot, _pins.IsPinned, _time, _log, IsLive);
            tier.Damaged = record => Damaged(record);
            tier.Promoted = Promote;
            return new(disk, journal, tier);
        }
        catch
        {
            journal?.Dispose();
            (disk as IDisposable)?.Dispose();
            throw;
        }
    }

    private static DiskTierOptions Options(EdgeOptions options) => new()
    {
        Bytes = options.DiskTierBytes,
        ReadThreads = options.DiskReadThreads,
        ReadTimeout = options.DiskReadTimeout,
        WriteBufferBytes = options.DiskWriteBufferBytes,
        SyncInterval = options.DiskSyncInterval,
        RetryInterval = options.DiskRetryInterval,
        ScrubBytesPerSecond = options.ScrubBytesPerSecond,
        // Twice what may be pinned: pins come and go, and a segment is kept as long as half of it is pinned.
        PinnedShare = Math.Min(0.8, options.MaxPinnedPercent / 50.0),
    };

    // A thread that hangs in the disk may come back after everything else has gone.
    private bool IsHot(ChunkKey key) => !_disposed && Hot.IsInMain(key);

    // What was fetched before a purge of its path is dead, whatever its name says.
    private bool IsLive(CacheRecord record) => record.Sequence >= _purges.GenerationOf(record.Path);

    [LoggerMessage(1011, LogLevel.Error, "The cache's disk cannot be opened; serving from RAM and upstream, and trying again")]
    private static partial void LogNotOpened(ILogger logger, Exception exception);

    [LoggerMessage(1012, LogLevel.Warning, "The cache's disk is open again")]
    private static partial void LogOpened(ILogger logger);

    [LoggerMessage(1013, LogLevel.Warning, "The cache's journal is missing or damaged, so purges may be lost: nothing on disk is believed, and the start is cold")]
    private static partial void LogColdStart(ILogger logger);

    private sealed record Storage(ICacheDisk Disk, CacheJournal Journal, DiskTierStore Tier) : IDisposable
    {
        public void Dispose()
        {
            Tier.Dispose();
            Journal.Dispose();
            (Disk as IDisposable)?.Dispose();
        }
    }
}
