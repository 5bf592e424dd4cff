namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>The newest stamp of each of the last so many names; the oldest are forgotten.</summary>
internal sealed class RecentStamps(int capacity)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _stamps = [];
    private readonly Queue<(string Name, long Stamp)> _order = [];

    public void Add(string name, long stamp)
    {
        lock (_lock)
        {
            _stamps[name] = Math.Max(stamp, _stamps.GetValueOrDefault(name));
            _order.Enqueue((name, _stamps[name]));
            while (_order.Count > capacity)
            {
                var (oldest, of) = _order.Dequeue();
                if (_stamps.GetValueOrDefault(oldest) == of)
                    _stamps.Remove(oldest);
            }
        }
    }

    /// <summary>Null: not among them.</summary>
    public long? Find(string name)
    {
        lock (_lock)
            return _stamps.TryGetValue(name, out var stamp) ? stamp : null;
    }
}
