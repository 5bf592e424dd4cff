using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Delivery.Edge.Objects;

/// <summary>
/// Object metadata by path, bounded. Look-up is by span and allocates nothing. At the bound the clock's hand evicts the first entry that was
/// not used since the hand last passed (second chance).
/// </summary>
internal sealed class ObjectTable(int capacity)
{
    private readonly ConcurrentDictionary<string, EdgeObject> _entries = new(StringComparer.Ordinal);
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

    /// <summary>
    /// Adds an entry, or gives the one that is there when it is of the same version: chunks in the hot tier then stay reachable through
    /// the object that requests already hold.
    /// </summary>
    public EdgeObject Add(EdgeObject entry)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(entry.Path, out var present))
            {
                if (present.Exists && entry.Exists && present.Validator == entry.Validator && present.Length == entry.Length)
                    return present;
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
            return entry;
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
    }
}
