namespace Delivery.ObjectStore.Failover;

/// <summary>What a circuit breaker lets through. The number is the metric's value.</summary>
public enum BreakerState
{
    /// <summary>Everything.</summary>
    Closed,

    /// <summary>One trial at a time.</summary>
    HalfOpen,

    /// <summary>Nothing.</summary>
    Open,
}

/// <summary>
/// Keeps an upstream that fails from being asked. Whoever was let in says how it ended, once, by <see cref="Succeeded"/>, <see cref="Failed"/> or <see cref="Forgotten"/>.
/// </summary>
/// <remarks><code>
/// Closed ── 5 failures without a success between ──▶ Open ── 30 s (5 s when it answers) ──▶ HalfOpen ── 3 successes, one trial at a time ──▶ Closed
///                                                      ▲── a failure ─────────────────────────┘
/// </code>
/// Polly's breaker closes at the first success and goes by ratios, so it cannot be told this (docs/adr/0012).</remarks>
public sealed class CircuitBreaker(TimeProvider time)
{
    /// <summary>Failures in a row that open it: fewer would be one bad moment of a network.</summary>
    public const int FailuresToOpen = 5;

    /// <summary>Successes in a row that close it: one may be luck.</summary>
    public const int SuccessesToClose = 3;

    /// <summary>How long it stays open: a process has restarted by then, and a listener has long been served by the next upstream.</summary>
    public static readonly TimeSpan OpenFor = TimeSpan.FromSeconds(30);

    /// <summary>How long it stays open at least, also when <see cref="Answers"/> says that the upstream is back: what answers one question may still fail the next.</summary>
    public static readonly TimeSpan OpenAtLeast = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private BreakerState _state;
    private int _epoch;
    private int _count;
    private bool _trying;
    private bool _answers;
    private long _openedAt;
    private string? _lastBadObject;

    /// <summary>Called after each change, outside of any lock.</summary>
    public Action<BreakerState>? Changed { private get; init; }

    public BreakerState State
    {
        get
        {
            lock (_gate)
                return _state;
        }
    }

    /// <summary>Whether the upstream may be asked now. True obliges the caller to say how it ended.</summary>
    /// <param name="pass">Given back with that.</param>
    /// <param name="path">The object that it is asked for.</param>
    public bool TryEnter(out BreakerPass pass, string path = "")
    {
        var before = BreakerState.Closed;
        lock (_gate)
        {
            before = _state;
            if (_state == BreakerState.Open && time.GetElapsedTime(_openedAt) >= (_answers ? OpenAtLeast : OpenFor))
                MoveTo(BreakerState.HalfOpen);
            pass = new(_epoch, path);
            if (_state == BreakerState.Open || (_state == BreakerState.HalfOpen && _trying))
                return false;
            _trying = true;
        }

        if (before == BreakerState.Open)
            Changed?.Invoke(BreakerState.HalfOpen);
        return true;
    }

    public void Succeeded(BreakerPass pass)
    {
        lock (_gate)
        {
            // Who was let in before the state changed says nothing of the upstream as it is now.
            if (pass.Epoch != _epoch)
                return;
            _trying = false;
            _lastBadObject = null;
            if (_state == BreakerState.Closed)
            {
                _count = 0;
                return;
            }

            if (++_count < SuccessesToClose)
                return;
            MoveTo(BreakerState.Closed);
        }

        Changed?.Invoke(BreakerState.Closed);
    }

    /// <param name="pass">What let the caller in.</param>
    /// <param name="mayBeTheObject">
    /// It may be one object that is bad, and not the upstream: such a failure counts once for an object, or five listeners of one bad file would keep all others from theirs.
    /// </param>
    public void Failed(BreakerPass pass, bool mayBeTheObject = false)
    {
        lock (_gate)
        {
            if (pass.Epoch != _epoch)
                return;
            _trying = false;
            if (mayBeTheObject && pass.Path == _lastBadObject)
                return;
            _lastBadObject = mayBeTheObject ? pass.Path : null;
            if (_state == BreakerState.Closed && ++_count < FailuresToOpen)
                return;
            MoveTo(BreakerState.Open);
            (_openedAt, _answers) = (time.GetTimestamp(), false);
        }

        Changed?.Invoke(BreakerState.Open);
    }

    /// <summary>The upstream has answered a question that is asked whatever the breaker says: it may be tried again before its time.</summary>
    public void Answers()
    {
        lock (_gate)
            _answers = true;
    }

    /// <summary>It ended without telling anything of the upstream: the caller gave up.</summary>
    public void Forgotten(BreakerPass pass)
    {
        lock (_gate)
        {
            if (pass.Epoch == _epoch)
                _trying = false;
        }
    }

    private void MoveTo(BreakerState state)
    {
        (_state, _count, _trying) = (state, 0, false);
        _epoch++;
    }
}

/// <summary>Leave to ask an upstream once, for one object.</summary>
public readonly record struct BreakerPass(int Epoch, string Path);
