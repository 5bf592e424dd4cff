using System.Collections.Concurrent;

namespace Delivery.Metrics;

/// <summary>How Prometheus sees an instrument.</summary>
internal enum MetricKind
{
    Counter,
    Gauge,
    Histogram,
}

/// <summary>
/// Everything exposed under one name: the series of one instrument, or of equally named instruments of several meters of one process, which
/// add up.
/// </summary>
internal sealed class MetricFamily(string name, string help, MetricKind kind, bool isSet, bool isObserved, double[] bounds)
{
    private readonly ConcurrentDictionary<string, MetricSeries> _byLabels = new(StringComparer.Ordinal);
    private readonly MetricSeries?[] _recent = new MetricSeries?[256];
    private int _count;

    public string Name { get; } = name;

    public string Help { get; } = help;

    public MetricKind Kind { get; } = kind;

    /// <summary>Upper bounds of the histogram's buckets, without +Inf.</summary>
    public double[] Bounds { get; } = bounds;

    /// <summary>Whether a measurement replaces the value, as for Gauge, or adds to it, as for an up-down counter.</summary>
    public bool IsSet { get; } = isSet;

    /// <summary>Whether its instruments are observable: they tell all their series anew at each collection.</summary>
    public bool IsObserved { get; } = isObserved;

    public IEnumerable<MetricSeries> Series => _byLabels.Values;

    /// <summary>The series of these tags; null when there are <see cref="PrometheusExposition.MaxSeriesPerInstrument"/> others.</summary>
    /// <remarks>
    /// The way of nearly every measurement is a look at a small table of recently used series, in the order in which the tags came, which
    /// neither allocates nor locks. A miss formats the labels and asks the dictionary.
    /// </remarks>
    public MetricSeries? Find(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        ref var recent = ref _recent[MetricSeries.Hash(tags) & (uint)(_recent.Length - 1)];
        var series = Volatile.Read(ref recent);
        if (series is not null && series.HasTags(tags))
            return series;
        var labels = PrometheusText.Labels(tags);
        if (!_byLabels.TryGetValue(labels, out series) && (series = Add(labels)) is null)
            return null;
        Volatile.Write(ref recent, series.WithTags(tags));
        return series;
    }

    /// <summary>False when the series cannot be kept.</summary>
    public bool TryMeasure(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var cell = Find(tags)?.Cell;
        if (cell is null)
            return false;
        if (Kind == MetricKind.Histogram)
            cell.Record(value, Bounds);
        else if (IsSet)
            cell.Set(value);
        else
            cell.Add(value);
        return true;
    }

    /// <summary>Forgets what observable instruments said last, so that a series which they no longer tell is gone.</summary>
    public void BeginCollection()
    {
        if (!IsObserved)
            return;
        _byLabels.Clear();
        Array.Clear(_recent);
        _count = 0;
    }

    private MetricSeries? Add(string labels)
    {
        // Counted first, so that racing threads cannot overshoot the bound.
        if (Interlocked.Increment(ref _count) > PrometheusExposition.MaxSeriesPerInstrument)
        {
            Interlocked.Decrement(ref _count);
            return null;
        }

        var added = new MetricSeries(labels, [], new MetricCell(Kind == MetricKind.Histogram ? Bounds.Length + 1 : 0));
        var series = _byLabels.GetOrAdd(labels, added);
        if (series != added)
            Interlocked.Decrement(ref _count);
        return series;
    }
}
