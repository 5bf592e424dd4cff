using System.Diagnostics.Metrics;
using Delivery.Edge.Freshness;
using Delivery.Edge.Metering;

namespace Delivery.Edge.Proxy;

/// <summary>What a request in http mode came to. The name is also the metric label.</summary>
internal enum ProxyResult
{
    /// <summary>Refused before the cache was asked.</summary>
    Refused,

    /// <summary>From the cache, fresh or stale as the request allows.</summary>
    Hit,

    /// <summary>From the cache, stale, as upstream failed or is asked meanwhile (RFC 5861).</summary>
    Stale,

    /// <summary>From the cache, after upstream said 304.</summary>
    Revalidated,

    /// <summary>Asked upstream, and stored.</summary>
    Miss,

    /// <summary>Asked upstream, and not to be stored.</summary>
    Pass,

    /// <summary>Upstream failed.</summary>
    Failed,
}

/// <summary>What http mode counts on top of <see cref="EdgeMeter"/>, under the same meter's name.</summary>
internal sealed class ProxyMeter : IDisposable
{
    private readonly Meter _meter = new(EdgeMeter.Name);
    private readonly long[] _requests = new long[Enum.GetValues<ProxyResult>().Length];
    private readonly long[] _notStored = new long[Enum.GetValues<NoStoreReason>().Length];
    private readonly long[] _failures = new long[Enum.GetValues<UpstreamFailure>().Length];
    private readonly long[] _revalidated = new long[2];
    private long _stored;
    private long _resumed;

    public ProxyMeter()
    {
        _meter.CreateObservableCounter("delivery.edge.proxy.requests", () => ByLabel<ProxyResult>("result", _requests), "{request}", "Requests by what they came to.");
        _meter.CreateObservableCounter("delivery.edge.proxy.not_stored", () => ByLabel<NoStoreReason>("reason", _notStored), "{response}", "Responses to GET that were not stored, by reason.");
        _meter.CreateObservableCounter("delivery.edge.proxy.upstream_failures", () => ByLabel<UpstreamFailure>("error", _failures), "{exchange}", "Questions that upstream did not answer, by error.");
        _meter.CreateObservableCounter("delivery.edge.proxy.revalidations", () => new Measurement<long>[]
        {
            new(Volatile.Read(ref _revalidated[0]), new KeyValuePair<string, object?>("outcome", "unchanged")),
            new(Volatile.Read(ref _revalidated[1]), new KeyValuePair<string, object?>("outcome", "changed")),
        }, "{exchange}", "Conditional questions to upstream, by outcome.");
        _meter.CreateObservableCounter("delivery.edge.proxy.stored", () => Volatile.Read(ref _stored), "{response}", "Responses stored.");
        _meter.CreateObservableCounter("delivery.edge.proxy.resumed", () => Volatile.Read(ref _resumed), "{response}", "Bodies continued from upstream because a chunk had left the cache.");
    }

    public long ResumedResponses => Volatile.Read(ref _resumed);

    public void Watch(ResponseTable responses, ExchangeTable exchanges)
    {
        _meter.CreateObservableGauge("delivery.edge.proxy.responses", () => responses.Count, "{response}", "Stored responses.");
        _meter.CreateObservableGauge("delivery.edge.proxy.metadata", () => responses.Bytes, "By", "RAM of stored responses' fields.");
        _meter.CreateObservableCounter("delivery.edge.proxy.evicted", () => responses.Evicted, "{response}", "Stored responses that left for lack of room.");
        _meter.CreateObservableGauge("delivery.edge.proxy.exchanges", () => exchanges.Running, "{exchange}", "Questions to upstream under way that may be stored.");
    }

    public long Requests(ProxyResult result) => Volatile.Read(ref _requests[(int)result]);

    public long NotStoredFor(NoStoreReason reason) => Volatile.Read(ref _notStored[(int)reason]);

    public long Failures(UpstreamFailure failure) => Volatile.Read(ref _failures[(int)failure]);

    public void RequestEnded(ProxyResult result) => Interlocked.Increment(ref _requests[(int)result]);

    public void NotStored(NoStoreReason reason) => Interlocked.Increment(ref _notStored[(int)reason]);

    public void Failed(UpstreamFailure failure) => Interlocked.Increment(ref _failures[(int)failure]);

    public void Revalidated(bool changed) => Interlocked.Increment(ref _revalidated[changed ? 1 : 0]);

    public void Stored() => Interlocked.Increment(ref _stored);

    public void Resumed() => Interlocked.Increment(ref _resumed);

    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<long>> ByLabel<T>(string label, long[] counts)
        where T : struct, Enum =>
        Enum.GetValues<T>().Select((value, i) => new Measurement<long>(Volatile.Read(ref counts[i]), new KeyValuePair<string, object?>(label, EdgeMeter.Label(value))));
}
