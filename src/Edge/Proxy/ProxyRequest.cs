using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Delivery.Edge.Freshness;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Delivery.Edge.Ranges;
using Delivery.Edge.Requests;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Proxy;

/// <summary>
/// The life of a request in http mode, in order:
/// <list type="number">
/// <item>limit: connections, header sizes, body sizes and slow clients are Kestrel's limits (<see cref="KestrelSetup"/>), met before this code runs; here the client's rates, and the node's work</item>
/// <item>admit: method, framing, target, loops; then the fields of the hop are taken away</item>
/// <item>plan: from the stored responses; else join or lead an exchange with upstream, or pass</item>
/// <item>answer: preconditions, range, fields; what is not stored goes through as it is</item>
/// <item>send: from the body that is landing, from the cache, or from upstream</item>
/// <item>account</item>
/// </list>
/// Used again for the next request of its connection.
/// </summary>
[SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "What is held is released in RunAsync's finally.")]
internal sealed partial class ProxyRequest(ProxyParts parts) : IRequest
{
    // Plans of one request. Each further one follows an exchange that turned out to be another variant's, so the bound is never met in health.
    private const int MaxPlans = 8;

    private const int FlushBytes = Chunk.SizeBytes;

    // What goes through unstored, in pieces of what a socket read gives.
    private const int PassBytes = 16 * 1024;

    private static readonly string[] ConditionFields = ["Range", "If-Range", "If-None-Match", "If-Modified-Since"];
    private static readonly string[] OfThisConnection = ["Host", "Content-Length", "Expect"];

    private readonly BodySender _sender = new();
    private readonly Allowance _allowance = new(parts.Limits);
    private IFeatureCollection _features = null!;
    private IHttpRequestFeature _request = null!;
    private IHttpResponseFeature _response = null!;
    private long _started;
    private bool _isHead;
    private bool _isGet;
    private string _host = "";
    private string _target = "";
    private string _key = "";
    private CacheDirectives _directives = CacheDirectives.None;
    private RangeHeader _range;
    private ExchangeLease? _lease;
    private SharedBody.Reader? _reader;
    private UpstreamReply? _reply;
    private ProxyResult _result;
    private CacheState _cache;
    private bool _clientLeft;
    private bool _firstByteSeen;
    private bool _flushed;

    public void Begin(IFeatureCollection features)
    {
        _features = features;
        _request = features.Get<IHttpRequestFeature>()!;
        _response = features.Get<IHttpResponseFeature>()!;
        _sender.Attach(features.Get<IHttpResponseBodyFeature>()!);
        _allowance.Attach(features);
        _started = parts.Time.GetTimestamp();
        _isHead = _isGet = _clientLeft = _firstByteSeen = _flushed = false;
        _host = _target = _key = "";
        _directives = CacheDirectives.None;
        _range = RangeHeader.None;
        _result = ProxyResult.Refused;
        _cache = CacheState.None;
    }

    public async Task RunAsync()
    {
        try
        {
            // 1. Limit. 2. Admit. 1. Limit what is to be worked on.
            if (!Limit() || !Admit() || !Start())
                return;

            // 3. Plan.
            if (WhyPass() is { } reason)
            {
                await PassAsync(reason);
                return;
            }

            for (var plans = 0; plans < MaxPlans; plans++)
            {
                // 4, 5. Answer and send, inside.
                if (await PlanAsync())
                    return;
                Release();
            }

            await PassAsync("miss");
        }
        catch (OperationCanceledException) when (Aborted.IsCancellationRequested)
        {
            // The client left while this request waited. That is no error, and what others wait for goes on.
            _clientLeft = true;
        }
        finally
        {
            Release();
            if (_sender.Started)
                _allowance.HandedOver();
        }
    }

    // 6. Account.
    public void Account()
    {
        if (_clientLeft)
            parts.Meter.ClientLeft();
        else
            parts.Meter.RequestEnded(_response.StatusCode, _cache);
        parts.ProxyMeter.RequestEnded(_result);
        parts.Meter.Sent(_sender.SentBytes);
        _allowance.End();
    }

