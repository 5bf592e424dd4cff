using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Delivery.Edge.Cache;

namespace Delivery.Edge.Objects;

/// <summary>
/// Object metadata by path, bounded. Look-up is by span and allocates nothing. At the bound the clock's hand evicts the first entry that was
/// not used since the hand last passed (second chance).
/// </summary>
/// <param name="capacity">Entries at most.</param>
/// <param name="generationOf">Sequence of the last purge of a path: what was asked of upstream before it is not believed after it.</param>
internal sealed class ObjectTable(int capacity, Func<ObjectHash, long> generationOf)
{
    private readonly ConcurrentDictionary<string, EdgeObject> _entries = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<ObjectHash, EdgeObject> _byPathHash = new();
    private readonly EdgeObject?[] _clock = new EdgeObject?[capacity];
    private readonly Lock _gate = new();
    private int _hand;

    public int Count => _entries.Count;

    /// <summary>The entry for a path; a negative entry that is no longer believed is not found.</summary>
    public bool TryFind(ReadOnlySpan<char> path, DateTimeOffset now, [NotNullWhen(true)] out EdgeObject? entry)
    {
        if (!_entries.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(path, out entry))
            return false;
        if (!entry.Exists && now >= entry.BelievedUntil)
        {
            Remove(entry);
            entry = null;
            return false;
        }

        // Written only when it changes: every core reads this line.
        if (!entry.Used)
            entry.Used = true;
        return true;
    }

    /// <summary>The entry for a path that only the cache's records name; does not count as a use.</summary>
    public EdgeObject? FindByHash(ObjectHash path) => _byPathHash.GetValueOrDefault(path);

    /// <summary>
    /// Adds an entry, or gives the one that is there when it is of the same version: chunks in the hot tier then stay reachable through
    /// the object that requests already hold. An entry from before a purge of its path is given back and not added: whoever asked before the purge may
    /// have it, nobody after.
    /// </summary>
    public EdgeObject Add(EdgeObject entry)
    {
        // Under the lock: a purge raises the generation first and removes the entry then, so one of the two sees the other.
        lock (_gate)
        {
            if (entry.Generation < generationOf(entry.PathHash))
                return entry;
            if (_entries.TryGetValue(entry.Path, out var present))
            {
                if (present.Exists && entry.Exists && present.Hash == entry.Hash && present.Length == entry.Length)
                {
                    // RFC 9111 §4.3.4: what upstream has just said of the same version counts from now on.
                    present.Freshness = entry.Freshness;
                    return present;
                }

                RemoveLocked(present);
            }

            while (_clock[_hand] is { Removed: false } old)
            {
                if (!old.Used)
                {
                    RemoveLocked(old);
                    break;
                }

                old.Used = false;
                _hand = (_hand + 1) % _clock.Length;
            }

            _clock[_hand] = entry;
            _hand = (_hand + 1) % _clock.Length;
            _entries[entry.Path] = entry;
            if (entry.Exists)
                _byPathHash[entry.PathHash] = entry;
            return entry;
        }
    }

    /// <summary>Forgets a path; null when it was not known.</summary>
    public EdgeObject? Remove(string path)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(path, out var entry))
                RemoveLocked(entry);
            return entry;
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            foreach (var entry in _entries.Values)
                RemoveLocked(entry);
        }
    }

    public void Remove(EdgeObject entry)
    {
        lock (_gate)
            RemoveLocked(entry);
    }

    private void RemoveLocked(EdgeObject entry)
    {
        entry.Removed = true;
        _entries.TryRemove(new(entry.Path, entry));
        if (entry.Exists)
            _byPathHash.TryRemove(new(entry.PathHash, entry));
    }
}
