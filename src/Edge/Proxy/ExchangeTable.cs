using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using Delivery.Edge.Cache;
using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Proxy;

/// <summary>Every exchange under way: requests that miss the same response share one.</summary>
[SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "The source lives as long as the node; StopAsync cancels it.")]
internal sealed partial class ExchangeTable(
    OriginPool origins, ResponseTable responses, ChunkCache cache, FillBuffers buffers, FreshnessPolicy policy, EdgeOptions options, ProxyMeter meter, TimeProvider time, ILogger log)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Exchange> _joinable = new(StringComparer.Ordinal);
    private readonly HashSet<Exchange> _running = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    // Names bodies of this process: the disk tier may still hold those of one before.
    private readonly string _process = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
    private long _bodies;

    /// <summary>Exchanges under way.</summary>
    public int Running
    {
        get
        {
            lock (_gate)
                return _running.Count;
        }
    }

    /// <summary>Joins the exchange of this URL and variant, or leads one.</summary>
    /// <param name="call">Made when this request leads: its own fields, copied.</param>
    /// <param name="request">The request's fields, copied when it leads.</param>
    /// <param name="stored">The stored response that is to be revalidated.</param>
    /// <param name="join">False: asks by itself, as others may not share the answer.</param>
    /// <param name="background">Nobody waits for it, and it goes on all the same.</param>
    public ExchangeLease JoinOrLead(
        string key, CacheDirectives directives, IHeaderDictionary request, Func<UpstreamCall> call, StoredResponse? stored, bool join, bool background = false)
    {
        var collapseKey = responses.CollapseKey(key, request);
        Exchange exchange;
        lock (_gate)
        {
            if (join && _joinable.TryGetValue(collapseKey, out var present) && MayJoin(present, directives))
            {
                present.Want();
                return new(this, present, isLeader: false);
            }

            exchange = new Exchange(key, collapseKey);
            exchange.Want();
            if (background)
                exchange.Want();
            _running.Add(exchange);
            if (join)
                _joinable[collapseKey] = exchange;
        }

        // Detached: the exchange lives by its own deadlines, whatever becomes of the request that led it.
        var own = ForwardedFields.CopyOf(request);
        var question = call();
        _ = Task.Run(() => RunAsync(exchange, question, own, directives, stored));
        return new(this, exchange, isLeader: true);
    }

    /// <summary>
    /// Takes over the answer to a request that went by itself, when it may be stored; null when it may not, and the reply stays the caller's.
    /// </summary>
    public ExchangeLease? TryAdopt(string key, UpstreamReply reply, IHeaderDictionary request, CacheDirectives directives, out NoStoreReason why)
    {
        var freshness = policy.Evaluate(reply.Status, reply.Fields, reply.RequestedAt, reply.ReceivedAt);
        why = WhyNotStored(reply, request, directives, freshness);
        if (why != NoStoreReason.None)
        {
            meter.NotStored(why);
            return null;
        }

        var exchange = new Exchange(key, "");
        exchange.Want();
        lock (_gate)
            _running.Add(exchange);
        var response = StoredResponse.Of(key, reply, freshness, policy, request, NewBody(key));
        var body = new SharedBody(response, cache.Sequence, responses.IsProven(key), cache, buffers);
        exchange.Publish(new(ExchangeResult.Shared, reply.Status, response, body), body.Join());
        _ = Task.Run(() => StoreAsync(exchange, response, body, reply));
        return new(this, exchange, isLeader: true);
    }

    /// <summary>RFC 9111 §4.4: what is stored of a URL leaves, and what is under way for it is not stored.</summary>
    public void Invalidate(string key)
    {
        lock (_gate)
        {
            foreach (var exchange in _running)
            {
                if (exchange.Key != key)
                    continue;
                exchange.Doomed = true;
                Unjoin(exchange);
            }

            responses.Invalidate(key);
        }
    }

    /// <summary>Cancels what is under way and returns when all of it has ended.</summary>
    public async Task StopAsync()
    {
        await _stopping.CancelAsync();
        lock (_gate)
        {
            if (_running.Count == 0)
                _idle.TrySetResult();
        }

        await _idle.Task;
    }

    internal void Leave(Exchange exchange, bool isLeader)
    {
        if (isLeader)
            exchange.LeaderLeft();
        bool unwanted;
        lock (_gate)
        {
            unwanted = exchange.Leave();
            if (unwanted)
                Unjoin(exchange);
        }

        if (unwanted)
            exchange.GiveUp();
    }

    // Before its head has come, any: they ask at the same time. After it, only who may have that response from a store.
    private bool MayJoin(Exchange exchange, CacheDirectives directives) =>
        !exchange.Head.IsCompletedSuccessfully || exchange.Head.Result.Response is not { } response || response.Freshness.Judge(directives, time.GetUtcNow()) != Reuse.Validate;

    private async Task RunAsync(Exchange exchange, UpstreamCall call, IHeaderDictionary request, CacheDirectives directives, StoredResponse? stored)
    {
        var handedOver = false;
        try
        {
            using var cancel = CancellationTokenSource.CreateLinkedTokenSource(exchange.Unwanted, _stopping.Token);
            var reply = await origins.SendAsync(call, cancel.Token);
            if (reply.Failure != UpstreamFailure.None)
            {
                Unregister(exchange);
                exchange.Publish(new(ExchangeResult.Failed, 0, Failure: reply.Failure));
                return;
            }

            if (reply.Status == StatusCodes.Status304NotModified && stored is not null)
            {
                var refreshed = stored.Refresh(reply, policy, request);
                reply.Dispose();
                meter.Revalidated(changed: false);
                lock (_gate)
                {
                    if (!exchange.Doomed)
                        responses.Replace(stored, refreshed);
                }

                Unregister(exchange);
                exchange.Publish(new(ExchangeResult.Refreshed, StatusCodes.Status304NotModified, refreshed));
                return;
            }

            if (stored is not null)
                meter.Revalidated(changed: true);
            var freshness = policy.Evaluate(reply.Status, reply.Fields, reply.RequestedAt, reply.ReceivedAt);
            // RFC 5861 §4: a stored response that may stand in for an error is not given up for it.
            var why = reply.IsServerError && stored?.Freshness.StaleIfError > TimeSpan.Zero ? NoStoreReason.Status : WhyNotStored(reply, request, directives, freshness);
            if (why != NoStoreReason.None)
            {
                meter.NotStored(why);
                if (!reply.IsServerError && why is not (NoStoreReason.RequestNoStore or NoStoreReason.NoBuffers or NoStoreReason.Authorization))
                    responses.Pass(exchange.Key, time.GetUtcNow() + options.Proxy.HitForMiss);
                // What has just been replaced upstream by something that may not be stored.
                if (stored is not null && reply.Status is >= 200 and < 300)
                    responses.Remove(stored);
                Unregister(exchange);
                exchange.Publish(new(ExchangeResult.Private, reply.Status, Why: why), reply);
                return;
            }

            var response = StoredResponse.Of(exchange.Key, reply, freshness, policy, request, NewBody(exchange.Key));
            var body = new SharedBody(response, cache.Sequence, responses.IsProven(exchange.Key), cache, buffers);
            responses.LearnNames(exchange.Key, response.Selection.Names);
            Rename(exchange, request);
            exchange.Publish(new(ExchangeResult.Shared, reply.Status, response, body), body.Join());
            handedOver = true;
            await StoreAsync(exchange, response, body, reply);
        }
        catch (OperationCanceledException)
        {
            exchange.Publish(new(ExchangeResult.Failed, 0, Failure: UpstreamFailure.ProxyInternalResponse));
        }
        catch (Exception exception)
        {
            // A detached task has nobody to throw to.
            LogBroken(log, exchange.Key, exception);
            exchange.Publish(new(ExchangeResult.Failed, 0, Failure: UpstreamFailure.HttpProtocolError));
        }
        finally
        {
            if (!handedOver)
                Ended(exchange);
        }
    }

    private async Task StoreAsync(Exchange exchange, StoredResponse response, SharedBody body, UpstreamReply reply)
    {
        try
        {
            await body.FillAsync(reply, options.Proxy.MaxStoredBytes, _stopping.Token);
            if (reply.Failure != UpstreamFailure.None)
            {
                meter.Failed(reply.Failure);
                LogCut(log, exchange.Key, body.Progress.Landed, reply.Failure);
            }

            if (!body.IsStored)
            {
                if (body.Progress.Outcome == BodyOutcome.Completed)
                    meter.NotStored(NoStoreReason.TooLarge);
                return;
            }

            // Whole, and only now.
            lock (_gate)
            {
                if (!exchange.Doomed)
                    responses.Add(response with { Length = body.Progress.Landed });
            }

            meter.Stored();
        }
        catch (Exception exception)
        {
            LogBroken(log, exchange.Key, exception);
        }
        finally
        {
            reply.Dispose();
            Ended(exchange);
        }
    }

    private NoStoreReason WhyNotStored(UpstreamReply reply, IHeaderDictionary request, CacheDirectives directives, ResponseFreshness freshness)
    {
        var why = Storability.Evaluate(policy, isGet: true, request, directives, reply.Status, reply.Fields, freshness);
        if (why == NoStoreReason.None && reply.HasBody && (reply.Length ?? 0) > options.Proxy.MaxStoredBytes)
            why = NoStoreReason.TooLarge;
        // The first buffer is reserved before anyone is told that there is a body to share.
        if (why == NoStoreReason.None && buffers.TryReserve(1) == 0)
            why = NoStoreReason.NoBuffers;
        return why;
    }

    private ObjectHash NewBody(string key) =>
        ObjectHash.OfVersion(key, string.Create(CultureInfo.InvariantCulture, $"{_process}-{Interlocked.Increment(ref _bodies)}"), 0);

    private void Rename(Exchange exchange, IHeaderDictionary request)
    {
        var collapseKey = responses.CollapseKey(exchange.Key, request);
        lock (_gate)
        {
            if (!_joinable.TryGetValue(exchange.CollapseKey, out var present) || present != exchange)
                return;
            _joinable.Remove(exchange.CollapseKey);
            exchange.CollapseKey = collapseKey;
            _joinable[collapseKey] = exchange;
        }
    }

    private void Unregister(Exchange exchange)
    {
        lock (_gate)
            Unjoin(exchange);
    }

    private void Unjoin(Exchange exchange)
    {
        if (_joinable.TryGetValue(exchange.CollapseKey, out var present) && present == exchange)
            _joinable.Remove(exchange.CollapseKey);
    }

    private void Ended(Exchange exchange)
    {
        lock (_gate)
        {
            Unjoin(exchange);
            _running.Remove(exchange);
            if (_running.Count == 0 && _stopping.IsCancellationRequested)
                _idle.TrySetResult();
        }
    }

    [LoggerMessage(1040, LogLevel.Warning, "The body of {Key} broke off upstream after {Landed} bytes: {Failure}")]
    private static partial void LogCut(ILogger logger, string key, long landed, UpstreamFailure failure);

    [LoggerMessage(1041, LogLevel.Error, "The exchange for {Key} failed inside the edge")]
    private static partial void LogBroken(ILogger logger, string key, Exception exception);
}

/// <summary>A request's hold on an exchange.</summary>
internal sealed class ExchangeLease(ExchangeTable table, Exchange exchange, bool isLeader) : IDisposable
{
    private int _released;

    public bool IsLeader { get; } = isLeader;

    public Task<ExchangeHead> Head => exchange.Head;

    public UpstreamReply? TakePrivate() => IsLeader ? exchange.Take<UpstreamReply>() : null;

    /// <summary>A place in the body. The leader's was there before the first byte, so that upstream does not run ahead of it.</summary>
    public SharedBody.Reader Join(SharedBody body) => (IsLeader ? exchange.Take<SharedBody.Reader>() : null) ?? body.Join();

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
            table.Leave(exchange, IsLeader);
    }
}