    // 1. Limit.
    private bool Limit()
    {
        // A node that stops sends its clients elsewhere.
        if (parts.Limits.IsStopping && (_request.Protocol == HttpProtocol.Http11 || _request.Protocol == HttpProtocol.Http10))
            _response.Headers.Connection = "close";
        if (_allowance.TryEnter(_features.Get<IHttpConnectionFeature>()?.RemoteIpAddress, _started))
            return true;
        _response.Headers.RetryAfter = _allowance.RetryAfterSeconds.ToString(CultureInfo.InvariantCulture);
        return Refuse(StatusCodes.Status429TooManyRequests);
    }

    private bool Start() => _allowance.TryStart() || RefuseOverload();

    private bool RefuseOverload()
    {
        _response.Headers.RetryAfter = parts.RetryAfter;
        return Refuse(StatusCodes.Status503ServiceUnavailable);
    }

    // 2. Admit.
    private bool Admit()
    {
        var fields = _request.Headers;
        var hasBody = _features.Get<IHttpRequestBodyDetectionFeature>()!.CanHaveBody;
        // RFC 9112 §6.1: both framings at once is how requests are smuggled. Kestrel goes by the coding, and moves the length to a field of its own.
        if (fields.TransferEncoding.Count > 0 && (fields.ContentLength is not null || fields.ContainsKey("X-Content-Length")))
            return Refuse(StatusCodes.Status400BadRequest);
        switch (_request.Method)
        {
            case "GET":
                _isGet = true;
                break;
            case "HEAD":
                _isHead = true;
                break;
            case "CONNECT" or "TRACE":
                // RFC 9110 §9.3.8: TRACE would show one client's fields, this edge's among them; §9.3.6: this is no tunnel.
                _response.Headers.Allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                return Refuse(StatusCodes.Status405MethodNotAllowed);
        }

        // RFC 9110 §9.3.1: content in a GET has no meaning, and a cache that ignores it would answer another question.
        if (hasBody && (_isGet || _isHead))
            return Refuse(StatusCodes.Status400BadRequest);
        if (fields.ContentLength > parts.Options.Proxy.MaxRequestBodyBytes)
            return Refuse(StatusCodes.Status413PayloadTooLarge);
        if (_request.RawTarget == "*")
        {
            // Asks about this server (RFC 9110 §9.3.7).
            _response.StatusCode = StatusCodes.Status204NoContent;
            return false;
        }

        _target = RequestLine.OriginForm(_request.RawTarget).ToString();
        if (!_target.StartsWith('/') || fields.Host.Count != 1 || fields.Host[0] is not { Length: > 0 } host)
            return Refuse(StatusCodes.Status400BadRequest);
        _host = host;
        _key = KeyOf(_request.Scheme, host, _target);

        // RFC 8586 §2.2, RFC 9110 §7.6.3: it has been here before.
        if (NamesThisEdge(fields["CDN-Loop"], 0) || NamesThisEdge(fields.Via, 1))
        {
            _response.Headers["Proxy-Status"] = $"{parts.Options.EdgeId}; error=proxy_loop_detected";
            return Refuse(StatusCodes.Status508LoopDetected);
        }

        ForwardedFields.StripHopByHop(fields);
        _directives = CacheDirectives.OfRequest(fields);
        // RFC 9110 §14.2: Range is defined for GET alone.
        _range = _isGet ? RangeHeader.Parse(fields.Range) : RangeHeader.None;
        return true;
    }

    // 3. Plan: what never comes from the cache, with the reason as RFC 9211 §2.2 names it.
    private string? WhyPass()
    {
        if (!_isGet && !_isHead)
            return "method";
        // RFC 9111 §4.3.2: these are for the origin to judge.
        if (_request.Headers.IfMatch.Count > 0 || _request.Headers.IfUnmodifiedSince.Count > 0)
            return "bypass";
        return _directives.NoStore ? "request" : null;
    }

