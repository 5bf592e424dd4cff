using Delivery.Bench.HitRate;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Fills;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Cache.Policy;

/// <summary>The replay in bench/HitRate has no bytes; this holds it against the tier that has.</summary>
public sealed class ReplayTests
{
    [Theory]
    [InlineData(0.9)]
    [InlineData(1.1)]
    public void Replay_GivesTheHitRatioOfTheRealHotTier(double zipf)
    {
        const long Budget = EdgeOptions.MinHotTierBytes;
        var trace = TraceGenerator.Generate(new() { Zipf = zipf, Tracks = 500, Requests = 15_000, Sessions = 50 });
        var options = CachePolicyOptions.For(Budget, 0);
        var replayed = new EdgeCache("replay", trace, Budget, 0, options);
        using var hot = new HotTierStore(Budget, 16, new(options), new(), NullLogger.Instance);
        var buffer = new ChunkBuffer();
        using var written = new AutoResetEvent(false);
        var first = new byte[1];
        var (hits, replayedHits) = (0, 0);
        foreach (var chunk in trace.Requests)
        {
            if (replayed.Request(chunk) != Served.Upstream)
                replayedHits++;
            var (key, length) = (trace.Key(chunk), trace.Bytes[chunk]);
            if (hot.TryRead(key, length, 0, first))
            {
                hits++;
                continue;
            }

            var record = new CacheRecord(key, key.Object, 0, length);
            hot.Write(new(record, buffer.Seal(record), () => written.Set()));
            Assert.True(written.WaitOne(TimeSpan.FromSeconds(20)));
        }

        var (real, model) = ((double)hits / trace.Requests.Length, (double)replayedHits / trace.Requests.Length);
        Assert.InRange(real, 0.05, 0.95);
        Assert.True(Math.Abs(real - model) < 0.015, $"real {real:P2}, replayed {model:P2}");
    }
}
