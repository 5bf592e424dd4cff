using System.Buffers;
using System.Diagnostics.Metrics;
using System.Text;

namespace Delivery.Metrics.Tests;

public sealed class PrometheusExpositionTests : IDisposable
{
    // Tests run side by side and meters are global: each test has a name of its own.
    private readonly string _name = $"Test.{Guid.NewGuid():N}";
    private readonly Meter _meter;
    private readonly PrometheusExposition _exposition;

    public PrometheusExpositionTests()
    {
        _meter = new Meter(_name);
        _exposition = new PrometheusExposition(_name);
    }

    public void Dispose()
    {
        _exposition.Dispose();
        _meter.Dispose();
    }

    [Fact]
    public void EveryInstrument_IsWrittenAsTheGoldenFileSays()
    {
        var requests = _meter.CreateCounter<long>("delivery.edge.requests", "{request}", "Requests by status.");
        requests.Add(2, new("status", 206), new("method", "GET"));
        requests.Add(3, new("method", "GET"), new("status", 206));
        requests.Add(1, new("status", 404), new("method", "HEAD"));
        _meter.CreateCounter<double>("delivery.edge.sent", "By", "Bytes sent.").Add(65536);
        var inFlight = _meter.CreateUpDownCounter<int>("delivery.edge.in_flight", null, "Requests in flight.");
        inFlight.Add(5);
        inFlight.Add(-2);
        var temperature = _meter.CreateGauge<double>("delivery.edge.load", "1", "Share of a core.");
        temperature.Record(0.75);
        temperature.Record(0.5);
        _meter.CreateObservableGauge("delivery.edge.hot_tier", () => new[] { new Measurement<long>(1024, new KeyValuePair<string, object?>("tier", "hot")) }, "By", "Bytes held.");
        _meter.CreateObservableCounter("delivery.edge.fills", () => 7L, null, "Fills.");
        _meter.CreateObservableUpDownCounter("delivery.edge.queue", () => -1, null, "Below zero.");
        var latency = _meter.CreateHistogram("delivery.edge.latency", "s", "Time to the first byte.", null, new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.125, 0.25, 0.5] });
        foreach (var seconds in new[] { 0.0625, 0.125, 0.25, 1 })
            latency.Record(seconds, new KeyValuePair<string, object?>("tier", "hot"));
        _meter.CreateHistogram<int>("delivery.edge.runs", null, "Chunks\na \\ run.", null, new InstrumentAdvice<int> { HistogramBucketBoundaries = [1, 8] }).Record(8);
        _meter.CreateCounter<long>("delivery.9-odd name_total", null, "Odd characters.").Add(1, new("a.b", "quote\" back\\slash\nline"), new("9", null), new("ok", true));
        _meter.CreateGauge<double>("delivery.extremes", null, "Not finite.").Record(double.PositiveInfinity, new KeyValuePair<string, object?>("which", "more"));
        _meter.CreateGauge<double>("delivery.extremes", null, "Not finite.").Record(double.NaN, new KeyValuePair<string, object?>("which", "none"));

        Assert.Equal(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Golden", "exposition.txt")), Text());
    }

    [Fact]
    public void HistogramWithoutAdvice_HasTheDefaultBuckets()
    {
        _meter.CreateHistogram<double>("h", "s").Record(0.003);
        var lines = Text().Split('\n');
        Assert.Equal(PrometheusExposition.DefaultBounds.Length + 1, lines.Count(line => line.StartsWith("h_seconds_bucket", StringComparison.Ordinal)));
        Assert.Contains("h_seconds_bucket{le=\"0.0025\"} 0", lines);
        Assert.Contains("h_seconds_bucket{le=\"0.005\"} 1", lines);
        Assert.Contains("h_seconds_bucket{le=\"+Inf\"} 1", lines);
    }

    [Fact]
    public void InstrumentWithoutDescription_HasNoHelpLine()
    {
        _meter.CreateCounter<long>("c").Add(1);
        Assert.StartsWith("# TYPE c_total counter\nc_total 1\n", Text());
    }

    [Fact]
    public void OtherMeters_AreNotCollected()
    {
        using var other = new Meter(_name + ".Other");
        other.CreateCounter<long>("other").Add(1);
        Assert.DoesNotContain("other", Text());
    }

    [Fact]
    public void SeriesBeyondTheBound_AreDroppedAndCounted()
    {
        var counter = _meter.CreateCounter<long>("c");
        for (var round = 0; round < 2; round++)
        {
            for (var i = 0; i < PrometheusExposition.MaxSeriesPerInstrument + 5; i++)
                counter.Add(1, new KeyValuePair<string, object?>("i", i));
        }

        var lines = Text().Split('\n');
        Assert.Equal(PrometheusExposition.MaxSeriesPerInstrument, lines.Count(line => line.StartsWith("c_total{", StringComparison.Ordinal) && line.EndsWith(" 2", StringComparison.Ordinal)));
        Assert.Contains($"{PrometheusExposition.DroppedName} 10", lines);
    }

    [Fact]
    public void SameNameInTwoMeters_CountersAddUp_OtherKindsAreDropped()
    {
        using var second = new Meter(_name);
        _meter.CreateCounter<long>("c").Add(1);
        second.CreateCounter<long>("c").Add(2);
        _meter.CreateObservableCounter("o", () => 10L);
        second.CreateObservableCounter("o", () => 20L);
        second.CreateUpDownCounter<long>("c_total").Add(100);
        for (var scrape = 0; scrape < 2; scrape++)
        {
            var lines = Text().Split('\n');
            Assert.Contains("c_total 3", lines);
            Assert.Contains("o_total 30", lines);
            Assert.Contains($"{PrometheusExposition.DroppedName} 1", lines);
        }
    }

    [Fact]
    public void ObservedSeriesThatIsNoLongerTold_IsGone()
    {
        var sites = new List<string> { "a", "b" };
        _meter.CreateObservableGauge("g", () => sites.Select(site => new Measurement<int>(1, new KeyValuePair<string, object?>("site", site))));
        Assert.Contains("g{site=\"b\"} 1", Text());
        sites.Remove("b");
        Assert.DoesNotContain("site=\"b\"", Text());
    }

    [Fact]
    public void FailingCallback_LeavesTheOthersIn()
    {
        _meter.CreateObservableGauge("bad", new Func<int>(() => throw new InvalidOperationException()));
        _meter.CreateObservableGauge("good", () => 1);
        var lines = Text().Split('\n');
        Assert.Contains("good 1", lines);
        Assert.Contains($"{PrometheusExposition.DroppedName} 1", lines);
    }

    [Fact]
    public void ManyThreads_NothingIsLost()
    {
        var counter = _meter.CreateCounter<long>("c");
        var histogram = _meter.CreateHistogram<double>("h");
        Parallel.For(0, 8, thread =>
        {
            for (var i = 0; i < 20_000; i++)
            {
                counter.Add(1, new("status", i % 2 == 0 ? "206" : "200"), new("thread", thread % 4));
                histogram.Record(1);
                if (i % 5000 == 0)
                    Text();
            }
        });
        var lines = Text().Split('\n');
        Assert.Equal(8, lines.Count(line => line.StartsWith("c_total{", StringComparison.Ordinal) && line.EndsWith(" 20000", StringComparison.Ordinal)));
        Assert.Contains("h_count 160000", lines);
        Assert.Contains("h_sum 160000", lines);
    }

    [Fact]
    public void RecordingKnownSeries_AllocatesNothing()
    {
        var counter = _meter.CreateCounter<long>("c");
        var histogram = _meter.CreateHistogram<double>("h");
        Record(100);
        Assert.Equal(0, Record(10_000));

        long Record(int rounds)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < rounds; i++)
            {
                counter.Add(1);
                counter.Add(1, new KeyValuePair<string, object?>("verdict", "valid"));
                counter.Add(1, new("status", "206"), new("tier", "hot"));
                histogram.Record(0.01, new KeyValuePair<string, object?>("tier", "hot"));
            }

            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    private string Text()
    {
        var buffer = new ArrayBufferWriter<byte>();
        _exposition.WriteTo(buffer);
        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
