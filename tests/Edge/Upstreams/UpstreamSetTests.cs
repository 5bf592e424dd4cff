using Delivery.Edge.Fills;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Upstreams;

public sealed class UpstreamSetTests : IAsyncDisposable
{
    private static readonly UpstreamQuery Query = new("/audio/x.ogg", ObjectKey.Parse("audio/x.ogg"), 0);
    private static readonly UpstreamQuery ByContent = new("/audio/0123456789abcdef0123456789abcdef01234567.ogg", ObjectKey.Parse("audio/0123456789abcdef0123456789abcdef01234567.ogg"), 0);

    private readonly ManualTime _time = new();
    private readonly ScriptedUpstream _first = new("first");
    private readonly ScriptedUpstream _second = new("second");
    private UpstreamSet _set;

    public UpstreamSetTests() => _set = Create(retries: 0);

    public async ValueTask DisposeAsync()
    {
        // Whatever happened: no question, no body, no stream is left.
        await _set.DisposeAsync();
        await Poll.UntilAsync(() => _first.Open == 0 && _second.Open == 0 && _set.Links.All(l => l.InFlight == 0));
        Assert.Equal(0, _time.Waiting);
    }

    [Fact]
    public async Task First_IsAskedAlone_WhenItAnswers()
    {
        Assert.NotNull(await FindAsync());
        Assert.Equal((1, 0), (_first.Asked, _second.Asked));
    }

    [Theory]
    [InlineData("Unavailable")]
    [InlineData("TimedOut")]
    [InlineData("Denied")]
    [InlineData("Contradictory")]
    [InlineData("Truncated")]
    [InlineData("Lagging")]
    public async Task Failure_GoesToTheNext(string outcome)
    {
        _first.Fail(() => new UpstreamException(Enum.Parse<FillOutcome>(outcome), "first", "As scripted."));
        await using var read = await OpenAsync();
        Assert.Same(_second, read!.Upstream);
    }

    [Fact]
    public async Task StoresOwnFailure_GoesToTheNext()
    {
        _first.Fail(() => new StoreException(StoreError.Unavailable, "As scripted."));
        Assert.NotNull(await FindAsync());
        Assert.Equal(1, _set.Meter.Requests("first", FillOutcome.Unavailable));
        Assert.Equal(1, _set.Meter.Requests("second", FillOutcome.Completed));
    }

    [Fact]
    public async Task Absent_IsAnAnswer()
    {
        _first.IsAbsent = true;
        Assert.Null(await FindAsync());
        Assert.Null(await OpenAsync());
        Assert.Equal(0, _second.Asked);
    }

    [Theory]
    [InlineData("PastEnd")]
    [InlineData("Uncacheable")]
    public async Task PastTheEndAndUncacheable_AreAnswers(string outcome)
    {
        _first.Fail(() => new UpstreamException(Enum.Parse<FillOutcome>(outcome), "first", "As scripted."));
        Assert.Equal(outcome, (await FailureAsync()).Outcome.ToString());
        Assert.Equal(0, _second.Asked);
    }

    [Fact]
    public async Task RangeNotSatisfiable_OfAStore_IsPastTheEnd()
    {
        var failure = await Assert.ThrowsAsync<UpstreamException>(async () => await _set.OpenAsync(Query, new(ScriptedUpstream.Length, 10), CancellationToken.None));
        Assert.Equal(FillOutcome.PastEnd, failure.Outcome);
        Assert.Equal(0, _second.Asked);
    }

    [Fact]
    public async Task AllFail_TheFirstFailureIsTold()
    {
        _first.Fail(() => new UpstreamException(FillOutcome.Denied, "first", "No."));
        _second.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        var failure = await FailureAsync();
        Assert.Equal((FillOutcome.Denied, "first", "No."), (failure.Outcome, failure.Upstream, failure.Message));
        // One of them may work in a moment.
        Assert.True(failure.CanRetry);
    }

