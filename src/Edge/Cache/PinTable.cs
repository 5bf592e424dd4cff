using System.Collections.Concurrent;
using Delivery.Edge.Cache.Journal;

namespace Delivery.Edge.Cache;

/// <summary>What became of a wish to pin. A refusal says why, in words for the operator.</summary>
internal readonly record struct PinOutcome(string? Refusal)
{
    public bool IsPinned => Refusal is null;
}

/// <summary>
/// The pins and the shares that bound them: pins that filled the cache would leave nothing for what listeners ask for, so beyond the share a pin is refused and the
/// ones before stay.
/// </summary>
internal sealed class PinTable(long maxBytes, long maxHeadBytes, TimeProvider time)
{
    private readonly ConcurrentDictionary<ObjectHash, PinEntry> _pins = new();
    private readonly ConcurrentDictionary<ObjectHash, PinEntry> _byPath = new();
    private readonly Lock _gate = new();
    private long _bytes;
    private long _headBytes;

    /// <summary>Bytes pinned on disk.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Bytes of heads pinned in RAM.</summary>
    public long HeadBytes => Volatile.Read(ref _headBytes);

    public int Count => _pins.Count;

    /// <param name="name">A version's, as chunks go by; or a path's, as metadata does.</param>
    public bool IsPinned(ObjectHash name) => (_pins.TryGetValue(name, out var pin) || _byPath.TryGetValue(name, out pin)) && pin.ExpiresUnixSeconds > Now;

    public IReadOnlyList<ObjectHash> Versions => [.. _pins.Keys];

    /// <summary>The pinned versions of a path: one as a rule.</summary>
    public IReadOnlyList<ObjectHash> VersionsOf(ObjectHash path) =>
        !_byPath.ContainsKey(path) ? [] : [.. _pins.Values.Where(pin => pin.Path == path).Select(pin => pin.Version)];

    /// <summary>Pins, or extends a pin; <paramref name="persist"/> runs in between and its failure leaves all as it was.</summary>
    public PinOutcome TryPin(PinEntry pin, Func<PinEntry, bool> persist)
    {
        lock (_gate)
        {
            foreach (var ended in _pins.Values.Where(p => p.ExpiresUnixSeconds <= Now).ToList())
                RemoveLocked(ended.Version);
            _pins.TryGetValue(pin.Version, out var present);
            var bytes = _bytes - present.Length + pin.Length;
            var headBytes = _headBytes - HeadBytesOf(present) + HeadBytesOf(pin);
            if (bytes > maxBytes)
                return new($"Pins may hold {maxBytes:N0} bytes; {_bytes:N0} are pinned and this object has {pin.Length:N0}.");
            if (headBytes > maxHeadBytes)
                return new($"Pinned heads may hold {maxHeadBytes:N0} bytes of RAM; {_headBytes:N0} are pinned and this head has {HeadBytesOf(pin):N0}.");
            if (!persist(pin))
                return new($"There are {CacheJournal.MaxPins:N0} pins, and no more can be kept.");
            _pins[pin.Version] = _byPath[pin.Path] = pin;
            (_bytes, _headBytes) = (bytes, headBytes);
            return default;
        }
    }

    /// <summary>A pin from before a restart: granted then, so not judged again.</summary>
    public void Restore(PinEntry pin)
    {
        lock (_gate)
        {
            if (pin.ExpiresUnixSeconds <= Now || !_pins.TryAdd(pin.Version, pin))
                return;
            _byPath[pin.Path] = pin;
            _bytes += pin.Length;
            _headBytes += HeadBytesOf(pin);
        }
    }

    /// <summary>Ends a pin; its bytes are then like any others. False when there was none.</summary>
    public bool Unpin(ObjectHash version, Action<ObjectHash> persist)
    {
        lock (_gate)
        {
            if (!_pins.ContainsKey(version))
                return false;
            persist(version);
            RemoveLocked(version);
            return true;
        }
    }

    private static long HeadBytesOf(PinEntry pin) => Math.Min(pin.Length, Chunk.SizeBytes);

    private long Now => time.GetUtcNow().ToUnixTimeSeconds();

    private void RemoveLocked(ObjectHash version)
    {
        if (!_pins.TryRemove(version, out var pin))
            return;
        // Another version's pin may have taken the path over.
        _byPath.TryRemove(new(pin.Path, pin));
        _bytes -= pin.Length;
        _headBytes -= HeadBytesOf(pin);
    }
}
