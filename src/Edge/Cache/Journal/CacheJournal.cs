using System.Collections.Concurrent;
using System.Security.Cryptography;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.Journal;

/// <summary>One version of an object that is to stay in the cache.</summary>
/// <param name="Version">What its chunks go by, as <see cref="ObjectHash.OfVersion"/>.</param>
/// <param name="Length">Bytes of the object, 0 or more.</param>
/// <param name="ExpiresUnixSeconds">From then on it pins nothing; 0 or more.</param>
internal readonly record struct PinEntry(ObjectHash Version, ObjectHash Path, long Length, long ExpiresUnixSeconds);

/// <summary>
/// What must outlive every segment: purges and pins, durable before they are acknowledged (docs/formats/cache-journal.md). One file, appended to,
/// rewritten when more than half of it is history. Thread-safe; reads take no lock, changes take one and wait for the disk (a sync each).
/// </summary>
internal sealed class CacheJournal : IDisposable
{
    /// <summary>
    /// Paths with a purge of their own; one more becomes a purge of everything up to the highest sequence known. About 80 MB of memory and 64 MiB of file there: a
    /// million single purges since the last purge of everything, which a cache of a few million chunks does not profit from any more.
    /// </summary>
    public const int MaxPurges = 1 << 20;

    /// <summary>Pins at once; one more is refused. Some 20,000 albums.</summary>
    public const int MaxPins = 1 << 18;

    internal const string FileName = "journal";

    /// <summary>The next one while it is written. Removed at the next rewrite if its writer did not get to rename it.</summary>
    internal const string NextFileName = "journal.next";

    /// <summary>History that is not worth a rewrite: 64 KiB.</summary>
    private const int MinHistory = 1024;

    private readonly ICacheDisk _disk;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private readonly ConcurrentDictionary<ObjectHash, long> _purges = [];
    private readonly ConcurrentDictionary<ObjectHash, PinEntry> _pins = [];
    private long _purgedAllAt;

    // Counted here, because a ConcurrentDictionary takes all its locks to count.
    private int _purgeCount, _pinCount;
    private ICacheFile? _file;
    private int _entries;
    private int _rewriteAt;
    private bool _tailUnknown;
    private bool _mustRewrite;
    private bool _disposed;

    private CacheJournal(ICacheDisk disk, TimeProvider time, Guid cacheId)
    {
        _disk = disk;
        _time = time;
        CacheId = cacheId;
    }

    /// <summary>Ties segments to this journal; new when the journal is. Not to be shown to anyone (<see cref="SegmentHeader"/>).</summary>
    public Guid CacheId { get; private set; }

    /// <summary>Sequence of each path's last purge, always current. A purge of everything takes those up to it away.</summary>
    public IReadOnlyDictionary<ObjectHash, long> Purges => _purges;

    /// <summary>Sequence of the last purge of everything; 0 without one.</summary>
    public long PurgedAllAt => Volatile.Read(ref _purgedAllAt);

    /// <summary>A copy of the pins. Those that expire while the journal is open stay in it until the next <see cref="Open"/>.</summary>
    public IReadOnlyCollection<PinEntry> Pins => [.. _pins.Values];

