using Microsoft.Extensions.Logging;

namespace Delivery.ObjectStore.Failover;

/// <summary>One of the two stores with what this node knows of its health.</summary>
internal sealed partial class StoreLink
{
    private readonly FailoverMetrics _metrics;
    private readonly ILogger _log;
    private volatile string _lastFailure = "";

    public StoreLink(IObjectStore store, int index, FailoverMetrics metrics, TimeProvider time, ILogger log)
    {
        (Store, Index, _metrics, _log) = (store, index, metrics, log);
        Breaker = new(time) { Changed = OnChanged };
    }

    public IObjectStore Store { get; }

    /// <summary>In the order of the configuration; roles move, this does not.</summary>
    public int Index { get; }

    public string Name => Index == 0 ? "first" : "second";

    public CircuitBreaker Breaker { get; }

    public FirstByteTimes FirstByte { get; } = new();

    /// <summary>Whether it may be asked now. True obliges the caller to end the visit.</summary>
    public bool TryEnter(ObjectKey key, out StoreVisit visit)
    {
        var let = Breaker.TryEnter(out var pass, key.Value);
        // The one trial of a half-open circuit must not last as long as somebody reads a body: its answer is enough.
        visit = new(this, pass, let && Breaker.State == BreakerState.HalfOpen);
        if (!let)
            _metrics.Read(this, ReadOutcome.LeftAlone);
        return let;
    }

    /// <summary>A failure outside of a visit: of a write, whose marker was let in before.</summary>
    public void Failed(ObjectKey key, StoreException failure)
    {
        _lastFailure = failure.Message;
        if (Breaker.TryEnter(out var pass, key.Value))
            Breaker.Failed(pass, MayBeTheObject(failure.Error));
    }

    /// <summary>For <see cref="StoreVisit"/> alone.</summary>
    public void Ended(BreakerPass pass, ReadOutcome outcome, StoreException? failure)
    {
        _metrics.Read(this, outcome);
        switch (outcome)
        {
            case ReadOutcome.Answered:
                Breaker.Succeeded(pass);
                break;
            case ReadOutcome.Failed or ReadOutcome.Late or ReadOutcome.BodyBroken:
                _lastFailure = failure?.Message ?? "It did not answer in time.";
                Breaker.Failed(pass, outcome == ReadOutcome.BodyBroken || (failure is not null && MayBeTheObject(failure.Error)));
                break;
            default:
                Breaker.Forgotten(pass);
                break;
        }
    }

    private static bool MayBeTheObject(StoreError error) => error is StoreError.Corrupt or StoreError.Denied;

    private void OnChanged(BreakerState state)
    {
        if (state == BreakerState.Open)
            LogOpened(_log, Name, CircuitBreaker.OpenFor.TotalSeconds, _lastFailure);
        else if (state == BreakerState.HalfOpen)
            LogTried(_log, Name);
        else
            LogClosed(_log, Name);
    }

    [LoggerMessage(4001, LogLevel.Error, "The {Store} store is left alone for up to {Seconds} s, because it keeps failing. Last: {Failure}")]
    private static partial void LogOpened(ILogger logger, string store, double seconds, string failure);

    [LoggerMessage(4002, LogLevel.Information, "The {Store} store is tried again")]
    private static partial void LogTried(ILogger logger, string store);

    [LoggerMessage(4003, LogLevel.Information, "The {Store} store works again")]
    private static partial void LogClosed(ILogger logger, string store);
}

/// <summary>Leave to ask a store once. The first who knows how it ended says so.</summary>
internal sealed class StoreVisit(StoreLink link, BreakerPass pass, bool isTrial)
{
    private int _ended;

    public StoreLink Link => link;

    /// <summary>The answer is there, its body still to come.</summary>
    public void Opened()
    {
        if (isTrial)
            End(ReadOutcome.Answered);
    }

    public void End(ReadOutcome outcome, StoreException? failure = null)
    {
        if (Interlocked.Exchange(ref _ended, 1) == 0)
            link.Ended(pass, outcome, failure);
        else if (outcome == ReadOutcome.BodyBroken)
            link.Ended(pass, outcome, failure);
    }
}