    // 3. Plan, from the stored responses or with upstream; false: what came is another variant's, so plan again.
    private async Task<bool> PlanAsync()
    {
        var fields = _request.Headers;
        var now = parts.Time.GetUtcNow();
        var stored = parts.Responses.Find(_key, fields, out var hasOthers);
        if (stored is not null && !stored.IsIn(parts.Cache))
        {
            // Evicted, a part at least: what is left is of no use.
            parts.Responses.RemoveEvicted(stored);
            stored = null;
        }

        if (stored is not null)
        {
            switch (stored.Freshness.Judge(_directives, now))
            {
                case Reuse.Fresh or Reuse.StaleAllowed:
                    await HitAsync(stored, ProxyResult.Hit);
                    return true;
                case Reuse.StaleWhileRevalidate:
                    // Behind this request's back; who comes meanwhile joins it.
                    Exchange(stored, join: true, background: true).Dispose();
                    await HitAsync(stored, ProxyResult.Stale);
                    return true;
            }
        }

        if (_directives.OnlyIfCached)
        {
            _response.Headers["Cache-Status"] = Status("fwd=miss; detail=only-if-cached");
            Answer(StatusCodes.Status504GatewayTimeout);
            return true;
        }

        var reason = stored is null ? hasOthers ? "vary-miss" : "uri-miss" : stored.Freshness.FreshFor(now) > TimeSpan.Zero ? "request" : "stale";
        // A part of what is not stored: only the part is fetched, and parts are not stored. HEAD brings nothing to store.
        if (_isHead || (stored is null && (!_range.IsNone || parts.Responses.IsPass(_key, now))))
        {
            await PassAsync(reason, stored);
            return true;
        }

        if (!_allowance.TryMiss())
        {
            RefuseOverload();
            return true;
        }

        // Credentials may make an answer this user's alone, so nobody waits for it.
        _lease = Exchange(stored, join: fields.Authorization.Count == 0);
        if (!_lease.IsLeader)
            parts.Meter.Collapsed();
        var head = await _lease.Head.WaitAsync(Aborted);
        switch (head.Result)
        {
            case ExchangeResult.Shared or ExchangeResult.Refreshed when !_lease.IsLeader && !head.Response!.Selection.Matches(fields):
                return false;
            case ExchangeResult.Shared:
                await ShareAsync(head, reason);
                return true;
            case ExchangeResult.Refreshed:
                await HitAsync(head.Response!, ProxyResult.Revalidated, $"fwd={reason}; fwd-status=304; stored{(_lease.IsLeader ? "" : "; collapsed")}");
                return true;
            default:
                if ((head.Result == ExchangeResult.Failed || IsServerError(head.Status)) && stored?.Freshness.MayServeOnError(_directives, parts.Time.GetUtcNow()) == true)
                    await HitAsync(stored, ProxyResult.Stale, head.Status > 0 ? $"fwd={reason}; fwd-status={head.Status}" : $"fwd={reason}; detail={head.Failure.Token()}");
                else if (head.Result == ExchangeResult.Failed)
                    AnswerFailed(head.Failure, StatusCodes.Status400BadRequest, reason);
                else if ((_reply = _lease.TakePrivate()) is { } reply)
                    await SendPrivateAsync(reply, reason, stripped: true);
                else
                    await PassAsync(reason, stored);
                return true;
        }
    }

    private static bool IsServerError(int status) => status is 500 or 502 or 503 or 504;

    // The question of an exchange is for the whole response, whatever part or condition this client asks with: others share it, and the cache answers conditions itself.
    private ExchangeLease Exchange(StoredResponse? stored, bool join, bool background = false) => parts.Exchanges.JoinOrLead(_key, _directives, _request.Headers, () =>
    {
        var call = Call(null);
        var fields = call.Fields;
        foreach (var name in ConditionFields)
            fields.Remove(name);
        if (stored?.ETag is { } etag)
            fields.IfNoneMatch = etag;
        if (stored?.LastModified is { } modified)
            fields.IfModifiedSince = modified;
        return call;
    }, stored, join, background);

    private UpstreamCall Call(HttpContent? body)
    {
        var fields = ForwardedFields.CopyOf(_request.Headers);
        // The body's own length is the content's to say; who expects 100 (RFC 9110 §10.1.1) gets it from Kestrel.
        foreach (var name in OfThisConnection)
            fields.Remove(name);
        var edge = parts.Options.EdgeId;
        fields.Append("Via", $"{_request.Protocol[(_request.Protocol.IndexOf('/', StringComparison.Ordinal) + 1)..]} {edge}");
        fields.Append("CDN-Loop", edge);
        // Not appended: this edge is the first whose word counts.
        fields["X-Forwarded-For"] = _features.Get<IHttpConnectionFeature>()?.RemoteIpAddress?.ToString();
        fields["X-Forwarded-Proto"] = _request.Scheme;
        return new(_request.Method, _host, _target, fields) { Body = body };
    }