    /// <summary>Opens the journal of a disk, or makes one. Pins that have expired are dropped.</summary>
    /// <param name="fresh">
    /// There was none, or it was damaged in more than an append that never was acknowledged: purges may be lost, so no segment from before may be used.
    /// <see cref="CacheId"/> is a new one.
    /// </param>
    /// <exception cref="IOException">The disk failed, so nothing is known. What is there is left as it is.</exception>
    public static CacheJournal Open(ICacheDisk disk, TimeProvider time, out bool fresh)
    {
        ICacheFile? file = null;
        try
        {
            file = OpenFile(disk);
            if (file is not null && TryReplay(disk, time, file) is { } journal)
            {
                fresh = false;
                return journal;
            }

            file?.Dispose();
            file = null;
            fresh = true;
            var empty = new CacheJournal(disk, time, new(RandomNumberGenerator.GetBytes(16)));
            empty.Rewrite();
            return empty;
        }
        catch (IOException)
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Sequence of the last purge that took the path; 0 without one. What <see cref="ObjectHash.OfVersion"/> wants. No lock, no allocation.</summary>
    public long GenerationOf(ObjectHash path)
    {
        // In this order: a purge of everything is set before it takes purges of paths away.
        var own = _purges.GetValueOrDefault(path);
        return Math.Max(own, PurgedAllAt);
    }

    /// <summary>Durable when it returns. One that is not later than what is known of the path changes nothing.</summary>
    /// <param name="sequence">1 or more.</param>
    /// <exception cref="IOException">Not durable: it may or may not be known after a restart. May be tried again.</exception>
    public void Purge(ObjectHash path, long sequence)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sequence);
        lock (_gate)
        {
            if (sequence <= GenerationOf(path))
                return;
            if (_purgeCount >= MaxPurges && !_purges.ContainsKey(path))
                Commit(JournalEntry.PurgeAll(_purges.Values.Append(sequence).Max()));
            else
                Commit(JournalEntry.Purge(path, sequence));
        }
    }

    /// <summary>Purges every path. As <see cref="Purge"/>.</summary>
    /// <exception cref="IOException">Not durable.</exception>
    public void PurgeAll(long sequence)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sequence);
        lock (_gate)
        {
            if (sequence > PurgedAllAt)
                Commit(JournalEntry.PurgeAll(sequence));
        }
    }

    /// <summary>Pins a version, durable when it returns; a pin of the same version is replaced. False: there are <see cref="MaxPins"/> that have not expired.</summary>
    /// <exception cref="IOException">Not durable.</exception>
    public bool Pin(PinEntry pin)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(pin.Length, nameof(pin));
        ArgumentOutOfRangeException.ThrowIfNegative(pin.ExpiresUnixSeconds, nameof(pin));
        lock (_gate)
        {
            if (_pins.TryGetValue(pin.Version, out var known))
            {
                if (known == pin)
                {
                    Settle();
                    return true;
                }
            }
            else if (_pinCount >= MaxPins)
            {
                DropExpired();
                if (_pinCount >= MaxPins)
                    return false;
            }

            Commit(JournalEntry.Pin(pin));
            return true;
        }
    }

    /// <summary>Durable when it returns. A version without a pin is no error.</summary>
    /// <exception cref="IOException">Not durable.</exception>
    public void Unpin(ObjectHash version)
    {
        lock (_gate)
        {
            if (_pins.ContainsKey(version))
                Commit(JournalEntry.Unpin(version));
            else
                Settle();
        }
    }

    /// <summary>Closes the file; everything in it has long been synced.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            _file?.Dispose();
        }
    }

    private static ICacheFile? OpenFile(ICacheDisk disk)
    {
        try
        {
            return disk.Open(FileName, write: true);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    // Null: not to be believed.
    private static CacheJournal? TryReplay(ICacheDisk disk, TimeProvider time, ICacheFile file)
    {
        var length = file.Length;
        Span<byte> header = stackalloc byte[JournalEntry.Bytes];
        if (file.Read(0, header) != header.Length || !JournalEntry.TryReadHeader(header, out var cacheId))
            return null;
        var journal = new CacheJournal(disk, time, cacheId) { _file = file };
        var now = time.GetUtcNow().ToUnixTimeSeconds();
        var buffer = new byte[1024 * JournalEntry.Bytes];
        for (long at = header.Length; at < length;)
        {
            var read = file.Read(at, buffer);
            if (read == 0)
                return null;
            for (var bytes = buffer.AsSpan(0, read); !bytes.IsEmpty; at += JournalEntry.Bytes)
            {
                var entry = bytes[..Math.Min(JournalEntry.Bytes, bytes.Length)];
                bytes = bytes[entry.Length..];
                if (JournalEntry.TryRead(entry, out var change))
                {
                    journal._entries++;
                    if (change.Kind == JournalEntryKind.Pin && change.ExpiresUnixSeconds <= now)
                        journal.Apply(JournalEntry.Unpin(change.First));
                    // A clock that was set back can bring expired pins to life: those beyond the bound stay dead.
                    else if (change.Kind != JournalEntryKind.Pin || journal._pinCount < MaxPins || journal._pins.ContainsKey(change.First))
                        journal.Apply(change);
                    if (journal._purgeCount > MaxPurges)
                        return null;
                    continue;
                }

                // An append that power or process did not survive: the file ends within it, or has its length and not its bytes. Entries do not
                // cross sectors, so it has no third form. Anything else was acknowledged once, and may have been a purge.
                if (at + JournalEntry.Bytes < length || (entry.Length == JournalEntry.Bytes && entry.ContainsAnyExcept((byte)0)))
                    return null;
                journal._tailUnknown = true;
            }
        }

        // After a kill the last entry and even the file's name may be read and still not be durable. Whoever acts on them must find them again after
        // the next power cut.
        journal.Settle();
        file.Sync();
        disk.SyncFolder();
        return journal;
    }

    private void Commit(JournalEntry entry)
    {
        Append(entry);
        Apply(entry);
        if (_entries - Live > Math.Max(Live, MinHistory) && _entries >= _rewriteAt)
            TryRewrite();
    }

    private int Live => _purgeCount + _pinCount + (_purgedAllAt > 0 ? 1 : 0);

    private long End => (1L + _entries) * JournalEntry.Bytes;

    private void Append(JournalEntry entry)
    {
        Settle();
        Span<byte> bytes = stackalloc byte[JournalEntry.Bytes];
        entry.Write(bytes);
        try
        {
            _file!.Write(End, bytes);
        }
        catch (IOException)
        {
            _tailUnknown = true;
            throw;
        }

        SyncFile();
        _entries++;
    }

    // What a failed change may have left behind must be gone, durably, before anything is written in its place (a power cut could mix the two) or is said
    // to be so already (a restart could find the failed change instead).
    private void Settle()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_mustRewrite)
            Rewrite();
        if (!_tailUnknown)
            return;
        try
        {
            _file!.Truncate(End);
        }
        catch (IOException)
        {
            _mustRewrite = true;
            throw;
        }

        SyncFile();
        _tailUnknown = false;
    }

    private void SyncFile()
    {
        try
        {
            _file!.Sync();
        }
        catch (IOException)
        {
            // What was to be synced may be forgotten by now, and the next sync would succeed without it: only a new file is certain.
            _mustRewrite = true;
            throw;
        }
    }

    private void TryRewrite()
    {
        try
        {
            Rewrite();
        }
        catch (IOException)
        {
            // The change itself is durable, so this is not its failure. Tried again after as many changes more.
            _rewriteAt = _entries + MinHistory;
        }
    }

    private void Rewrite()
    {
        DropExpired();
        _disk.Delete(NextFileName);
        var next = _disk.Create(NextFileName);
        try
        {
            var entries = WriteAll(next);
            next.Sync();
            // From here until the folder is synced either file may be the journal after a power cut, so no change may go to one of them.
            _mustRewrite = true;
            _disk.Rename(NextFileName, FileName);
            _disk.SyncFolder();
            _mustRewrite = false;
            _tailUnknown = false;
            _file?.Dispose();
            _file = next;
            _entries = entries;
            _rewriteAt = 0;
        }
        catch (IOException)
        {
            next.Dispose();
            throw;
        }
    }

    private int WriteAll(ICacheFile file)
    {
        var buffer = new byte[1024 * JournalEntry.Bytes];
        JournalEntry.WriteHeader(buffer, CacheId);
        var used = JournalEntry.Bytes;
        var entries = 0;
        long at = 0;
        foreach (var entry in LiveEntries())
        {
            if (used == buffer.Length)
            {
                file.Write(at, buffer);
                at += used;
                used = 0;
            }

            entry.Write(buffer.AsSpan(used));
            used += JournalEntry.Bytes;
            entries++;
        }

        file.Write(at, buffer.AsSpan(0, used));
        return entries;
    }

    private IEnumerable<JournalEntry> LiveEntries()
    {
        if (_purgedAllAt > 0)
            yield return JournalEntry.PurgeAll(_purgedAllAt);
        foreach (var (path, sequence) in _purges)
            yield return JournalEntry.Purge(path, sequence);
        foreach (var (_, pin) in _pins)
            yield return JournalEntry.Pin(pin);
    }

    private void Apply(in JournalEntry entry)
    {
        switch (entry.Kind)
        {
            case JournalEntryKind.Purge:
                if (entry.Number <= GenerationOf(entry.First))
                    return;
                if (!_purges.ContainsKey(entry.First))
                    _purgeCount++;
                _purges[entry.First] = entry.Number;
                return;
            case JournalEntryKind.PurgeAll:
                if (entry.Number <= _purgedAllAt)
                    return;
                Volatile.Write(ref _purgedAllAt, entry.Number);
                foreach (var (path, sequence) in _purges)
                {
                    if (sequence <= entry.Number && _purges.TryRemove(path, out _))
                        _purgeCount--;
                }

                return;
            case JournalEntryKind.Pin:
                if (!_pins.ContainsKey(entry.First))
                    _pinCount++;
                _pins[entry.First] = new(entry.First, entry.Second, entry.Number, entry.ExpiresUnixSeconds);
                return;
            case JournalEntryKind.Unpin:
                if (_pins.TryRemove(entry.First, out _))
                    _pinCount--;
                return;
        }
    }

    private void DropExpired()
    {
        var now = _time.GetUtcNow().ToUnixTimeSeconds();
        foreach (var (version, pin) in _pins)
        {
            if (pin.ExpiresUnixSeconds <= now && _pins.TryRemove(version, out _))
                _pinCount--;
        }
    }
}
