using System.Diagnostics.Metrics;
using BenchmarkDotNet.Attributes;
using Delivery.Metrics;

namespace Delivery.Bench;

/// <summary>What one measurement costs on the request path while the exposition listens.</summary>
[MemoryDiagnoser]
[Config(typeof(InProcessConfig))]
public class MetricsBenchmark
{
    private readonly PrometheusExposition _exposition = new("Bench");
    private readonly Meter _meter = new("Bench");
    private readonly Counter<long> _counter;
    private readonly Histogram<double> _histogram;

    public MetricsBenchmark()
    {
        _counter = _meter.CreateCounter<long>("counter");
        _histogram = _meter.CreateHistogram<double>("histogram", "s");
    }

    [GlobalCleanup]
    public void Stop()
    {
        _exposition.Dispose();
        _meter.Dispose();
    }

    [Benchmark(Description = "Counter.Add, no tag")]
    public void NoTag() => _counter.Add(1);

    [Benchmark(Description = "Counter.Add, 1 tag")]
    public void OneTag() => _counter.Add(1, new KeyValuePair<string, object?>("verdict", "valid"));

    [Benchmark(Description = "Counter.Add, 2 tags")]
    public void TwoTags() => _counter.Add(1, new("status", "206"), new("tier", "hot"));

    [Benchmark(Description = "Histogram.Record, 1 tag")]
    public void Histogram() => _histogram.Record(0.01, new KeyValuePair<string, object?>("tier", "hot"));
}