    // 3. Plan: upstream, for this request alone.
    private async Task PassAsync(string reason, StoredResponse? stored = null)
    {
        Release();
        if (!_allowance.TryMiss())
        {
            RefuseOverload();
            return;
        }

        var hasBody = _features.Get<IHttpRequestBodyDetectionFeature>()!.CanHaveBody;
        using var body = hasBody ? new RequestBody(_request.Body, _request.Headers.ContentLength) : null;
        _reply = await parts.Origins.SendAsync(Call(body), Aborted);
        var reply = _reply;
        if (reply.Failure != UpstreamFailure.None || IsServerError(reply.Status))
        {
            if ((_isGet || _isHead) && stored?.Freshness.MayServeOnError(_directives, parts.Time.GetUtcNow()) == true)
            {
                await HitAsync(stored, ProxyResult.Stale, $"fwd={reason}; detail={reply.Failure.Token()}");
                return;
            }

            if (reply.Failure != UpstreamFailure.None)
            {
                AnswerFailed(reply.Failure, reply.ClientStatus, reason);
                return;
            }
        }

        if (!_isGet && !_isHead)
            Invalidate(reply);
        if (_isHead && stored is not null && reply.Status == StatusCodes.Status200OK)
            UpdateByHead(stored, reply);
        if ((IsWholeAnswer(reply) || IsAnswerToPost(reply)) && parts.Exchanges.TryAdopt(_key, reply, _request.Headers, _directives, out _) is { } adopted)
        {
            (_lease, _reply) = (adopted, null);
            await ShareAsync(await adopted.Head, reason);
            return;
        }

        await SendPrivateAsync(reply, reason, stripped: false);
    }

    // RFC 9111 §4.4.
    private void Invalidate(UpstreamReply reply)
    {
        if (reply.Status is < 200 or >= 400 || _request.Method is "OPTIONS")
            return;
        parts.Exchanges.Invalidate(_key);
        foreach (var field in (ReadOnlySpan<StringValues>)[reply.Fields.Location, reply.Fields.ContentLocation])
        {
            if (field.Count == 1 && SameOrigin(field[0]) is { } key)
                parts.Exchanges.Invalidate(key);
        }
    }

    // What answers a condition or a range (412, 416) is no answer to the URL alone.
    private bool IsWholeAnswer(UpstreamReply reply)
    {
        var fields = _request.Headers;
        return _isGet && (reply.Status == StatusCodes.Status200OK
            || (fields.Range.Count == 0 && fields.IfMatch.Count == 0 && fields.IfUnmodifiedSince.Count == 0 && fields.IfNoneMatch.Count == 0 && fields.IfModifiedSince.Count == 0));
    }

    // RFC 9110 §9.3.3: a POST's response that says how long it is fresh, and that it is what a GET here would give.
    private bool IsAnswerToPost(UpstreamReply reply) =>
        _request.Method == "POST" && reply.Status == StatusCodes.Status200OK
        && reply.Fields.ContentLocation is { Count: 1 } location && SameOrigin(location[0]) == _key
        && parts.Policy.Evaluate(reply.Status, reply.Fields, reply.RequestedAt, reply.ReceivedAt).Source == LifetimeSource.Explicit;

    private string? SameOrigin(string? reference) =>
        Uri.TryCreate(_key, UriKind.Absolute, out var here) && Uri.TryCreate(here, reference, out var there) && there.Scheme == here.Scheme && there.Authority == here.Authority
            ? KeyOf(there.Scheme, there.Authority, there.PathAndQuery)
            : null;

    // RFC 9111 §4.3.5.
    private void UpdateByHead(StoredResponse stored, UpstreamReply reply)
    {
        if (stored.IsSameAs(reply.Fields))
            parts.Responses.Replace(stored, stored.Refresh(reply, parts.Policy, _request.Headers));
        else
            parts.Responses.Remove(stored);
    }

    // 4. Answer: from the cache.
    private Task HitAsync(StoredResponse stored, ProxyResult result, string? forwarded = null)
    {
        (_result, _cache) = (result, CacheState.Hit);
        var ttl = (long)stored.Freshness.FreshFor(parts.Time.GetUtcNow()).TotalSeconds;
        return RespondAsync(stored, string.Create(CultureInfo.InvariantCulture, $"{forwarded ?? "hit"}; ttl={ttl}"), hasAge: true);
    }

