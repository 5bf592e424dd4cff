using Delivery.Edge.Fills;
using Delivery.ObjectStore.Failover;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Upstreams;

/// <summary>One upstream with what the node knows of its health.</summary>
internal sealed partial class UpstreamLink
{
    private readonly UpstreamMeter _meter;
    private readonly ILogger _log;
    private int _inFlight;
    private volatile string _lastFailure = "";

    public UpstreamLink(IUpstream upstream, UpstreamMeter meter, TimeProvider time, ILogger log)
    {
        (Upstream, _meter, _log) = (upstream, meter, log);
        Breaker = new(time) { Changed = OnChanged };
    }

    public IUpstream Upstream { get; }

    public string Name => Upstream.Name;

    public CircuitBreaker Breaker { get; }

    public FirstByteTimes FirstByte { get; } = new();

    /// <summary>Requests under way, their bodies included.</summary>
    public int InFlight => Volatile.Read(ref _inFlight);

    public void Begin() => Interlocked.Increment(ref _inFlight);

    /// <summary>Once for each <see cref="Begin"/>: how it ended, or <see cref="FillOutcome.Running"/> when it was given up before it told anything.</summary>
    public void End(BreakerPass pass, FillOutcome outcome, string failure = "")
    {
        Interlocked.Decrement(ref _inFlight);
        _meter.Ended(Name, outcome);
        switch (outcome)
        {
            case FillOutcome.Running or FillOutcome.Stopped:
                Breaker.Forgotten(pass);
                break;
            case FillOutcome.Unavailable or FillOutcome.TimedOut or FillOutcome.Denied or FillOutcome.Truncated or FillOutcome.Contradictory:
                _lastFailure = failure.Length > 0 ? $"{outcome}: {failure}" : $"{outcome}";
                Breaker.Failed(pass, mayBeTheObject: outcome is FillOutcome.Denied or FillOutcome.Truncated or FillOutcome.Contradictory);
                break;
            default:
                // Whatever else it says, it says it rightly: absent, past the end, another version, not to be cached, not yet there.
                Breaker.Succeeded(pass);
                break;
        }
    }

    public void Answered(TimeSpan elapsed)
    {
        FirstByte.Add(elapsed);
        _meter.Answered(Name, elapsed);
    }

    private void OnChanged(BreakerState state)
    {
        _meter.Moved(Name, state);
        if (state == BreakerState.Open)
            LogOpened(_log, Name, CircuitBreaker.OpenFor.TotalSeconds, _lastFailure);
        else if (state == BreakerState.HalfOpen)
            LogTried(_log, Name);
        else
            LogClosed(_log, Name);
    }

    [LoggerMessage(1021, LogLevel.Error, "Upstream {Upstream} is not asked for {Seconds} s, because it keeps failing. Last: {Failure}")]
    private static partial void LogOpened(ILogger logger, string upstream, double seconds, string failure);

    [LoggerMessage(1022, LogLevel.Information, "Upstream {Upstream} is tried again")]
    private static partial void LogTried(ILogger logger, string upstream);

    [LoggerMessage(1023, LogLevel.Information, "Upstream {Upstream} works again")]
    private static partial void LogClosed(ILogger logger, string upstream);
}
