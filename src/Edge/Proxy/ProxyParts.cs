using Delivery.Edge.Cache;
using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Proxy;

/// <summary>The parts of the node that a request in http mode meets on its way.</summary>
internal sealed class ProxyParts : IDisposable
{
    public ProxyParts(EdgeOptions options, ChunkCache cache, FillBuffers buffers, EdgeMeter meter, EdgeLimits limits, string retryAfter, TimeProvider time, ILogger log)
    {
        (Options, Cache, Meter, Limits, RetryAfter, Time, Log) = (options, cache, meter, limits, retryAfter, time, log);
        var proxy = options.Proxy;
        Policy = new() { Heuristics = proxy.Heuristics, DefaultLifetime = proxy.DefaultLifetime, TargetedFields = proxy.TargetedFields };
        Responses = new(proxy.MetadataBytes, proxy.MaxVariants);
        Origins = new(options, meter, ProxyMeter, time);
        Exchanges = new(Origins, Responses, cache, buffers, Policy, options, ProxyMeter, time, log);
        ProxyMeter.Watch(Responses, Exchanges);
    }

    public EdgeOptions Options { get; }

    public ChunkCache Cache { get; }

    public EdgeMeter Meter { get; }

    public EdgeLimits Limits { get; }

    public ProxyMeter ProxyMeter { get; } = new();

    public FreshnessPolicy Policy { get; }

    public ResponseTable Responses { get; }

    public OriginPool Origins { get; }

    public ExchangeTable Exchanges { get; }

    /// <summary>What <c>Retry-After</c> says.</summary>
    public string RetryAfter { get; }

    public TimeProvider Time { get; }

    public ILogger Log { get; }

    public void Dispose()
    {
        Origins.Dispose();
        ProxyMeter.Dispose();
    }
}