    // 4. Answer: from a response that is being stored.
    private Task ShareAsync(ExchangeHead head, string reason)
    {
        _reader = _lease!.Join(head.Body!);
        (_result, _cache) = (ProxyResult.Miss, CacheState.Miss);
        var isLeader = _lease.IsLeader;
        return RespondAsync(head.Response!, $"fwd={reason}; fwd-status={head.Status}; stored{(isLeader ? "" : "; collapsed")}", hasAge: !isLeader);
    }

    private async Task RespondAsync(StoredResponse response, string cacheStatus, bool hasAge)
    {
        _allowance.EndMiss();
        var verdict = response.Status == StatusCodes.Status200OK
            ? Preconditions.EvaluateStored(_request.Headers, response.ETag, ModifiedOf(response))
            : PreconditionVerdict.ProceedWhole;
        var status = response.Status;
        long start = 0, end = response.Length ?? long.MaxValue;
        if (verdict == PreconditionVerdict.NotModified)
        {
            status = StatusCodes.Status304NotModified;
        }
        else if (verdict == PreconditionVerdict.Proceed && response.Length is { } length)
        {
            switch (_range.Fit(length, out start, out end))
            {
                case RangeFit.Unsatisfiable:
                    _response.Headers.ContentRange = string.Create(CultureInfo.InvariantCulture, $"bytes */{length}");
                    _response.Headers["Cache-Status"] = Status(cacheStatus);
                    Answer(StatusCodes.Status416RangeNotSatisfiable);
                    return;
                case RangeFit.Part:
                    status = StatusCodes.Status206PartialContent;
                    break;
            }
        }

        _response.StatusCode = status;
        AddFields(response.Fields, cacheStatus, withContent: status != StatusCodes.Status304NotModified);
        var headers = _response.Headers;
        if (hasAge)
            headers.Age = ((long)Math.Min(response.Freshness.AgeAt(parts.Time.GetUtcNow()).TotalSeconds, CacheDirectives.MaxSeconds)).ToString(CultureInfo.InvariantCulture);
        if (status == StatusCodes.Status304NotModified)
            return;
        if (status == StatusCodes.Status206PartialContent)
            headers.ContentRange = string.Create(CultureInfo.InvariantCulture, $"bytes {start}-{end - 1}/{response.Length}");
        if (end != long.MaxValue && status is not StatusCodes.Status204NoContent)
            headers.ContentLength = end - start;
        if (!_isHead)
            await SendAsync(response, start, end);
    }

    private DateTimeOffset? ModifiedOf(StoredResponse response) =>
        HttpDate.TryParse(response.LastModified, parts.Time.GetUtcNow(), out var modified) ? modified : null;

    // 4. Answer: what upstream said, for this client alone.
    private async Task SendPrivateAsync(UpstreamReply reply, string reason, bool stripped)
    {
        _allowance.EndMiss();
        (_result, _cache) = (ProxyResult.Pass, CacheState.Miss);
        // The conditions were kept from upstream, so they are met here.
        var notModified = stripped && reply.Status == StatusCodes.Status200OK
            && Preconditions.EvaluateStored(_request.Headers, First(reply.Fields, "ETag"), HttpDate.TryParse(First(reply.Fields, "Last-Modified"), reply.ReceivedAt, out var modified) ? modified : null)
                == PreconditionVerdict.NotModified;
        _response.StatusCode = notModified ? StatusCodes.Status304NotModified : reply.Status;
        AddFields(reply.Fields, $"fwd={reason}; fwd-status={reply.Status}", withContent: !notModified);
        if (notModified)
            return;
        if (!reply.HasBody)
        {
            // Of HEAD and 304: the length that a GET's 200 would have had.
            if (reply.Status is >= 200 and not 204 && long.TryParse(First(reply.Fields, "Content-Length"), NumberStyles.None, CultureInfo.InvariantCulture, out var described))
                _response.Headers.ContentLength = described;
            return;
        }

        _response.Headers.ContentLength = reply.Length;
        await _sender.StartAsync();
        if (await CopyAsync(reply, long.MaxValue) < 0)
        {
            parts.ProxyMeter.Failed(reply.Failure);
            Abort(reply.Failure);
        }
    }

