using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;

namespace Delivery.Metrics;

/// <summary>
/// Collects the measurements of named meters and writes them in the Prometheus text format 0.0.4. Dispose it to stop collecting.
/// </summary>
public sealed class PrometheusExposition : IDisposable
{
    /// <summary>A further series of an instrument is not kept; each of its measurements counts in <see cref="DroppedName"/>.</summary>
    public const int MaxSeriesPerInstrument = 1000;

    /// <summary>The counter of measurements that found their instrument at <see cref="MaxSeriesPerInstrument"/>, or that clash with another instrument's kind.</summary>
    public const string DroppedName = "delivery_metrics_dropped_measurements_total";

    /// <summary>Upper bounds of histograms that give no advice, in seconds: OpenTelemetry's advice for the duration of HTTP requests, and 1 ms and 2.5 ms below it.</summary>
    internal static readonly double[] DefaultBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

    private readonly HashSet<string> _meterNames;
    private readonly ConcurrentDictionary<string, MetricFamily> _families = new(StringComparer.Ordinal);
    private readonly Lock _collection = new();
    private readonly MeterListener _listener = new();
    private long _dropped;

    /// <param name="meterNames">The meters to collect; those made later are found as well.</param>
    public PrometheusExposition(params string[] meterNames)
    {
        _meterNames = [.. meterNames];
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (_meterNames.Contains(instrument.Meter.Name))
                listener.EnableMeasurementEvents(instrument, Family(instrument));
        };
        _listener.SetMeasurementEventCallback<byte>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<short>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<int>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<long>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<float>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<double>((_, value, tags, state) => Measure(value, tags, state));
        _listener.SetMeasurementEventCallback<decimal>((_, value, tags, state) => Measure((double)value, tags, state));
        _listener.Start();
    }

    /// <summary>Asks the observable instruments and writes everything, sorted by name and labels.</summary>
    public void WriteTo(IBufferWriter<byte> output)
    {
        lock (_collection)
        {
            // An observable instrument tells all its series each time; those that it no longer tells are gone.
            foreach (var family in _families.Values)
                family.BeginCollection();
            try
            {
                _listener.RecordObservableInstruments();
            }
            catch (AggregateException)
            {
                // A callback that fails leaves its own series out; the others have been recorded.
                Interlocked.Increment(ref _dropped);
            }

            foreach (var family in _families.Values.OrderBy(family => family.Name, StringComparer.Ordinal))
                PrometheusText.Write(output, family);
        }

        var dropped = new MetricFamily(DroppedName, "Measurements dropped: too many series of an instrument, a clash of names, or a failed callback.", MetricKind.Counter, isSet: true, isObserved: false, []);
        dropped.TryMeasure(Interlocked.Read(ref _dropped), []);
        PrometheusText.Write(output, dropped);
    }

    public void Dispose() => _listener.Dispose();

    private void Measure(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags, object? family)
    {
        if (family is not MetricFamily known || !known.TryMeasure(value, tags))
            Interlocked.Increment(ref _dropped);
    }

    // Null where the name is taken by an instrument of another kind: its measurements are dropped, and counted as such.
    private MetricFamily? Family(Instrument instrument)
    {
        var (kind, isSet) = KindOf(instrument);
        var name = PrometheusText.MetricName(instrument, kind);
        var bounds = kind == MetricKind.Histogram ? BoundsOf(instrument) : [];
        var family = _families.GetOrAdd(name, _ => new MetricFamily(name, instrument.Description ?? "", kind, isSet, instrument.IsObservable, bounds));
        var same = family.Kind == kind && family.IsSet == isSet && family.IsObserved == instrument.IsObservable && family.Bounds.AsSpan().SequenceEqual(bounds);
        return same ? family : null;
    }

    private static (MetricKind Kind, bool IsSet) KindOf(Instrument instrument)
    {
        var type = instrument.GetType() is { IsGenericType: true } generic ? generic.GetGenericTypeDefinition() : instrument.GetType();
        if (type == typeof(Histogram<>))
            return (MetricKind.Histogram, false);
        if (type == typeof(Counter<>) || type == typeof(ObservableCounter<>))
            return (MetricKind.Counter, false);
        // Prometheus has no up-down counter: OpenTelemetry maps it to a gauge.
        return (MetricKind.Gauge, type == typeof(Gauge<>) || type == typeof(ObservableGauge<>));
    }

    private static double[] BoundsOf(Instrument instrument) => instrument switch
    {
        Histogram<byte> histogram => Advised(histogram),
        Histogram<short> histogram => Advised(histogram),
        Histogram<int> histogram => Advised(histogram),
        Histogram<long> histogram => Advised(histogram),
        Histogram<float> histogram => Advised(histogram),
        Histogram<double> histogram => Advised(histogram),
        Histogram<decimal> histogram => Advised(histogram),
        _ => DefaultBounds,
    };

    private static double[] Advised<T>(Histogram<T> histogram) where T : struct =>
        histogram.Advice?.HistogramBucketBoundaries is { } bounds ? [.. bounds.Select(bound => Convert.ToDouble(bound, CultureInfo.InvariantCulture))] : DefaultBounds;
}
