using Delivery.Edge.Fills;
using Delivery.Edge.Objects;
using Delivery.Edge.Peers;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;

namespace Delivery.Edge.Upstreams;

/// <summary>
/// The upstreams of a node in their order of failover: who asks here gets an answer that was checked, or one <see cref="UpstreamException"/> that says what went wrong.
/// </summary>
/// <remarks>
/// A question goes to the first upstream whose circuit is closed; to the next one at once when it fails; and beside it to the next one (else the same) when it takes longer than 95 in
/// 100 answers do, and then the first good answer counts. When all have failed, the round is made again after a moment. Retries and hedges are paid from
/// <see cref="RetryBudget"/>. "No such object" and "past its end" are answers; only that one store has no object of a name that is a digest of its content is asked of each further store
/// once before it is believed, because after a failover the first one may lag. Nothing else is asked then, and when they fail the absence stands.
/// An object that may change is not hedged from one store to another, as each store names versions in its own way.
/// </remarks>
internal sealed class UpstreamSet : IAsyncDisposable
{
    // Half of a network's usual hiccup; Polly spreads it, and doubles it for the second.
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(50);

    private readonly IReadOnlyList<UpstreamLink> _upstreams;
    private readonly SiblingRing? _ring;
    private readonly int _ringIndex;
    private readonly EdgeOptions _options;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _retries;
    private readonly Lock _gate = new();
    private TaskCompletionSource? _idle;
    private int _asking;

    /// <param name="upstreams">In order of failover.</param>
    /// <param name="siblings">The site's edges, asked before the upstream of the index; null when there are none.</param>
    /// <param name="options">Time-outs, retries, hedging.</param>
    /// <param name="time">The clock of all of them.</param>
    /// <param name="log">Receives 1021 to 1023.</param>
    public UpstreamSet(IReadOnlyList<IUpstream> upstreams, (int Index, IReadOnlyList<(string Id, IUpstream? Upstream)> Members)? siblings, EdgeOptions options, TimeProvider time, ILogger log)
    {
        (_options, _time) = (options, time);
        _upstreams = [.. upstreams.Select(Link)];
        if (siblings is { } ring)
        {
            _ringIndex = ring.Index;
            _ring = new([.. ring.Members.Select(m => new SiblingMember(m.Id, m.Upstream is { } upstream ? Link(upstream) : null))]);
        }

        Links = [.. _upstreams, .. _ring?.Members.Select(m => m.Link).OfType<UpstreamLink>() ?? []];
        var pipeline = new ResiliencePipelineBuilder { TimeProvider = time };
        if (options.UpstreamRetries > 0)
        {
            pipeline.AddRetry(new RetryStrategyOptions
            {
                MaxRetryAttempts = options.UpstreamRetries,
                Delay = RetryDelay,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                // Asked after the last attempt as well, for which nothing must be paid.
                ShouldHandle = retry => ValueTask.FromResult(
                    retry.Outcome.Exception is UpstreamException { CanRetry: true } && retry.AttemptNumber < options.UpstreamRetries && Budget.TrySpend()),
                OnRetry = _ =>
                {
                    Meter.Retried();
                    return default;
                },
            });
        }

        _retries = pipeline.Build();
        Meter.Watch(Links, Budget);

        UpstreamLink Link(IUpstream upstream) => new(upstream, Meter, time, log);
    }

    /// <summary>The upstreams that the options name.</summary>
    /// <param name="options">Validated.</param>
    /// <param name="store">Gives the store of an upstream of kind Store; whoever gives it disposes it after this.</param>
    /// <param name="peerKeys">Signs what peers and siblings are asked.</param>
    /// <param name="time">The clock of all of them.</param>
    /// <param name="log">Receives 1021 to 1023.</param>
    public static UpstreamSet Create(EdgeOptions options, Func<UpstreamOptions, IObjectStore> store, KeyRingFile? peerKeys, TimeProvider time, ILogger log)
    {
        var upstreams = new List<IUpstream>();
        (int, IReadOnlyList<(string, IUpstream?)>)? siblings = null;
        foreach (var one in options.Upstreams)
        {
            switch (one.Kind)
            {
                case UpstreamKind.Store:
                    upstreams.Add(new StoreUpstream(one.CalledName, store(one)));
                    break;
                case UpstreamKind.Http:
                    upstreams.Add(new HttpUpstream(one.CalledName, one.Address!, one.CaPath, options, time));
                    break;
                case UpstreamKind.Peer:
                    upstreams.Add(new PeerUpstream(one.CalledName, one.Address!, one.CaPath, isSibling: false, options, peerKeys!, time));
                    break;
                case UpstreamKind.Siblings:
                    siblings = (upstreams.Count, [.. one.Members.Select(m => (m.Id, m.Id == options.EdgeId
                        ? null
                        : (IUpstream?)new PeerUpstream($"{one.CalledName}/{m.Id}", m.Address, one.CaPath, isSibling: true, options, peerKeys!, time)))]);
                    break;
            }
        }

        return new(upstreams, siblings, options, time, log);
    }