    // Upstream's bytes as they come; how many, -1 when they broke off.
    private async ValueTask<long> CopyAsync(UpstreamReply reply, long limit)
    {
        var copied = 0L;
        while (copied < limit)
        {
            var ready = reply.WaitAsync(Aborted);
            if (!ready.IsCompleted && !await FlushBeforeWaitingAsync())
                return copied;
            await ready;
            var room = (int)Math.Min(PassBytes, limit - copied);
            var count = await reply.ReadAsync(_sender.GetMemory(room)[..room], Aborted);
            if (count < 0)
                return count;
            if (count == 0)
                break;
            _sender.Advance(count);
            copied += count;
            if (_sender.UnflushedBytes >= FlushBytes && !await FlushAsync())
                return copied;
        }

        if (_sender.UnflushedBytes > 0)
            await FlushAsync();
        return copied;
    }

    private static string? First(IHeaderDictionary fields, string name) => fields.TryGetValue(name, out var values) ? values[0] : null;

    private void AddFields(IHeaderDictionary fields, string cacheStatus, bool withContent)
    {
        var headers = _response.Headers;
        foreach (var (name, values) in fields)
        {
            // RFC 9110 §15.4.5: a 304 says what may have changed, not what the content is; the length is set from what is sent.
            if (name.Equals("Content-Length", StringComparison.OrdinalIgnoreCase)
                || (!withContent && name.StartsWith("Content-", StringComparison.OrdinalIgnoreCase) && !name.Equals("Content-Location", StringComparison.OrdinalIgnoreCase)))
                continue;
            headers[name] = values;
        }

        headers.Append("Via", $"1.1 {parts.Options.EdgeId}");
        headers.Append("Cache-Status", Status(cacheStatus));
    }

    private string Status(string text) => $"{parts.Options.EdgeId}; {text}";

    // 5. Send: from what lands, else from the cache, else the rest from upstream.
    private async Task SendAsync(StoredResponse response, long start, long end)
    {
        await _sender.StartAsync();
        var body = _reader?.Body;
        // Upstream is read on for whoever wants what comes later.
        if (_reader is not null)
            _reader.Position = start;
        for (var position = start; position < end;)
        {
            // Before anything is looked for: what has landed by now is in a buffer or in the cache.
            var (landed, outcome) = body?.Progress ?? (end, BodyOutcome.Completed);
            if (outcome == BodyOutcome.Broken)
            {
                Abort(UpstreamFailure.HttpResponseIncomplete);
                return;
            }

            if (position >= landed)
            {
                if (outcome == BodyOutcome.Completed)
                    break;
                if (!await FlushBeforeWaitingAsync())
                    return;
                await body!.WaitAsync(position, Aborted);
                continue;
            }

            var wanted = (int)Math.Min(Chunk.SizeBytes - position % Chunk.SizeBytes, Math.Min(end, landed) - position);
            var sent = body?.TryRead(position, _sender.GetSpan(wanted)[..wanted]) ?? 0;
            if (sent == 0 && await ReadCachedAsync(response, response.Length ?? (outcome == BodyOutcome.Completed ? landed : long.MaxValue), position, wanted))
                sent = wanted;
            if (sent == 0)
            {
                await ResumeAsync(response, position, end);
                return;
            }

            _sender.Advance(sent);
            position += sent;
            if (_reader is not null)
                _reader.Position = position;
            if (_sender.UnflushedBytes >= FlushBytes && !await FlushAsync())
                return;
        }

        if (_sender.UnflushedBytes > 0)
            await FlushAsync();
    }

    private ValueTask<bool> ReadCachedAsync(StoredResponse response, long length, long position, int wanted)
    {
        var index = Chunk.IndexOf(position);
        var key = response.ChunkKey(index);
        var chunkLength = Chunk.LengthOf(index, length);
        var offset = (int)(position % Chunk.SizeBytes);
        // What this request's own exchange brought is no re-use.
        if (parts.Cache.TryReadHot(key, chunkLength, offset, _sender.GetSpan(wanted)[..wanted], countsAsUse: _reader is null))
            return new(true);
        return parts.Cache.ReadStoredAsync(key, chunkLength, offset, _sender.GetMemory(wanted)[..wanted]);
    }

