using System.Collections.Concurrent;

namespace Delivery.Edge.Cache;

/// <summary>
/// Which purge of a path was the last: its generation. Asked once per object and fill, never on a hit: the generation is part of a chunk's name
/// (<see cref="ObjectHash.OfVersion"/>).
/// </summary>
internal sealed class PurgeTable
{
    private readonly ConcurrentDictionary<ObjectHash, long> _paths = new();
    private long _all;
    private long _sequence;

    /// <summary>The highest sequence applied.</summary>
    public long Sequence => Volatile.Read(ref _sequence);

    public int Count => _paths.Count;

    public long GenerationOf(ObjectHash path)
    {
        // In this order, as a purge of everything takes the paths' own away after it was set.
        var own = _paths.GetValueOrDefault(path);
        return Math.Max(own, Volatile.Read(ref _all));
    }

    public void Raise(ObjectHash path, long sequence)
    {
        _paths.AddOrUpdate(path, sequence, (_, present) => Math.Max(present, sequence));
        RaiseTo(ref _sequence, sequence);
    }

    public void RaiseAll(long sequence)
    {
        // Most calls say nothing new, and there may be a million paths.
        if (sequence <= Volatile.Read(ref _all))
            return;
        RaiseTo(ref _all, sequence);
        RaiseTo(ref _sequence, sequence);
        // Set before they are taken away, so that no reader sees neither.
        foreach (var (path, own) in _paths)
        {
            if (own <= sequence)
                _paths.TryRemove(new(path, own));
        }
    }

    private static void RaiseTo(ref long value, long to)
    {
        for (var seen = Volatile.Read(ref value); seen < to;)
        {
            var before = Interlocked.CompareExchange(ref value, to, seen);
            if (before == seen)
                return;
            seen = before;
        }
    }
}
