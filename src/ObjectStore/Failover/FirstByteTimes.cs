namespace Delivery.ObjectStore.Failover;

/// <summary>How long an upstream took to answer, lately: after its 95th percentile a second request is worth its cost, as it is made for one request in twenty.</summary>
public sealed class FirstByteTimes
{
    /// <summary>Answers that are remembered.</summary>
    public const int Window = 128;

    /// <summary>Answers without which there is no percentile: the largest of fewer than 20 is not one in twenty.</summary>
    public const int MinSamples = 20;

    /// <summary>A percentile is at least this: below it, a second request would not come back sooner than the first.</summary>
    public static readonly TimeSpan Floor = TimeSpan.FromMilliseconds(20);

    private readonly Lock _gate = new();
    private readonly long[] _ticks = new long[Window];
    private long _count;

    /// <summary>Also for an answer that was not waited for: it took at least so long, and leaving it out would make slow upstreams look fast.</summary>
    public void Add(TimeSpan elapsed)
    {
        lock (_gate)
            _ticks[_count++ % Window] = elapsed.Ticks;
    }

    /// <summary>Null as long as too little is known.</summary>
    public TimeSpan? Percentile95()
    {
        Span<long> sorted = stackalloc long[Window];
        lock (_gate)
        {
            if (_count < MinSamples)
                return null;
            sorted = sorted[..(int)Math.Min(_count, Window)];
            _ticks.AsSpan(0, sorted.Length).CopyTo(sorted);
        }

        sorted.Sort();
        // Nearest rank.
        var ticks = sorted[(int)Math.Ceiling(0.95 * sorted.Length) - 1];
        return ticks > Floor.Ticks ? TimeSpan.FromTicks(ticks) : Floor;
    }
}
