using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Delivery.Edge.Fills;
using Delivery.Edge.Metering;
using Delivery.ObjectStore.Failover;

namespace Delivery.Edge.Upstreams;

/// <summary>What the upstreams of a node do, in the meter <c>Delivery.Edge</c>. Asked once per fill, so tags may be built as it counts.</summary>
internal sealed class UpstreamMeter : IDisposable
{
    private readonly Meter _meter = new(EdgeMeter.Name);
    private readonly Histogram<double> _firstByte;
    private readonly ConcurrentDictionary<(string Upstream, string Outcome), long> _requests = new();
    private readonly ConcurrentDictionary<(string Upstream, string State), long> _transitions = new();
    private long _retries;
    private long _hedgesSent;
    private long _hedgesWon;

    public UpstreamMeter()
    {
        _firstByte = _meter.CreateHistogram<double>(
            "delivery.edge.upstream.first_byte", "s", "From asking an upstream to its answer.", null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = [.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5] });
        _meter.CreateObservableCounter("delivery.edge.upstream.requests", () => Measure(_requests, "outcome"), "{request}", "Requests by upstream and how they ended.");
        _meter.CreateObservableCounter("delivery.edge.upstream.breaker.transitions", () => Measure(_transitions, "to"), "{transition}", "Changes of circuit breakers.");
        _meter.CreateObservableCounter("delivery.edge.upstream.retries", () => Retries, "{retry}", "Questions asked again after every upstream had failed.");
        _meter.CreateObservableCounter("delivery.edge.upstream.hedges", () => HedgesSent, "{request}", "Second requests, sent because the first took longer than 95 in 100 do.");
        _meter.CreateObservableCounter("delivery.edge.upstream.hedges_won", () => HedgesWon, "{request}", "Second requests that answered first.");
    }

    public long Retries => Volatile.Read(ref _retries);

    public long HedgesSent => Volatile.Read(ref _hedgesSent);

    public long HedgesWon => Volatile.Read(ref _hedgesWon);

    public long Requests(string upstream, FillOutcome outcome) => _requests.GetValueOrDefault((upstream, Label(outcome)));

    /// <summary>Gauges of what the set holds.</summary>
    public void Watch(IReadOnlyList<UpstreamLink> links, RetryBudget budget)
    {
        _meter.CreateObservableCounter("delivery.edge.upstream.budget_exhausted", () => budget.Refused, "{request}", "Retries and hedges that the budget did not allow.");
        _meter.CreateObservableGauge("delivery.edge.upstream.in_flight", () => Gauge(l => l.InFlight), "{request}", "Requests under way, their bodies included.");
        _meter.CreateObservableGauge("delivery.edge.upstream.breaker.state", () => Gauge(l => (int)l.Breaker.State), null, "0 closed, 1 half open, 2 open.");

        IEnumerable<Measurement<int>> Gauge(Func<UpstreamLink, int> read) =>
            links.Select(l => new Measurement<int>(read(l), new KeyValuePair<string, object?>("upstream", l.Name)));
    }

    public void Ended(string upstream, FillOutcome outcome) => Count(_requests, (upstream, Label(outcome)));

    public void Answered(string upstream, TimeSpan elapsed) => _firstByte.Record(elapsed.TotalSeconds, new KeyValuePair<string, object?>("upstream", upstream));

    public void Moved(string upstream, BreakerState state) => Count(_transitions, (upstream, EdgeMeter.Label(state)));

    public void Retried() => Interlocked.Increment(ref _retries);

    public void HedgeSent() => Interlocked.Increment(ref _hedgesSent);

    public void HedgeWon() => Interlocked.Increment(ref _hedgesWon);

    public void Dispose() => _meter.Dispose();

    // A request that was given up, as the other one of a hedge was faster or the edge stops, has no outcome of its own.
    private static string Label(FillOutcome outcome) => outcome == FillOutcome.Running ? "given_up" : EdgeMeter.Label(outcome);

    private static void Count(ConcurrentDictionary<(string, string), long> counts, (string, string) key) => counts.AddOrUpdate(key, 1, static (_, n) => n + 1);

    private static IEnumerable<Measurement<long>> Measure(ConcurrentDictionary<(string Upstream, string Second), long> counts, string second) =>
        counts.Select(c => new Measurement<long>(c.Value, new KeyValuePair<string, object?>("upstream", c.Key.Upstream), new KeyValuePair<string, object?>(second, c.Key.Second)));
}
