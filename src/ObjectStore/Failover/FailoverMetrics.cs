using System.Diagnostics.Metrics;
using System.Text.Json;

namespace Delivery.ObjectStore.Failover;

/// <summary>How one store's part in a read ended. The name is also the metric label.</summary>
internal enum ReadOutcome
{
    /// <summary>It gave what was asked, or said rightly that there is none.</summary>
    Answered,

    /// <summary>It failed.</summary>
    Failed,

    /// <summary>It had not answered after <see cref="FailoverOptions.FirstByteTimeout"/>.</summary>
    Late,

    /// <summary>Its body broke or stood still.</summary>
    BodyBroken,

    /// <summary>It was not asked: its circuit is open.</summary>
    LeftAlone,

    /// <summary>The other store was faster, or the caller left.</summary>
    GivenUp,
}

/// <summary>Instruments of the meter <c>Delivery.ObjectStore</c>. Labels are the position of a store in the configuration and enums, so their number is bounded.</summary>
internal sealed class FailoverMetrics : IDisposable
{
    public const string MeterName = "Delivery.ObjectStore";

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _reads;
    private readonly Counter<long> _fallOvers;
    private readonly Counter<long> _hedges;
    private readonly Counter<long> _hedgesWon;
    private readonly Counter<long> _stale;
    private readonly Counter<long> _takeOvers;
    private readonly Counter<long> _copied;
    private readonly Counter<long> _copiedBytes;
    private readonly Counter<long> _copyFailures;
    private readonly Counter<long> _leftBehind;
    private long _fallOverCount;
    private long _hedgeCount;
    private long _staleCount;
    private long _takeOverCount;

    public FailoverMetrics()
    {
        _reads = _meter.CreateCounter<long>("delivery.store.reads", "{request}", "Questions to a store by how they ended.");
        _fallOvers = _meter.CreateCounter<long>("delivery.store.fall_overs", "{request}", "Reads that the secondary was asked for because the primary failed or was late.");
        _hedges = _meter.CreateCounter<long>("delivery.store.hedges", "{request}", "Reads that the secondary was asked for beside a slow primary.");
        _hedgesWon = _meter.CreateCounter<long>("delivery.store.hedges_won", "{request}", "Of these, answered by the secondary first.");
        _stale = _meter.CreateCounter<long>("delivery.store.stale_reads", "{request}", "Objects that may change, given from the secondary and marked so.");
        _takeOvers = _meter.CreateCounter<long>("delivery.store.take_overs", "{request}", "Broken bodies that went on from the other store.");
        _copied = _meter.CreateCounter<long>("delivery.store.replication.settled", "{object}", "Keys that replication has settled, by outcome.");
        _copiedBytes = _meter.CreateCounter<long>("delivery.store.replication.size", "By", "Bytes copied to the secondary.");
        _copyFailures = _meter.CreateCounter<long>("delivery.store.replication.failures", "{attempt}", "Copies that failed, by error.");
        _leftBehind = _meter.CreateCounter<long>("delivery.store.left_behind", "{object}", "Writes that a demoted store had accepted and never replicated, by what became of them.");
    }

    public long FallOvers => Volatile.Read(ref _fallOverCount);

    public long Hedges => Volatile.Read(ref _hedgeCount);

    public long StaleReads => Volatile.Read(ref _staleCount);

    public long TakeOvers => Volatile.Read(ref _takeOverCount);

    /// <summary>Gauges of what the store holds.</summary>
    public void Watch(IReadOnlyList<StoreLink> links, RetryBudget budget, StoreRoles roles, Func<(double LagSeconds, int Pending)> replication)
    {
        _meter.CreateObservableCounter("delivery.store.budget_exhausted", () => budget.Refused, "{request}", "Hedges that the budget did not allow.");
        _meter.CreateObservableGauge("delivery.store.breaker.state", () => links.Select(l => Of(l, (int)l.Breaker.State)), null, "0 closed, 1 half open, 2 open.");
        _meter.CreateObservableGauge("delivery.store.primary", () => links.Select(l => Of(l, roles.View.Primary == l.Index ? 1 : 0)), null, "1 for the store that takes the writes.");
        _meter.CreateObservableGauge("delivery.store.epoch", () => roles.View.Epoch, null, "The epoch of the roles.");
        _meter.CreateObservableGauge("delivery.store.replication.lag", () => replication().LagSeconds, "s", "Age of the oldest accepted change that is not known to be on the secondary; 0 when there is none.");
        _meter.CreateObservableGauge("delivery.store.replication.pending", () => replication().Pending, "{object}", "Accepted changes that are not known to be on the secondary.");

        static Measurement<int> Of(StoreLink link, int value) => new(value, new KeyValuePair<string, object?>("store", link.Name));
    }

    public void Read(StoreLink link, ReadOutcome outcome) =>
        _reads.Add(1, new KeyValuePair<string, object?>("store", link.Name), new KeyValuePair<string, object?>("outcome", Word(outcome)));

    public void FellOver()
    {
        Interlocked.Increment(ref _fallOverCount);
        _fallOvers.Add(1);
    }

    public void Hedged()
    {
        Interlocked.Increment(ref _hedgeCount);
        _hedges.Add(1);
    }

    public void HedgeWon() => _hedgesWon.Add(1);

    public void Stale()
    {
        Interlocked.Increment(ref _staleCount);
        _stale.Add(1);
    }

    public void TookOver()
    {
        Interlocked.Increment(ref _takeOverCount);
        _takeOvers.Add(1);
    }

    public void Settled(Copying.CopyResult result)
    {
        _copied.Add(1, new KeyValuePair<string, object?>("outcome", Word(result.Outcome)));
        _copiedBytes.Add(result.Bytes);
    }

    public void CopyFailed(StoreError error) => _copyFailures.Add(1, new KeyValuePair<string, object?>("error", Word(error)));

    public void LeftBehind(LeftBehindOutcome outcome) => _leftBehind.Add(1, new KeyValuePair<string, object?>("outcome", Word(outcome)));

    public void Dispose() => _meter.Dispose();

    private static string Word<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());
}