    public RetryBudget Budget { get; } = new();

    public UpstreamMeter Meter { get; } = new();

    /// <summary>All upstreams, siblings last.</summary>
    public IReadOnlyList<UpstreamLink> Links { get; }

    /// <summary>Requests to upstreams whose answer is awaited, those that lost a hedge included.</summary>
    public int Asking
    {
        get
        {
            lock (_gate)
                return _asking;
        }
    }

    /// <summary>Whether a sibling may be asked for an object, so that a question from a sibling must not wait for the answer.</summary>
    public bool MayAskSibling(string path, Asker asker) => _ring is not null && !asker.IsSibling && _ring.HasOtherOwner(path);

    /// <summary>Reads an object's metadata; null when there is no such object.</summary>
    /// <exception cref="UpstreamException">No upstream answers.</exception>
    /// <exception cref="OperationCanceledException">The caller's token.</exception>
    public ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken) =>
        AskAsync(
            query,
            async (link, pass, token) =>
            {
                var found = await link.Upstream.FindAsync(query, token);
                link.End(pass, found is null ? FillOutcome.Absent : FillOutcome.Completed);
                return found;
            },
            cancellationToken);

    /// <summary>
    /// Opens a part of an object, checked against what was asked; null when there is no such object. What breaks while its content is read is an <see cref="UpstreamException"/> too.
    /// </summary>
    /// <exception cref="UpstreamException">No upstream answers, or none with what was asked.</exception>
    /// <exception cref="OperationCanceledException">The caller's token.</exception>
    public ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken) =>
        AskAsync<UpstreamRead>(
            query,
            async (link, pass, token) =>
            {
                var read = await link.Upstream.OpenAsync(query, range, token);
                if (read is null)
                {
                    link.End(pass, FillOutcome.Absent);
                    return null;
                }

                if (read.Offset == range.Offset && read.Length == Math.Min(range.Length, read.Object.Info.Length - range.Offset) && read.Length > 0)
                {
                    var body = new UpstreamBody(read, link, pass, _options.UpstreamIdleTimeout, _time);
                    return new(link.Upstream, read.Object, read.Offset, read.Length, body, body);
                }

                await read.DisposeAsync();
                throw new UpstreamException(FillOutcome.Contradictory, link.Name, "It sent another range than it was asked for.");
            },
            cancellationToken);

    /// <summary>
    /// Tells how a body ended, where the reader knows and the stream cannot: too slow as a whole, or not the bytes that it should be. What the stream has seen by itself counts once.
    /// </summary>
    public static void BodyEnded(UpstreamRead read, FillOutcome outcome) => (read.Content as UpstreamBody)?.End(outcome);

    /// <summary>An upstream's failure as a fill's outcome.</summary>
    public static FillOutcome OutcomeOf(Exception exception) => exception switch
    {
        UpstreamException known => known.Outcome,
        OperationCanceledException => FillOutcome.TimedOut,
        StoreException { Error: StoreError.RangeNotSatisfiable } => FillOutcome.PastEnd,
        StoreException { Error: StoreError.Denied or StoreError.Misconfigured } => FillOutcome.Denied,
        StoreException { Error: StoreError.Corrupt } => FillOutcome.Contradictory,
        _ => FillOutcome.Unavailable,
    };

    /// <summary>Waits until the last question has ended: those who ask have been stopped before.</summary>
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
        foreach (var link in Links)
        {
            if (link.Upstream is IAsyncDisposable owned)
                await owned.DisposeAsync();
        }

        Meter.Dispose();
    }

    internal static UpstreamException FailureOf(Exception exception, string upstream) => exception as UpstreamException
        ?? new(OutcomeOf(exception), upstream, exception is OperationCanceledException ? "It did not answer in time." : exception.Message, exception)
        {
            CanRetry = exception is StoreException { CanRetry: true },
        };

    private ValueTask<T?> AskAsync<T>(UpstreamQuery query, Func<UpstreamLink, BreakerPass, CancellationToken, ValueTask<T?>> ask, CancellationToken cancellationToken)
        where T : class
    {
        Budget.Earn();
        return _retries.ExecuteAsync(
            static (question, token) => question.Set.AskRoundAsync(question.Query, question.Ask, token), (Set: this, Query: query, Ask: ask), cancellationToken);
    }

    // Every upstream once, in order, until one answers.
    private async ValueTask<T?> AskRoundAsync<T>(UpstreamQuery query, Func<UpstreamLink, BreakerPass, CancellationToken, ValueTask<T?>> ask, CancellationToken cancellationToken)
        where T : class
    {
        var order = OrderFor(query);
        var next = 0;
        var isByContent = EdgeObject.IsNamedByContent(query.Path);
        var mayHedge = _options.UpstreamHedging && (isByContent || order.Count(link => link.Upstream.IsStore) < 2);
        var isAbsent = false;
        UpstreamException? failure = null;
        var canRetry = false;
        var running = new List<Attempt<T>>(2);
        try
        {
            while (true)
            {
                // 1. Somebody to ask.
                if (running.Count == 0)
                {
                    if (!TryEnterNext(order, ref next, query.Path, out var link, out var pass, onlyStores: isAbsent))
                        return isAbsent ? null : throw Failed(failure, canRetry);
                    running.Add(Start(link, pass, ask, hedges: false, cancellationToken));
                }

                // 2. An answer, or the moment for a second question.
                if (await FirstEndAsync(running, mayHedge) is not { } ended)
                {
                    mayHedge = false;
                    if (TryHedge(order, ref next, query.Path, running[0].Link, out var second, out var pass))
                        running.Add(Start(second, pass, ask, hedges: true, cancellationToken));
                    continue;
                }

                // 3. What it says.
                running.Remove(ended);
                using (ended)
                {
                    var (answer, wrong) = await ended.Task;
                    if (wrong is null && ended.Hedges)
                        Meter.HedgeWon();
                    if (wrong is null && answer is null && isByContent && ended.Link.Upstream.IsStore)
                    {
                        (isAbsent, mayHedge) = (true, false);
                        continue;
                    }

                    if (wrong is null)
                        return answer;
                    if (wrong.Outcome is FillOutcome.PastEnd or FillOutcome.Uncacheable)
                        throw wrong;
                    cancellationToken.ThrowIfCancellationRequested();
                    failure ??= wrong;
                    canRetry |= wrong.CanRetry;
                }
            }
        }
        finally
        {
            // It ends by itself, in its own time; DisposeAsync waits for it.
            foreach (var loser in running)
                _ = loser.DiscardAsync();
        }
    }

    private List<UpstreamLink> OrderFor(UpstreamQuery query)
    {
        var order = new List<UpstreamLink>(_upstreams.Count + 2);
        for (var i = 0; i < _upstreams.Count; i++)
        {
            if (i == _ringIndex && !query.Asker.IsSibling)
                _ring?.AddTo(order, query.Path);
            order.Add(_upstreams[i]);
        }

        if (query.Broke is { } broke && order.FindIndex(link => link.Upstream == broke) is >= 0 and var index)
        {
            order.Add(order[index]);
            order.RemoveAt(index);
        }

        return order;
    }

    private static bool TryEnterNext(List<UpstreamLink> order, ref int next, string path, out UpstreamLink link, out BreakerPass pass, bool onlyStores = false)
    {
        while (next < order.Count)
        {
            link = order[next++];
            if ((link.Upstream.IsStore || !onlyStores) && link.Breaker.TryEnter(out pass, path))
                return true;
        }

        (link, pass) = (null!, default);
        return false;
    }

    private bool TryHedge(List<UpstreamLink> order, ref int next, string path, UpstreamLink slow, out UpstreamLink link, out BreakerPass pass)
    {
        var before = next;
        if (!TryEnterNext(order, ref next, path, out link, out pass))
        {
            if (!slow.Breaker.TryEnter(out pass, path))
                return false;
            link = slow;
        }

        if (Budget.TrySpend())
        {
            Meter.HedgeSent();
            return true;
        }

        // Not asked, so still there to be asked when the first fails.
        link.Breaker.Forgotten(pass);
        next = before;
        return false;
    }

    private static UpstreamException Failed(UpstreamException? failure, bool canRetry)
    {
        // Nobody was asked: whoever waits for an upstream that is left alone would only wait.
        if (failure is null)
            return new(FillOutcome.Unavailable, "none", "Every upstream is left alone for a while, because it kept failing.");
        return failure.CanRetry == canRetry ? failure : new(failure.Outcome, failure.Upstream, failure.Message, failure) { CanRetry = canRetry };
    }

    // Null: the only question has taken longer than 95 in 100 do.
    private async ValueTask<Attempt<T>?> FirstEndAsync<T>(List<Attempt<T>> running, bool mayHedge)
        where T : class
    {
        var first = running[0];
        if (running.Count > 1)
            return await Task.WhenAny(first.Task, running[1].Task) == first.Task ? first : running[1];
        if (!first.Task.IsCompleted && mayHedge && first.Link.FirstByte.Percentile95() is { } usual)
        {
            using var ended = new CancellationTokenSource();
            var late = Task.Delay(usual, _time, ended.Token);
            var isLate = await Task.WhenAny(first.Task, late) == late;
            await ended.CancelAsync();
            if (isLate)
                return null;
        }

        await first.Task;
        return first;
    }

    private Attempt<T> Start<T>(
        UpstreamLink link, BreakerPass pass, Func<UpstreamLink, BreakerPass, CancellationToken, ValueTask<T?>> ask, bool hedges, CancellationToken cancellationToken)
        where T : class
    {
        lock (_gate)
            _asking++;
        link.Begin();
        var attempt = new Attempt<T>(link, hedges, _options.UpstreamFirstByteTimeout, _time, cancellationToken);
        attempt.Task = RunAsync(attempt, pass, ask);
        return attempt;
    }

    // Never throws: a loser has nobody to throw to.
    private async Task<(T? Answer, UpstreamException? Failure)> RunAsync<T>(Attempt<T> attempt, BreakerPass pass, Func<UpstreamLink, BreakerPass, CancellationToken, ValueTask<T?>> ask)
        where T : class
    {
        var link = attempt.Link;
        var started = _time.GetTimestamp();
        try
        {
            var answer = await ask(link, pass, attempt.Token);
            link.Answered(_time.GetElapsedTime(started));
            return (answer, null);
        }
        catch (Exception exception)
        {
            var failure = FailureOf(exception, link.Name);
            link.End(pass, attempt.IsGivenUp ? FillOutcome.Running : failure.Outcome, failure.Message);
            // What was not waited for took at least so long.
            if (attempt.IsGivenUp || failure.Outcome is FillOutcome.TimedOut or FillOutcome.PastEnd)
                link.FirstByte.Add(_time.GetElapsedTime(started));
            return (null, failure);
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

    /// <summary>One question to one upstream.</summary>
    private sealed class Attempt<T> : IDisposable
        where T : class
    {
        private readonly CancellationTokenSource _deadline;
        private readonly CancellationTokenRegistration _stop;
        private readonly CancellationToken _caller;
        private volatile bool _lost;

        public Attempt(UpstreamLink link, bool hedges, TimeSpan timeout, TimeProvider time, CancellationToken cancellationToken)
        {
            (Link, Hedges, _caller) = (link, hedges, cancellationToken);
            // CancelAfter on a source that was made with a TimeProvider goes by that provider's clock; a linked source would not.
            _deadline = new(timeout, time);
            _stop = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _deadline);
        }

        public UpstreamLink Link { get; }

        /// <summary>Asked beside another one.</summary>
        public bool Hedges { get; }

        public CancellationToken Token => _deadline.Token;

        /// <summary>Nobody waits for it any more.</summary>
        public bool IsGivenUp => _lost || _caller.IsCancellationRequested;

        public Task<(T? Answer, UpstreamException? Failure)> Task { get; set; } = null!;

        /// <summary>Ends it and gives back what it may have got all the same.</summary>
        public async Task DiscardAsync()
        {
            _lost = true;
            await _deadline.CancelAsync();
            var (answer, _) = await Task;
            if (answer is IAsyncDisposable read)
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
