using System.Collections.Concurrent;

namespace Delivery.Edge.Cache;

/// <summary>An object that stays in the cache until a time, whatever else is asked for.</summary>
/// <param name="Version">The object's version, as <see cref="ObjectHash.OfVersion"/>: another version needs a pin of its own.</param>
/// <param name="Path">Its path.</param>
/// <param name="Length">Its length: what it counts against the share.</param>
/// <param name="ExpiresUnixSeconds">When the pin ends by itself.</param>
internal readonly record struct Pin(ObjectHash Version, ObjectHash Path, long Length, long ExpiresUnixSeconds)
{
    public long HeadBytes => Math.Min(Length, Chunk.SizeBytes);
}

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
    private readonly ConcurrentDictionary<ObjectHash, Pin> _pins = new();
    private readonly Lock _gate = new();
    private long _bytes;
    private long _headBytes;

    /// <summary>Bytes pinned on disk.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Bytes of heads pinned in RAM.</summary>
    public long HeadBytes => Volatile.Read(ref _headBytes);

    public int Count => _pins.Count;

    public bool IsPinned(ObjectHash version) => _pins.TryGetValue(version, out var pin) && pin.ExpiresUnixSeconds > Now;

    /// <summary>Pins, or extends a pin; <paramref name="persist"/> runs in between and its failure leaves all as it was.</summary>
    public PinOutcome TryPin(Pin pin, Action<Pin> persist)
    {
        lock (_gate)
        {
            foreach (var ended in _pins.Values.Where(p => p.ExpiresUnixSeconds <= Now).ToList())
                RemoveLocked(ended.Version);
            _pins.TryGetValue(pin.Version, out var present);
            var bytes = _bytes - present.Length + pin.Length;
            var headBytes = _headBytes - present.HeadBytes + pin.HeadBytes;
            if (bytes > maxBytes)
                return new($"Pins may hold {maxBytes:N0} bytes; {_bytes:N0} are pinned and this object has {pin.Length:N0}.");
            if (headBytes > maxHeadBytes)
                return new($"Pinned heads may hold {maxHeadBytes:N0} bytes of RAM; {_headBytes:N0} are pinned and this head has {pin.HeadBytes:N0}.");
            persist(pin);
            _pins[pin.Version] = pin;
            (_bytes, _headBytes) = (bytes, headBytes);
            return default;
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

    private long Now => time.GetUtcNow().ToUnixTimeSeconds();

    private void RemoveLocked(ObjectHash version)
    {
        if (!_pins.TryRemove(version, out var pin))
            return;
        _bytes -= pin.Length;
        _headBytes -= pin.HeadBytes;
    }
}
