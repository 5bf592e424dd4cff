using System.Net;
using BenchmarkDotNet.Attributes;
using Delivery.Edge;
using Delivery.Edge.Limits;

namespace Delivery.Bench;

/// <summary>What limits cost a request: the rates' table alone, and all that a hit passes.</summary>
[MemoryDiagnoser]
[Config(typeof(InProcessConfig))]
public class LimitsBenchmark
{
    private static readonly TimeSpan Burst = TimeSpan.FromSeconds(10);

    private readonly RateTable _table = new(1 << 16, 1_000_000, 1L << 40, Burst);
    private readonly EdgeLimits _limits = new(new() { Limits = new() { ClientRequestsPerSecond = 1_000_000, ClientBytesPerSecond = 1L << 40 } }, TimeProvider.System);
    private readonly Allowance _allowance;
    private readonly IPAddress _client = IPAddress.Parse("198.51.100.7");
    private ulong _now = RateTable.Units(TimeSpan.FromSeconds(1000));
    private ulong _key;

    public LimitsBenchmark() => _allowance = new(_limits);

    [GlobalCleanup]
    public void Stop() => _limits.Dispose();

    [Benchmark(Description = "TryTake, one client")]
    public bool OneClient() => _table.TryTake(1, _now += 10, out _, out _);

    [Benchmark(Description = "TryTake, 50,000 clients in turn")]
    public bool ManyClients() => _table.TryTake(_key = (_key + 7919) % 50_000, ++_now, out _, out _);

    [Benchmark(Description = "TryTake, each client new")]
    public bool NewClients() => _table.TryTake(++_key, ++_now, out _, out _);

    [Benchmark(Description = "Charge, one client")]
    public void Charge() => _table.Charge(1, _now += 10, 65_536);

    [Benchmark(Description = "All limits of one hit")]
    public bool Hit()
    {
        var passed = _allowance.TryEnter(_client, TimeProvider.System.GetTimestamp()) && _allowance.TryStart();
        _allowance.EndMiss();
        _allowance.Sent(65_536);
        _allowance.Taken();
        _allowance.HandedOver();
        _allowance.End();
        return passed;
    }
}
