namespace Delivery.ObjectStore.Failover;

public sealed class CircuitBreakerTests
{
    private readonly ManualTime _time = new();
    private readonly List<BreakerState> _changes = [];
    private readonly CircuitBreaker _breaker;

    public CircuitBreakerTests() => _breaker = new(_time) { Changed = _changes.Add };

    [Fact]
    public void UpstreamThatAnswersOthers_IsTriedAfterFiveSeconds_AndStaysAloneForThirtyWhenThatFails()
    {
        Fail(5);
        _breaker.Answers();
        Assert.False(_breaker.TryEnter(out _));
        _time.Advance(CircuitBreaker.OpenAtLeast);
        Assert.True(_breaker.TryEnter(out var pass));
        _breaker.Failed(pass);
        _time.Advance(CircuitBreaker.OpenAtLeast);
        Assert.False(_breaker.TryEnter(out _));
        _time.Advance(CircuitBreaker.OpenFor - CircuitBreaker.OpenAtLeast);
        Assert.True(_breaker.TryEnter(out _));
    }

    [Fact]
    public void FiveFailuresInARow_Open()
    {
        Fail(4);
        Succeed(1);
        Fail(4);
        Assert.Equal(BreakerState.Closed, _breaker.State);
        Fail(1);
        Assert.Equal(BreakerState.Open, _breaker.State);
        Assert.False(_breaker.TryEnter(out _));
    }

    [Fact]
    public void OneBadObject_CountsOnce_AndFiveOpen()
    {
        for (var i = 0; i < 20; i++)
            FailWith("/audio/bad");
        Assert.Equal(BreakerState.Closed, _breaker.State);
        foreach (var other in new[] { "/audio/b", "/audio/c", "/audio/d", "/audio/e" })
            FailWith(other);
        Assert.Equal(BreakerState.Open, _breaker.State);
    }

    [Fact]
    public void HalfOpen_LetsOneTrialInAtATime()
    {
        Open();
        Assert.True(_breaker.TryEnter(out var trial));
        Assert.Equal(BreakerState.HalfOpen, _breaker.State);
        Assert.False(_breaker.TryEnter(out _));
        _breaker.Forgotten(trial);
        Assert.True(_breaker.TryEnter(out trial));
        _breaker.Succeeded(trial);
        Assert.True(_breaker.TryEnter(out _));
    }

    [Fact]
    public void ThreeSuccesses_Close()
    {
        Open();
        Succeed(2);
        Assert.Equal(BreakerState.HalfOpen, _breaker.State);
        Succeed(1);
        Assert.Equal(BreakerState.Closed, _breaker.State);
        Assert.Equal([BreakerState.Open, BreakerState.HalfOpen, BreakerState.Closed], _changes);
        Assert.True(_breaker.TryEnter(out _) && _breaker.TryEnter(out _));
    }

    [Fact]
    public void FailureWhileHalfOpen_OpensForAnotherThirtySeconds()
    {
        Open();
        Succeed(2);
        Fail(1);
        Assert.Equal(BreakerState.Open, _breaker.State);
        _time.Advance(CircuitBreaker.OpenFor - TimeSpan.FromMilliseconds(1));
        Assert.False(_breaker.TryEnter(out _));
        _time.Advance(TimeSpan.FromMilliseconds(1));
        // The two successes from before count no more.
        Succeed(2);
        Assert.Equal(BreakerState.HalfOpen, _breaker.State);
    }

    [Fact]
    public void WhoCameBeforeTheChange_SaysNothingOfTheStateAfterIt()
    {
        Assert.True(_breaker.TryEnter(out var old));
        Assert.True(_breaker.TryEnter(out var older));
        Open();
        Assert.True(_breaker.TryEnter(out _));
        _breaker.Failed(old);
        _breaker.Succeeded(older);
        _breaker.Forgotten(old);
        Assert.Equal(BreakerState.HalfOpen, _breaker.State);
        Assert.False(_breaker.TryEnter(out _));
    }

    [Fact]
    public void ManyThreads_NeverShareATrial()
    {
        var inside = 0;
        Open();
        Parallel.For(0, 10_000, _ =>
        {
            if (!_breaker.TryEnter(out var pass))
                return;
            Assert.Equal(1, Interlocked.Increment(ref inside));
            Interlocked.Decrement(ref inside);
            _breaker.Forgotten(pass);
        });
        Assert.Equal(BreakerState.HalfOpen, _breaker.State);
    }

    private void Open()
    {
        Fail(CircuitBreaker.FailuresToOpen);
        _time.Advance(CircuitBreaker.OpenFor);
    }

    private void FailWith(string path)
    {
        Assert.True(_breaker.TryEnter(out var pass, path));
        _breaker.Failed(pass, mayBeTheObject: true);
    }

    private void Fail(int times) => Times(times, pass => _breaker.Failed(pass));

    private void Succeed(int times) => Times(times, _breaker.Succeeded);

    private void Times(int times, Action<BreakerPass> end)
    {
        for (var i = 0; i < times; i++)
        {
            Assert.True(_breaker.TryEnter(out var pass));
            end(pass);
        }
    }
}
