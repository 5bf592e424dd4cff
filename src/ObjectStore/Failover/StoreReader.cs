using System.Runtime.ExceptionServices;

namespace Delivery.ObjectStore.Failover;

/// <summary>What one of the two stores said.</summary>
/// <param name="Value">Null: there is no such object.</param>
/// <param name="Visit">To be ended by whoever reads a body; of anything else it has ended.</param>
/// <param name="MayBeStale">The object may change, and it is not the primary's word.</param>
internal readonly record struct StoreAnswer<T>(T? Value, StoreVisit Visit, bool MayBeStale)
    where T : class;

/// <summary>Asks the primary, and the secondary when the primary fails or is late; for what cannot change also beside a primary that is slow.</summary>
/// <remarks><code>
///            ┌─ p95 passed, immutable, paid ──────▶ secondary beside it ──┐
/// primary ───┼─ FirstByteTimeout passed ──────────▶ secondary beside it ──┼─▶ the first good answer; of a secondary only an object that is there is one
///            └─ failed, or its circuit is open ───▶ secondary ────────────┘
/// </code></remarks>
internal sealed class StoreReader(IReadOnlyList<StoreLink> links, StoreRoles roles, FailoverOptions options, FailoverMetrics metrics, TimeProvider time) : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _idle;
    private int _asking;

    public RetryBudget Budget { get; } = new();

    /// <summary>Asks one question of an object.</summary>
    /// <exception cref="StoreException">Neither store answers, or only the secondary does and has no such object; or an answer that is an error: past the end.</exception>
    public async ValueTask<StoreAnswer<T>> AskAsync<T>(ObjectKey key, Func<IObjectStore, CancellationToken, ValueTask<T?>> ask, CancellationToken cancellationToken)
        where T : class
    {
        cancellationToken.ThrowIfCancellationRequested();
        Budget.Earn();
        var view = await roles.GetAsync(cancellationToken);
        var (primary, secondary) = (links[view.Latest], links[1 - view.Latest]);
        var isImmutable = StoreKeys.IsImmutable(key);
        var mayHedge = options.Hedging && isImmutable;
        StoreException? failure = null;
        string? said = null;

        var first = TryStart(primary, key, ask, cancellationToken);
        Attempt<T>? second = null;
        var hasAskedSecond = false;
        try
        {
            while (true)
            {
                // 1. The secondary's turn: the primary has failed, or may not be asked.
                if (first is null && second is null)
                {
                    if (hasAskedSecond || (second = AskSecond(hedges: false)) is null)
                        throw Failed(key, failure, said);
                }

                // 2. The primary alone: an answer, the moment for a second question, or too late.
                else if (first is not null && !hasAskedSecond)
                {
                    var usual = mayHedge ? primary.FirstByte.Percentile95() : null;
                    var isHedge = usual < options.FirstByteTimeout;
                    if (!await EndsWithinAsync(first.Task, (isHedge ? usual!.Value : options.FirstByteTimeout) - time.GetElapsedTime(first.StartedAt)))
                    {
                        mayHedge = false;
                        if (!isHedge)
                        {
                            // It may still answer; but it has failed a listener who waits.
                            first.Visit.End(ReadOutcome.Late);
                            roles.Suspect();
                            failure = new StoreException(StoreError.Unavailable, $"It did not answer within {options.FirstByteTimeout.TotalSeconds} s.");
                            second = AskSecond(hedges: false);
                        }
                        else if (Budget.TrySpend())
                        {
                            second = AskSecond(hedges: true);
                        }

                        continue;
                    }
                }

                // 3. Whoever is first.
                if (first is not null && second is not null)
                    await Task.WhenAny(first.Task, second.Task);
                else
                    await (first ?? second)!.Task;

                if (first is { Task.IsCompleted: true })
                {
                    using var ended = first;
                    first = null;
                    var (value, error) = await ended.Task;
                    cancellationToken.ThrowIfCancellationRequested();
                    if (error is not null && !IsAnswer(error))
                    {
                        failure = AsStoreException(error, options.AnswerTimeout);
                        ended.Visit.End(ReadOutcome.Failed, failure);
                        roles.Suspect();
                        continue;
                    }

                    End(ended.Visit, value);
                    if (error is ArgumentException)
                        ExceptionDispatchInfo.Throw(error);
                    // What is there and cannot change needs nobody's word.
                    if ((value is not null && isImmutable) || await roles.IsStillPrimaryAsync(view, cancellationToken))
                        return error is null ? new(value, ended.Visit, false) : throw error;
                    return value is not null
                        ? new(value, ended.Visit, true)
                        : throw new StoreException(StoreError.Unavailable, $"The primary is being switched, and until then nobody knows what '{key}' is.", error);
                }

                if (second is { Task.IsCompleted: true })
                {
                    using var ended = second;
                    second = null;
                    var (value, error) = await ended.Task;
                    cancellationToken.ThrowIfCancellationRequested();
                    if (error is null && value is not null)
                    {
                        End(ended.Visit, value);
                        if (ended.Hedges)
                            metrics.HedgeWon();
                        return new(value, ended.Visit, !isImmutable);
                    }

                    // What cannot change ends where it ends. Every other "there is none" or "past its end" may be an old truth, and is no answer.
                    if (error is StoreException { Error: StoreError.RangeNotSatisfiable } && isImmutable && first is null)
                    {
                        ended.Visit.End(ReadOutcome.Answered);
                        throw error;
                    }

                    if (error is not null && !IsAnswer(error))
                        ended.Visit.End(ReadOutcome.Failed, AsStoreException(error, options.AnswerTimeout));
                    else
                        ended.Visit.End(ReadOutcome.Answered);
                    said = error?.Message ?? "It has no such object, which may have been written since.";
                }
            }
        }
        finally
        {
            // They end by themselves, in their own time; DisposeAsync waits for them.
            _ = first?.DiscardAsync(time);
            _ = second?.DiscardAsync(time);
        }

        Attempt<T>? AskSecond(bool hedges)
        {
            hasAskedSecond = true;
            var attempt = TryStart(secondary, key, ask, cancellationToken, hedges);
            if (hedges && attempt is not null)
                metrics.Hedged();
            else if (!hedges)
                metrics.FellOver();
            return attempt;
        }
    }

    /// <summary>Opens an object in one of the stores, to go on with a body that broke; null when that store is left alone, fails, or has no such object.</summary>
    public async ValueTask<(ObjectRead Read, StoreVisit Visit)?> TryOpenAsync(StoreLink link, ObjectKey key, ObjectRange range, CancellationToken cancellationToken)
    {
        using var attempt = TryStart(link, key, (store, token) => store.OpenReadAsync(key, range, token), cancellationToken);
        if (attempt is null)
            return null;
        var (read, error) = await attempt.Task;
        if (cancellationToken.IsCancellationRequested)
        {
            attempt.Visit.End(ReadOutcome.GivenUp);
            if (read is not null)
                await read.DisposeAsync();
            cancellationToken.ThrowIfCancellationRequested();
        }

        if (error is not null && !IsAnswer(error))
            attempt.Visit.End(ReadOutcome.Failed, AsStoreException(error, options.FirstByteTimeout));
        else
            End(attempt.Visit, read);
        return read is null ? null : (read, attempt.Visit);
    }

    /// <summary>Waits until the last question has ended.</summary>
    public async ValueTask DisposeAsync()
    {
        Task idle;
        lock (_gate)
        {
            _idle ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_asking == 0)
                _idle.TrySetResult();
            idle = _idle.Task;
        }

        await idle;
    }

    /// <summary>What a driver threw, as one of ours.</summary>
    public static StoreException AsStoreException(Exception error, TimeSpan timeout) => error switch
    {
        StoreException known => known,
        OperationCanceledException => new StoreException(StoreError.Unavailable, $"It did not answer within {timeout.TotalSeconds} s.", error),
        _ => new StoreException(StoreError.Unavailable, error.Message, error),
    };

    // A range that is none is the caller's, wherever it is asked.
    private static bool IsAnswer(Exception error) => error is ArgumentException or StoreException { Error: StoreError.RangeNotSatisfiable };

    private static void End<T>(StoreVisit visit, T? value)
    {
        if (value is ObjectRead)
            visit.Opened();
        else
            visit.End(ReadOutcome.Answered);
    }

    private static StoreException Failed(ObjectKey key, StoreException? primary, string? secondary)
    {
        const string LeftAlone = "It is left alone for a while, as it kept failing.";
        // Of an operator's error the operator must hear, unless the secondary may answer later.
        var error = secondary is null && primary is { Fault: StoreFault.Operator } ? primary.Error : StoreError.Unavailable;
        return new(error, $"'{key}' cannot be had. The primary: {primary?.Message ?? LeftAlone} The secondary: {secondary ?? LeftAlone}", primary);
    }

    private async ValueTask<bool> EndsWithinAsync(Task task, TimeSpan wait)
    {
        if (task.IsCompleted)
            return true;
        if (wait <= TimeSpan.Zero)
            return false;
        using var ended = new CancellationTokenSource();
        var isFirst = await Task.WhenAny(task, Task.Delay(wait, time, ended.Token)) == task;
        await ended.CancelAsync();
        return isFirst;
    }

    private Attempt<T>? TryStart<T>(StoreLink link, ObjectKey key, Func<IObjectStore, CancellationToken, ValueTask<T?>> ask, CancellationToken cancellationToken, bool hedges = false)
        where T : class
    {
        if (!link.TryEnter(key, out var visit))
            return null;
        lock (_gate)
            _asking++;
        var attempt = new Attempt<T>(visit, hedges, options.AnswerTimeout, time, cancellationToken);
        attempt.Task = RunAsync(attempt, ask);
        return attempt;
    }

    // Never throws: a loser has nobody to throw to.
    private async Task<(T? Value, Exception? Error)> RunAsync<T>(Attempt<T> attempt, Func<IObjectStore, CancellationToken, ValueTask<T?>> ask)
        where T : class
    {
        try
        {
            var value = await ask(attempt.Visit.Link.Store, attempt.Token);
            attempt.Visit.Link.FirstByte.Add(time.GetElapsedTime(attempt.StartedAt));
            return (value, null);
        }
        catch (Exception e)
        {
            return (null, e);
        }
        finally
        {
            lock (_gate)
            {
                if (--_asking == 0)
                    _idle?.TrySetResult();
            }
        }
    }

    /// <summary>One question to one store.</summary>
    private sealed class Attempt<T> : IDisposable
        where T : class
    {
        private readonly CancellationTokenSource _deadline;
        private readonly CancellationTokenRegistration _stop;

        public Attempt(StoreVisit visit, bool hedges, TimeSpan timeout, TimeProvider time, CancellationToken cancellationToken)
        {
            (Visit, Hedges, StartedAt) = (visit, hedges, time.GetTimestamp());
            // A source that was made with a TimeProvider goes by that provider's clock; a linked source would not.
            _deadline = new(timeout, time);
            _stop = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _deadline);
        }

        public StoreVisit Visit { get; }

        /// <summary>Asked beside another one that had not failed.</summary>
        public bool Hedges { get; }

        public long StartedAt { get; }

        public CancellationToken Token => _deadline.Token;

        public Task<(T? Value, Exception? Error)> Task { get; set; } = null!;

        /// <summary>Ends it and gives back what it may have got all the same.</summary>
        public async Task DiscardAsync(TimeProvider time)
        {
            // What was not waited for took at least so long; leaving it out would make a slow store look fast.
            if (!Task.IsCompleted)
                Visit.Link.FirstByte.Add(time.GetElapsedTime(StartedAt));
            Visit.End(ReadOutcome.GivenUp);
            await _deadline.CancelAsync();
            var (value, _) = await Task;
            if (value is IAsyncDisposable read)
                await read.DisposeAsync();
            Dispose();
        }

        public void Dispose()
        {
            _stop.Dispose();
            _deadline.Dispose();
        }
    }
}