    [Fact]
    public async Task SlowFirst_TimesOutAndGoesToTheNext()
    {
        _first.Script = token => Task.Delay(Timeout.Infinite, token);
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(5));
        await using var read = await asking;
        Assert.Same(_second, read!.Upstream);
        Assert.Equal(1, _set.Meter.Requests("first", FillOutcome.TimedOut));
    }

    [Fact]
    public async Task Breaker_OpensAfterFiveFailures_AndIsNotAskedForThirtySeconds()
    {
        _first.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        for (var i = 0; i < 10; i++)
            Assert.NotNull(await FindAsync());
        Assert.Equal((5, 10), (_first.Asked, _second.Asked));
        _first.Script = _ => Task.CompletedTask;
        _time.Advance(TimeSpan.FromSeconds(29.9));
        Assert.NotNull(await FindAsync());
        Assert.Equal(5, _first.Asked);
        _time.Advance(TimeSpan.FromSeconds(0.1));
        for (var i = 0; i < 3; i++)
        {
            Assert.NotEqual(BreakerState.Closed, _set.Links[0].Breaker.State);
            Assert.NotNull(await FindAsync());
        }

        Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
        Assert.Equal((8, 11), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task EveryBreakerOpen_FailsAtOnceWithoutAsking()
    {
        _first.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        _second.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        for (var i = 0; i < 5; i++)
            await FailureAsync();
        var failure = await FailureAsync();
        Assert.Equal((FillOutcome.Unavailable, false), (failure.Outcome, failure.CanRetry));
        Assert.Equal((5, 5), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task AnswersAndCancellation_AreNoFailures()
    {
        _first.Script = token => Task.Delay(Timeout.Infinite, token);
        for (var i = 0; i < 10; i++)
        {
            using var cancel = new CancellationTokenSource();
            var asking = _set.FindAsync(Query, cancel.Token).AsTask();
            await Poll.UntilAsync(() => _set.Asking == 1);
            await cancel.CancelAsync();
            var thrown = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
            Assert.Equal(cancel.Token, thrown.CancellationToken);
        }

        _first.IsAbsent = true;
        _first.Script = _ => Task.CompletedTask;
        for (var i = 0; i < 10; i++)
            Assert.Null(await FindAsync());
        _first.Fail(() => new UpstreamException(FillOutcome.PastEnd, "first", "The end."));
        for (var i = 0; i < 10; i++)
            await FailureAsync();
        Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
        Assert.Equal(0, _second.Asked);
    }

    [Fact]
    public async Task BodyThatBroke_IsTakenUpFromTheOtherUpstreamFirst()
    {
        await using var read = await _set.OpenAsync(Query with { Broke = _first }, new(0, 10), CancellationToken.None);
        Assert.Same(_second, read!.Upstream);
        Assert.Equal(0, _first.Asked);
    }

    [Fact]
    public async Task BodiesThatBreak_OpenTheBreaker_ThoughEachHeadWasGood()
    {
        _first.BodyBytes = 999;
        for (var i = 0; i < 5; i++)
        {
            Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
            await using var read = await _set.OpenAsync(Query with { Path = $"/audio/{i}" }, new(0, ScriptedUpstream.Length), CancellationToken.None);
            Assert.Same(_first, read!.Upstream);
            await read.Content.CopyToAsync(Stream.Null);
        }

        Assert.Equal(BreakerState.Open, _set.Links[0].Breaker.State);
        Assert.Equal(5, _set.Meter.Requests("first", FillOutcome.Truncated));
    }

    [Fact]
    public async Task WhatTheReaderFoundWrong_CountsOnce()
    {
        for (var i = 0; i < 5; i++)
        {
            await using var read = await OpenAsync();
            UpstreamSet.BodyEnded(read!, FillOutcome.TimedOut);
            await read!.Content.CopyToAsync(Stream.Null);
            UpstreamSet.BodyEnded(read, FillOutcome.Completed);
        }

        Assert.Equal(BreakerState.Open, _set.Links[0].Breaker.State);
        Assert.Equal((5, 0), (_set.Meter.Requests("first", FillOutcome.TimedOut), _set.Meter.Requests("first", FillOutcome.Completed)));
    }

    [Fact]
    public async Task BodyThatIsGivenUp_TellsNothing()
    {
        for (var i = 0; i < 5; i++)
            await (await OpenAsync())!.DisposeAsync();
        Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
        Assert.Equal(5, _set.Meter.Requests("first", FillOutcome.Running));
    }

    [Fact]
    public async Task Retries_FollowAfterAMoment_TwiceAtMost()
    {
        await RecreateAsync(retries: 2);
        _first.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        _second.Fail(() => new UpstreamException(FillOutcome.Denied, "second", "No."));
        var asking = FailureAsync();
        for (var round = 1; round <= 2; round++)
        {
            await Poll.UntilAsync(() => _set.Meter.Retries == round && _time.Waiting == 1);
            Assert.Equal((round, round), (_first.Asked, _second.Asked));
            Assert.False(asking.IsCompleted);
            _time.Advance(TimeSpan.FromSeconds(2));
        }

        await asking;
        Assert.Equal((3, 3), (_first.Asked, _second.Asked));
        Assert.Equal(2, _set.Meter.Retries);
    }

    [Fact]
    public async Task Retry_ThatSucceeds_IsTheAnswer()
    {
        await RecreateAsync(retries: 2);
        _second.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        _first.Script = _ => _first.Asked == 1 ? Task.FromException(new StoreException(StoreError.Unavailable, "Down.")) : Task.CompletedTask;
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _set.Meter.Retries == 1 && _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(2));
        await using var read = await asking;
        Assert.Same(_first, read!.Upstream);
    }

    [Fact]
    public async Task WhatCannotGetBetter_IsNotRetried()
    {
        await RecreateAsync(retries: 2);
        _first.Fail(() => new UpstreamException(FillOutcome.Contradictory, "first", "Nonsense."));
        _second.Fail(() => new StoreException(StoreError.Denied, "No."));
        await FailureAsync();
        Assert.Equal((1, 1), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task Retries_EndWithTheBudget()
    {
        await RecreateAsync(retries: 1);
        _first.IsAbsent = _second.IsAbsent = true;
        var fails = true;
        Task Weather(ScriptedUpstream upstream) => fails && upstream.Asked > 0 ? Task.FromException(new StoreException(StoreError.Unavailable, "Down.")) : Task.CompletedTask;
        _first.Script = _ => Weather(_first);
        _second.Script = _ => Weather(_second);
        for (var i = 0; i < 30; i++)
        {
            // Successes between them, so that the breakers stay out of it. They earn three tokens, and the start is worth ten.
            fails = true;
            var before = _set.Meter.Retries;
            var asking = Task.Run(async () => await FailureAsync());
            // The moment before the retry, and no question's deadline.
            await Poll.UntilAsync(() => asking.IsCompleted || (_set.Meter.Retries > before && _time.Waiting == 1));
            _time.Advance(TimeSpan.FromSeconds(2));
            await asking;
            fails = false;
            Assert.Null(await FindAsync());
            Assert.Null(await FindAsync());
            fails = true;
            _set.Links[1].Breaker.TryEnter(out var pass);
            _set.Links[1].Breaker.Succeeded(pass);
        }

        // 90 questions: 9 earned beside the 10 of the start (those earned while the purse was full are lost).
        Assert.InRange(_set.Meter.Retries, 17, 19);
        Assert.Equal(30 - _set.Meter.Retries, _set.Budget.Refused);
    }

    [Fact]
    public async Task SlowerThanTheUsual_AsksTheNextBesideIt_AndTheFirstGoodAnswerCounts()
    {
        await LearnAsync(_first);
        var late = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _first.Script = async token =>
        {
            await using var registration = token.UnsafeRegister(_ => cancelled.TrySetResult(), null);
            // It answers, though it was told to stop: what it gives then must go back.
            await late.Task;
        };
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        await using var read = await asking;
        Assert.Same(_second, read!.Upstream);
        Assert.Equal((1, 1), (_set.Meter.HedgesSent, _set.Meter.HedgesWon));
        await cancelled.Task;
        late.SetResult();
        await Poll.UntilAsync(() => _set.Asking == 0 && _first.Open == 0 && _set.Links[0].InFlight == 0);
        Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
    }

    [Fact]
    public async Task FirstThatAnswersAfterAll_WinsAgainstItsHedge()
    {
        await LearnAsync(_first);
        var late = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _first.Script = _ => late.Task;
        _second.Script = token => Task.Delay(Timeout.Infinite, token);
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        await Poll.UntilAsync(() => _second.Asked == 1);
        late.SetResult();
        await using var read = await asking;
        Assert.Same(_first, read!.Upstream);
        Assert.Equal((1, 0), (_set.Meter.HedgesSent, _set.Meter.HedgesWon));
    }

    [Fact]
    public async Task HedgeThatFails_LeavesTheFirstToAnswer()
    {
        await LearnAsync(_first);
        var late = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _first.Script = _ => late.Task;
        _second.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        await Poll.UntilAsync(() => _second.Asked == 1);
        Assert.False(asking.IsCompleted);
        late.SetResult();
        await using var read = await asking;
        Assert.Same(_first, read!.Upstream);
    }

    [Fact]
    public async Task AloneUpstream_IsHedgedByItself()
    {
        await _set.DisposeAsync();
        _set = new([_first], null, Options(0), _time, NullLogger.Instance);
        await LearnAsync(_first);
        _first.Script = token => _first.Asked == FirstByteTimes.MinSamples + 1 ? Task.Delay(Timeout.Infinite, token) : Task.CompletedTask;
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        await using var read = await asking;
        Assert.Equal(FirstByteTimes.MinSamples + 2, _first.Asked);
        Assert.Equal(1, _set.Meter.HedgesWon);
    }

    [Fact]
    public async Task HedgesComeOutOfTheBudget()
    {
        await LearnAsync(_first);
        while (_set.Budget.TrySpend())
        {
        }

        _first.Script = token => Task.Delay(Timeout.Infinite, token);
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        // Only the first byte's deadline is left, and nobody else is asked before it.
        await Poll.UntilAsync(() => _time.Waiting == 1 && _set.Budget.Refused == 2);
        Assert.Equal((0, 0), (_second.Asked, _set.Meter.HedgesSent));
        _time.Advance(TimeSpan.FromSeconds(5));
        await using var read = await asking;
        Assert.Same(_second, read!.Upstream);
    }

    [Fact]
    public async Task Hedging_CanBeTurnedOff()
    {
        await _set.DisposeAsync();
        _set = new([_first, _second], null, Options(0) with { UpstreamHedging = false }, _time, NullLogger.Instance);
        await LearnAsync(_first);
        _first.Script = token => Task.Delay(Timeout.Infinite, token);
        var asking = OpenAsync();
        await Poll.UntilAsync(() => _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal(0, _second.Asked);
        _time.Advance(TimeSpan.FromSeconds(0.1));
        await (await asking)!.DisposeAsync();
    }

    [Fact]
    public async Task CallerWhoLeaves_TakesBothQuestionsWithHim()
    {
        await LearnAsync(_first);
        _first.Script = _second.Script = token => Task.Delay(Timeout.Infinite, token);
        using var cancel = new CancellationTokenSource();
        var asking = _set.OpenAsync(Query, new(0, 10), cancel.Token).AsTask();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(FirstByteTimes.Floor);
        await Poll.UntilAsync(() => _second.Asked == 1);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
        await Poll.UntilAsync(() => _set.Asking == 0);
    }

    [Fact]
    public async Task AnotherRangeThanAskedFor_IsRefusedAndGivenBack()
    {
        var liar = new Liar();
        await using var set = new UpstreamSet([liar], null, Options(0), _time, NullLogger.Instance);
        foreach (var lie in new (long, long, long)[] { (1, 10, 1000), (0, 9, 1000), (0, 11, 1000), (0, 0, 0) })
        {
            liar.Lie = lie;
            var failure = await Assert.ThrowsAsync<UpstreamException>(async () => await set.OpenAsync(Query, new(0, 10), CancellationToken.None));
            Assert.Equal(FillOutcome.Contradictory, failure.Outcome);
            Assert.True(liar.Closed);
        }
    }

    [Fact]
    public async Task Breaker_LogsItsChangesWithTheReason()
    {
        var log = new Lines();
        await using var set = new UpstreamSet([_first], null, Options(0), _time, log);
        _first.Fail(() => new StoreException(StoreError.Unavailable, "Disk on fire."));
        for (var i = 0; i < 6; i++)
            await Assert.ThrowsAsync<UpstreamException>(async () => await set.FindAsync(Query, CancellationToken.None));
        _first.Script = _ => Task.CompletedTask;
        _time.Advance(CircuitBreaker.OpenFor);
        for (var i = 0; i < 3; i++)
            await set.FindAsync(Query, CancellationToken.None);
        Assert.Equal([1021, 1022, 1023], log.Entries.Select(e => e.Id));
        Assert.Contains("first", log.Entries[0].Text, StringComparison.Ordinal);
        Assert.Contains("Disk on fire.", log.Entries[0].Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AbsentInOneStore_IsAskedOfTheOther_BeforeItIsBelieved(bool isFind)
    {
        (_first.IsStore, _second.IsStore, _first.IsAbsent) = (true, true, true);
        if (isFind)
        {
            Assert.NotNull(await _set.FindAsync(ByContent, CancellationToken.None));
        }
        else
        {
            await using var read = await _set.OpenAsync(ByContent, new(0, 10), CancellationToken.None);
            Assert.Same(_second, read!.Upstream);
        }

        Assert.Equal((1, 1), (_first.Asked, _second.Asked));
        _second.IsAbsent = true;
        Assert.Null(await _set.FindAsync(ByContent, CancellationToken.None));
        Assert.Equal((2, 2), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task AbsentInOneStore_WhenTheOtherFailsOrIsLeftAlone_Stands()
    {
        (_first.IsStore, _second.IsStore, _first.IsAbsent) = (true, true, true);
        _second.Fail(() => new StoreException(StoreError.Unavailable, "Down."));
        for (var i = 0; i < 7; i++)
            Assert.Null(await _set.FindAsync(ByContent, CancellationToken.None));
        // After five failures its circuit is open, and absence costs no second question.
        Assert.Equal((7, 5), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task AbsentInOneStore_WhenTheOtherHangs_StandsAfterItsTimeOut()
    {
        (_first.IsStore, _second.IsStore, _first.IsAbsent) = (true, true, true);
        _second.Script = token => Task.Delay(Timeout.Infinite, token);
        var asking = _set.FindAsync(ByContent, CancellationToken.None).AsTask();
        await Poll.UntilAsync(() => _second.Asked == 1 && _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Null(await asking);
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task AbsentInAStore_IsNoQuestionForAnythingElse_NorElsewhereOneForAStore(bool firstIsStore, bool secondIsStore)
    {
        (_first.IsStore, _second.IsStore, _first.IsAbsent) = (firstIsStore, secondIsStore, true);
        Assert.Null(await _set.FindAsync(ByContent, CancellationToken.None));
        Assert.Equal((1, 0), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task AbsentInAStore_OfANameThatTellsNothingOfItsContent_IsAnAnswer()
    {
        (_first.IsStore, _second.IsStore, _first.IsAbsent) = (true, true, true);
        Assert.Null(await FindAsync());
        Assert.Equal((1, 0), (_first.Asked, _second.Asked));
    }

    [Fact]
    public async Task HedgeThatSaysAbsent_WaitsForTheStoreThatWasAskedFirst()
    {
        (_first.IsStore, _second.IsStore) = (true, true);
        await LearnAsync(_first);
        var release = new TaskCompletionSource();
        _first.Script = token => release.Task.WaitAsync(token);
        _second.IsAbsent = true;
        var asking = _set.FindAsync(ByContent, CancellationToken.None).AsTask();
        await Poll.UntilAsync(() => _time.Waiting == 2);
        _time.Advance(TimeSpan.FromSeconds(1));
        await Poll.UntilAsync(() => _second.Asked == 1);
        Assert.False(asking.IsCompleted);
        release.SetResult();
        Assert.NotNull(await asking);
    }

    [Fact]
    public async Task ObjectThatMayChange_IsNotHedgedFromStoreToStore()
    {
        (_first.IsStore, _second.IsStore) = (true, true);
        await LearnAsync(_first);
        var release = new TaskCompletionSource();
        _first.Script = token => release.Task.WaitAsync(token);
        var asking = FindAsync().AsTask();
        // Its time-out alone is waited for, and no moment to ask the other.
        await Poll.UntilAsync(() => _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal((0, 0), (_second.Asked, (int)_set.Meter.HedgesSent));
        release.SetResult();
        Assert.NotNull(await asking);
    }

    private static EdgeOptions Options(int retries) => new() { UpstreamRetries = retries };

    private UpstreamSet Create(int retries) => new([_first, _second], null, Options(retries), _time, NullLogger.Instance);

    private async Task RecreateAsync(int retries)
    {
        await _set.DisposeAsync();
        _set = Create(retries);
    }

    private ValueTask<UpstreamObject?> FindAsync() => _set.FindAsync(Query, CancellationToken.None);

    private Task<UpstreamRead?> OpenAsync() => _set.OpenAsync(Query, new(0, ScriptedUpstream.Length), CancellationToken.None).AsTask();

    private async Task<UpstreamException> FailureAsync() => await Assert.ThrowsAsync<UpstreamException>(async () => await FindAsync());

    // Enough answers for a percentile.
    private async Task LearnAsync(ScriptedUpstream upstream)
    {
        for (var i = 0; i < FirstByteTimes.MinSamples; i++)
            await FindAsync();
        Assert.Equal(FirstByteTimes.MinSamples, upstream.Asked);
    }

    private sealed class Liar : IUpstream
    {
        public string Name => "liar";

        public bool IsStore => false;

        public (long Offset, long Length, long Total) Lie { get; set; }

        public bool Closed { get; private set; }

        public ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken) => ValueTask.FromResult<UpstreamObject?>(null);

        public ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken)
        {
            Closed = false;
            var info = new ObjectInfo(query.Key, Lie.Total, "v", "audio/ogg", null, DateTimeOffset.UnixEpoch);
            return ValueTask.FromResult<UpstreamRead?>(new(this, new(info), Lie.Offset, Lie.Length, Stream.Null, new Owner(() => Closed = true)));
        }

        private sealed class Owner(Action close) : IAsyncDisposable
        {
            public ValueTask DisposeAsync()
            {
                close();
                return ValueTask.CompletedTask;
            }
        }
    }

    private sealed class Lines : ILogger
    {
        public List<(int Id, string Text)> Entries { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Entries.Add((eventId.Id, formatter(state, exception)));
    }
}