    // A chunk has left the cache under a reader slower than its eviction. RFC 9110 §13.1.5: the rest comes from upstream, if it is the rest of the same bytes; else the response is cut.
    private async Task ResumeAsync(StoredResponse response, long position, long end)
    {
        parts.Responses.RemoveEvicted(response);
        if (response is { ETag: { } etag, Length: { } length } && !etag.StartsWith("W/", StringComparison.Ordinal))
        {
            var call = Call(null);
            var fields = call.Fields;
            foreach (var name in ConditionFields)
                fields.Remove(name);
            fields.Range = string.Create(CultureInfo.InvariantCulture, $"bytes={position}-{end - 1}");
            fields.IfRange = etag;
            _reply = await parts.Origins.SendAsync(call, Aborted);
            var range = string.Create(CultureInfo.InvariantCulture, $"bytes {position}-{end - 1}/{length}");
            if (_reply.Status == StatusCodes.Status206PartialContent && First(_reply.Fields, "Content-Range") == range && First(_reply.Fields, "ETag") == etag)
            {
                parts.ProxyMeter.Resumed();
                if (await CopyAsync(_reply, end - position) == end - position || _clientLeft)
                    return;
            }
        }

        Abort(UpstreamFailure.HttpResponseIncomplete);
    }

    private async ValueTask<bool> FlushAsync()
    {
        _flushed = true;
        _allowance.Sent(_sender.UnflushedBytes);
        if (!_firstByteSeen && _sender.UnflushedBytes > 0)
        {
            _firstByteSeen = true;
            parts.Meter.FirstByte(parts.Time.GetElapsedTime(_started), _cache);
        }

        var isHere = await _sender.FlushAsync();
        _allowance.Taken();
        if (isHere)
            return true;
        _clientLeft = true;
        return false;
    }

    // The header section as well: a client may wait for it alone.
    private async ValueTask<bool> FlushBeforeWaitingAsync() => (_flushed && _sender.UnflushedBytes == 0) || await FlushAsync();

    private CancellationToken Aborted => _features.Get<IHttpRequestLifetimeFeature>()!.RequestAborted;

    private void Release()
    {
        _reader?.Dispose();
        _reader = null;
        _reply?.Dispose();
        _reply = null;
        _lease?.Dispose();
        _lease = null;
    }

    private void Answer(int status)
    {
        _response.StatusCode = status;
        _response.Headers.CacheControl = ResponseFields.NoStore;
        _response.Headers.ContentLength = 0;
    }

    private bool Refuse(int status)
    {
        Answer(status);
        return false;
    }

    // RFC 9209. A client whose own body failed is told so, and upstream is not blamed.
    private void AnswerFailed(UpstreamFailure failure, int clientStatus, string reason)
    {
        _result = failure == UpstreamFailure.HttpRequestError ? ProxyResult.Refused : ProxyResult.Failed;
        _cache = CacheState.Miss;
        var status = failure == UpstreamFailure.HttpRequestError ? clientStatus : failure.Status();
        _response.Headers["Cache-Status"] = Status($"fwd={reason}");
        _response.Headers["Proxy-Status"] = Status($"error={failure.Token()}");
        if (status is StatusCodes.Status503ServiceUnavailable or StatusCodes.Status504GatewayTimeout)
            _response.Headers.RetryAfter = parts.RetryAfter;
        Answer(status);
    }

    // A body that breaks off must look broken, never short: the connection (or the stream) is reset before its end is told.
    private void Abort(UpstreamFailure failure)
    {
        parts.Meter.Aborted();
        LogAborted(parts.Log, _key, _sender.SentBytes, failure);
        _features.Get<IHttpRequestLifetimeFeature>()!.Abort();
    }

    // The URL, as the cache's key (RFC 9111 §2): authorities differ by neither case nor the scheme's own port.
    private static string KeyOf(string scheme, string authority, string target)
    {
        var host = authority.ToLowerInvariant();
        var port = scheme == "https" ? ":443" : ":80";
        return $"{scheme}://{(host.EndsWith(port, StringComparison.Ordinal) ? host[..^port.Length] : host)}{target}";
    }

    // RFC 8586: cdn-id at the start of an element; RFC 9110 §7.6.3: a protocol, then the pseudonym.
    private bool NamesThisEdge(StringValues field, int word)
    {
        foreach (var line in field)
        {
            foreach (var element in FieldList.Elements(line))
            {
                var words = element.ToString().Split([' ', '\t', ';'], StringSplitOptions.RemoveEmptyEntries);
                if (words.Length > word && words[word] == parts.Options.EdgeId)
                    return true;
            }
        }

        return false;
    }

    [LoggerMessage(1042, LogLevel.Warning, "Cut the response for {Key} after {Sent} bytes: {Failure}")]
    private static partial void LogAborted(ILogger logger, string key, long sent, UpstreamFailure failure);
}
