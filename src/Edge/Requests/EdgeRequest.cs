using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Peers;
using Delivery.Edge.Ranges;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Requests;

/// <summary>
/// The life of a request, in order:
/// <list type="number">
/// <item>limit: connections, header sizes and slow clients are met before this code runs (<see cref="KestrelSetup"/>); then the client's rates, the token's, and overload</item>
/// <item>admit: method, target, body, token; nothing about an object's existence is said before the token is good</item>
/// <item>plan: the object, preconditions, range, chunks; what is missing is asked of upstream before the headers go out</item>
/// <item>read each chunk: from RAM, else from disk, else join or lead its fill</item>
/// <item>send: straight into the response's buffer</item>
/// <item>account</item>
/// </list>
/// A hit in RAM (or in the system's page cache) runs through all of it synchronously. Used again for the next request of its connection.
/// </summary>
[SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "The lease is released in RunAsync's finally.")]
internal sealed partial class EdgeRequest(EdgeParts parts) : IRequest
{
    private const string PublicPrefix = "/audio/";

    // Fills that broke before their first byte, or found another version than the one before, after which a request gives up with 502.
    private const int MaxBrokenFills = 3;

    // Plans of one request. Each further one follows an answer from upstream or another request's fill, so the bound is never met in health.
    private const int MaxPlans = 32;

    // Chunks whose presence is looked up before the headers: 32 MiB, more than a track at 320 kbit/s. Later ones are looked up when reached.
    private const int MaxChunksPlanned = 256;

    // One chunk at a time goes to the transport, so a slow client holds no more than that.
    private const int FlushBytes = Chunk.SizeBytes;

    // Half a chunk: what a player's first request asks for. At 24 Mbit/s from upstream it is there within 22 ms.
    private const int MinPieceBytes = Chunk.SizeBytes / 2;

    private readonly BodySender _sender = new();
    private readonly Allowance _allowance = new(parts.Limits);
    private IFeatureCollection _features = null!;
    private IHttpRequestFeature _request = null!;
    private IHttpResponseFeature _response = null!;
    private long _started;
    private bool _hasBody;
    private bool _isHead;
    private IPAddress? _client;
    private Asker _asker;
    private string? _path;
    private ObjectKey _key;
    private long _secondsLeft;
    private RangeHeader _range;
    private RangeSet? _ranges;
    private MultipartBody? _multipart;
    private bool _hasPreconditions;
    private bool _mustDescribe;
    private bool _mustValidate;
    private bool _asked;
    private bool _failedToAsk;
    private bool _recalled;
    private bool _storedFailed;
    private EdgeObject? _object;
    private FillLease? _lease;
    private Fill? _led;
    private CacheState _cache;
    private bool _collapsed;
    private bool _clientLeft;
    private bool _firstByteSeen;
    private int _brokenFills;
    private long _start;
    private long _end;
    private long _firstChunk;
    private long _counted;
    private long _reached;

    private enum Plan
    {
        /// <summary>The response is complete: a refusal, a HEAD, a 304.</summary>
        Answered,

        /// <summary>Headers and first byte are at hand.</summary>
        Ready,

        /// <summary>Upstream must say more first.</summary>
        Ask,
    }

    public void Begin(IFeatureCollection features)
    {
        _features = features;
        _request = features.Get<IHttpRequestFeature>()!;
        _response = features.Get<IHttpResponseFeature>()!;
        _sender.Attach(features.Get<IHttpResponseBodyFeature>()!);
        _allowance.Attach(features);
        _started = parts.Time.GetTimestamp();
        _isHead = _hasPreconditions = _mustDescribe = _mustValidate = _asked = _failedToAsk = _recalled = _storedFailed = _collapsed = _clientLeft = _firstByteSeen = false;
        _path = null;
        _asker = default;
        _object = null;
        _multipart = null;
        _led = null;
        _cache = CacheState.None;
        _brokenFills = 0;
        (_start, _end) = (0, 0);
        (_firstChunk, _counted, _reached) = (long.MaxValue, -1, -1);
    }

    public async Task RunAsync()
    {
        try
        {
            // 1. Limit. 2. Admit. 1. Limit what is to be worked on.
            if (!Limit() || !Admit() || !Start())
                return;

            // 3. Plan: from memory; else ask upstream and plan again with what it said.
            for (var plans = 0; ; plans++)
            {
                var plan = plans < MaxPlans ? PlanFromMemory() : Answer(StatusCodes.Status502BadGateway);
                if (plan == Plan.Ready)
                    break;
                if (plan == Plan.Answered || !await AskUpstreamAsync())
                    return;
            }

            _allowance.EndMiss();

            // 4, 5. Read each chunk and send it.
            await SendAsync();
        }
        catch (OperationCanceledException)
        {
            // The client left while this request waited for bytes. That is no error, and the fill goes on.
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
        parts.Meter.Sent(_sender.SentBytes);
        _allowance.End();
    }

    // 1. Limit: the client's rates, before anything is worked out for it.
    private bool Limit()
    {
        // Before any answer, so that whatever the answer is, it says what becomes of the connection: Kestrel reads no body here and closes after the
        // response, and RFC 9112 §9.6 wants that said. A client that pipelines would take the next request for lost. A node that stops sends its clients elsewhere.
        _hasBody = _features.Get<IHttpRequestBodyDetectionFeature>()!.CanHaveBody;
        if ((_hasBody || parts.Limits.IsStopping) && (_request.Protocol == HttpProtocol.Http11 || _request.Protocol == HttpProtocol.Http10))
            _response.Headers.Connection = "close";
        // An edge stands for all of its listeners, so no rate of one client holds it.
        _client = parts.Peer is null ? _features.Get<IHttpConnectionFeature>()?.RemoteIpAddress : null;
        return _allowance.TryEnter(_client, _started) || RefuseRate();
    }

    // 1. Limit: a place among the requests in work. The answers above take none: they wait for nothing and hold nothing.
    private bool Start() => _allowance.TryStart() || RefuseOverload();

    // 2. Admit.
    private bool Admit()
    {
        var isOptions = false;
        switch (_request.Method)
        {
            case "GET":
                break;
            case "HEAD":
                _isHead = true;
                break;
            case "OPTIONS" when parts.Peer is null:
                isOptions = true;
                break;
            default:
                _response.Headers.Allow = parts.Peer is null ? ResponseFields.Allow : PeerDoor.Allow;
                return Refuse(StatusCodes.Status405MethodNotAllowed);
        }

        // RFC 9110 §9.3.1: content in a GET has no meaning; refused, because it is how requests are smuggled past other readers.
        if (_hasBody)
            return Refuse(_request.Headers.ContentLength is null ? StatusCodes.Status400BadRequest : StatusCodes.Status413PayloadTooLarge);
        if (isOptions && _request.RawTarget == "*")
            return AnswerOptions();
        if (!RequestTarget.TrySplit(RequestLine.OriginForm(_request.RawTarget), out var path, out var query))
            return Refuse(StatusCodes.Status400BadRequest);

        // A preflight carries no credentials and asks about the server, not about an object (Fetch §4.8), so it needs no token.
        if (isOptions)
            return AnswerOptions();

        var now = parts.Time.GetUtcNow();
        var nowSeconds = now.ToUnixTimeSeconds();
        var verdict = parts.Scheme.Verify(parts.Keys!.Current, path, query, _client, nowSeconds, out var claims);
        if (verdict != TokenVerdict.Valid)
            return RefuseToken(verdict);
        if (!_allowance.TryUse(claims, query, _started))
            return RefuseRate();
        _secondsLeft = Math.Max(0, claims.Expires - nowSeconds);
        if (parts.Peer?.Judge(_request.Headers, _response.Headers, out _asker) is > 0 and var refusal)
            return RefusePeer(refusal);

        // From here the token is good, and existence may be spoken of. Only audio/ has a way upstream.
        if (!path.StartsWith(PublicPrefix, StringComparison.Ordinal))
            return Refuse(StatusCodes.Status404NotFound);
        var headers = _request.Headers;
        // RFC 9110 §14.2: Range is defined for GET alone.
        _range = _isHead ? RangeHeader.None : RangeHeader.Parse(headers.Range);
        _ranges = _isHead || !_range.IsNone ? null : RangeSet.Parse(headers.Range);
        _hasPreconditions = Preconditions.Any(headers);

        // The token is judged on the path as sent; the object is found by the path decoded, so that every spelling of a name is one object.
        // TrySplit lets no separator, dot or percent sign through in escapes, so the decoded path cannot mean another place.
        if (!path.Contains('%'))
        {
            if (parts.Objects.TryFind(path, now, out _object))
            {
                (_path, _key) = (_object.Path, _object.Key);
                return true;
            }

            _path = path.ToString();
        }
        else
        {
            _path = Uri.UnescapeDataString(path);
            parts.Objects.TryFind(_path, now, out _object);
        }

        return ObjectKey.TryParse(_path[1..], out _key) || Refuse(StatusCodes.Status404NotFound);
    }

    // 3. Plan, from what is in memory.
    private Plan PlanFromMemory()
    {
        if (_object is null && !parts.Objects.TryFind(_path, parts.Time.GetUtcNow(), out _object))
            return Plan.Ask;
        var known = _object;
        if (!known.Exists)
            return AnswerAbsent();

        // Null for audio that is named by its content, which is all there is in the hot path.
        _mustValidate = known.Freshness is { } freshness && !_asked && !IsFreshEnough(known, freshness);
        if (_mustValidate)
            return Plan.Ask;

        var verdict = _hasPreconditions ? Preconditions.Evaluate(_request.Headers, known.ETag) : PreconditionVerdict.Proceed;
        if (verdict == PreconditionVerdict.Failed)
        {
            _response.Headers.ETag = known.ETag;
            return Answer(StatusCodes.Status412PreconditionFailed);
        }

        if (_cache == CacheState.None)
            _cache = CacheState.Hit;
        if (verdict == PreconditionVerdict.NotModified)
        {
            AddObjectFields(known, StatusCodes.Status304NotModified);
            return Plan.Answered;
        }

        if (verdict == PreconditionVerdict.ProceedWhole)
            (_range, _ranges) = (RangeHeader.None, null);
        switch (FitRange(known))
        {
            case RangeFit.Unsatisfiable:
                _response.Headers.ContentRange = known.UnsatisfiedRange;
                _response.Headers.AcceptRanges = "bytes";
                return Answer(StatusCodes.Status416RangeNotSatisfiable);
            case RangeFit.Part:
                _response.StatusCode = StatusCodes.Status206PartialContent;
                break;
            default:
                _response.StatusCode = StatusCodes.Status200OK;
                break;
        }

        if (_isHead || _start == _end)
        {
            AddObjectFields(known, StatusCodes.Status200OK);
            _response.Headers.ContentLength = known.Length;
            return Plan.Answered;
        }

        var first = Chunk.IndexOf(_start);
        if (!known.IsIn(parts.Cache, first) && !(_lease is { } lease && lease.Serves(known, first, (int)(_start % Chunk.SizeBytes))))
        {
            if (IsServedFromHere)
                _cache = known.HasStoredChunks ? CacheState.Partial : CacheState.Miss;
            return Plan.Ask;
        }

        if (IsServedFromHere)
            LookAhead(known, first);
        return Plan.Ready;
    }

    // RFC 9111 §4.2, RFC 5861 §3. A client's own Cache-Control is not asked: whoever holds a URL could make every listener's request one for upstream.
    private bool IsFreshEnough(EdgeObject known, ResponseFreshness freshness)
    {
        switch (freshness.Judge(CacheDirectives.None, parts.Time.GetUtcNow()))
        {
            case Reuse.Fresh:
                return true;
            case Reuse.StaleWhileRevalidate:
                _cache = CacheState.Stale;
                _ = parts.Fills.DescribeAsync(known.Path, known.Key, known, _asker);
                return true;
            default:
                return false;
        }
    }

    private RangeFit FitRange(EdgeObject known)
    {
        if (_ranges is null)
            return _range.Fit(known.Length, out _start, out _end);
        var fit = _ranges.Fit(known.Length, out var fitting);
        (_start, _end) = fit == RangeFit.Part ? fitting[0] : (0, known.Length);
        _multipart = fit == RangeFit.Part && fitting.Count > 1 ? new(known, fitting) : null;
        return fit;
    }

    // The status says "hit" only when no byte of the response needs upstream.
    private void LookAhead(EdgeObject known, long first)
    {
        var left = MaxChunksPlanned;
        if (!IsAtHand(known, first + 1, _end, ref left))
            _cache = CacheState.Partial;
        for (var part = 1; part < _multipart?.Parts.Count && IsServedFromHere; part++)
        {
            var (start, end) = _multipart.Parts[part];
            if (!IsAtHand(known, Chunk.IndexOf(start), end, ref left))
                _cache = CacheState.Partial;
        }
    }

    private bool IsServedFromHere => _cache is CacheState.Hit or CacheState.Stale or CacheState.Revalidated;

    private bool IsAtHand(EdgeObject known, long first, long end, ref int left)
    {
        var last = Chunk.IndexOf(end - 1);
        for (var index = first; index <= last && left-- > 0; index++)
        {
            if (!known.IsIn(parts.Cache, index))
                return false;
        }

        return true;
    }

    // 3. Plan: asks upstream for metadata, or for the first chunk's fill, which brings both; false when the response is complete.
    private async Task<bool> AskUpstreamAsync()
    {
        // Known from before a restart, or pushed out of the object table: the disk tier may have what upstream said.
        if (_object is null && !_recalled)
        {
            _recalled = true;
            _object = await parts.Recall.FindAsync(_path!);
            if (_object is not null)
                return true;
        }

        if (!_allowance.TryMiss())
            return RefuseOverload();
        _asked = true;
        if (_mustValidate)
            return await RevalidateAsync(_object!);
        if (_cache is CacheState.None or CacheState.Hit)
            _cache = CacheState.Miss;

        // A fill needs to know which chunk to start with; what depends on length or ETag needs those first.
        if (_object is null && (_mustDescribe || _isHead || _hasPreconditions || _range.IsSuffix || _ranges is not null))
        {
            var description = await parts.Fills.DescribeAsync(_path!, _key, asker: _asker).WaitAsync(Aborted);
            _object = description.Entry;
            return description.Entry is not null || AnswerBroken(description.Outcome);
        }

        if (_object is null)
            (_start, _end) = _range.IsNone ? (0, long.MaxValue) : (_range.First, _range.Last == long.MaxValue ? long.MaxValue : _range.Last + 1);
        var first = Chunk.IndexOf(_start);
        if (!Join(first, refill: false))
            return true;
        var lease = _lease!;
        if (!_collapsed && lease.Fill != _led)
        {
            _collapsed = true;
            parts.Meter.Collapsed();
        }

        await lease.WaitAsync((int)(_start % Chunk.SizeBytes), Aborted);
        switch (lease.Outcome)
        {
            case FillOutcome.Running or FillOutcome.Completed:
                // Also when the object turned out to end before the wanted byte: the next plan sees its length.
                if (_object is not null && lease.Entry is { } found && found.Hash != _object.Hash)
                    return AskAgain(null);
                _object = lease.Entry;
                return true;
            case FillOutcome.PastEnd:
                _mustDescribe = true;
                return AskAgain(null);
            case FillOutcome.Changed or FillOutcome.Truncated or FillOutcome.Contradictory:
                return AskAgain(lease.Outcome);
            default:
                return AnswerBroken(lease.Outcome);
        }
    }

    // RFC 9111 §4.3: the same version is refreshed, another takes its place. RFC 5861 §4: what cannot be asked about is served as it is, for a while.
    private async Task<bool> RevalidateAsync(EdgeObject stale)
    {
        var description = await parts.Fills.DescribeAsync(stale.Path, stale.Key, stale, _asker).WaitAsync(Aborted);
        if (description.Entry is { } found)
        {
            _cache = found.Hash == stale.Hash ? CacheState.Revalidated : CacheState.Miss;
            _object = found;
            return true;
        }

        if (stale.Freshness?.MayServeOnError(CacheDirectives.None, parts.Time.GetUtcNow()) != true)
            return AnswerBroken(description.Outcome);
        _cache = CacheState.Stale;
        _failedToAsk = true;
        return true;
    }

    private bool AskAgain(FillOutcome? broken)
    {
        if (broken is { } outcome && ++_brokenFills >= MaxBrokenFills)
            return AnswerBroken(outcome);
        Release();
        _object = null;
        return true;
    }

    // 4. Read each chunk: from RAM, else from disk, else join or lead its fill. 5. Send it.
    private async Task SendAsync()
    {
        var known = _object!;
        AddObjectFields(known, _response.StatusCode);
        if (_multipart is { } multipart)
        {
            _response.Headers.ContentType = multipart.ContentType;
            _response.Headers.ContentLength = multipart.ContentLength;
        }
        else
        {
            _response.Headers.ContentLength = _end - _start;
            if (_response.StatusCode == StatusCodes.Status206PartialContent)
                _response.Headers.ContentRange = known.ContentRangeText(_start, _end);
        }

        var start = _sender.StartAsync();
        if (!start.IsCompletedSuccessfully)
            await start;
        if (_multipart is null)
            await SendRangeAsync(known);
        else
            await SendPartsAsync(known, _multipart);
    }

    private async Task SendPartsAsync(EdgeObject known, MultipartBody multipart)
    {
        for (var part = 0; part < multipart.Parts.Count; part++)
        {
            _sender.Write(multipart.Header(part));
            (_start, _end) = multipart.Parts[part];
            if (!await SendRangeAsync(known))
                return;
        }

        _sender.Write(multipart.End);
        await FlushAsync();
    }

    // False when the client has left, or the response had to be cut.
    private async ValueTask<bool> SendRangeAsync(EdgeObject known)
    {
        var misses = 0;
        _firstChunk = Chunk.IndexOf(_start);
        for (var position = _start; position < _end;)
        {
            var index = Chunk.IndexOf(position);
            var offset = (int)(position % Chunk.SizeBytes);
            var wanted = (int)Math.Min(known.ChunkLength(index) - offset, _end - position);

            if (index == known.ReadAhead.Next && parts.Peer is null)
            {
                _reached = index;
                if (parts.Fills.Reached(known, index))
                    _counted = index + 1;
            }

            // 4a. RAM. 4b. Disk.
            if (_lease is null && (TrySendHot(known, index, offset, wanted) || await TrySendStoredAsync(known, index, offset, wanted)))
            {
                misses = 0;
                position += wanted;
                if ((position == _end || _sender.UnflushedBytes >= FlushBytes) && !await FlushAsync())
                    return false;
                continue;
            }

            // 4c. A fill. A chunk that the cache has and does not give (a disk that is slow, or failed a moment ago) is filled anew. The count ends what would
            // go round for ever: a record that answers for nothing.
            if (_lease?.Index != index && !Join(index, refill: ++misses > 2 || _storedFailed))
                continue;
            var lease = _lease!;
            // Before its bytes are looked at: a fill that ends in between has landed what this look has missed.
            var outcome = lease.Outcome;
            var sent = lease.Entry?.Hash == known.Hash ? SendLanded(lease, offset, wanted) : 0;
            if (sent > 0)
            {
                misses = 0;
                position += sent;
                // Not held while the client is slow: whoever is slow finds the chunk again, in the hot tier or in the fill.
                Release();
                if (!await FlushAsync())
                    return false;
                continue;
            }

            if (outcome != FillOutcome.Running || (lease.Entry is { } found && found.Hash != known.Hash))
            {
                Abort(outcome);
                return false;
            }

            if (_sender.UnflushedBytes > 0 && !await FlushAsync())
                return false;
            // The first byte has been waited for; from here on in pieces that are worth a write.
            await lease.WaitAsync(offset + Math.Min(wanted, MinPieceBytes) - 1, Aborted);
        }

        return true;
    }

    private bool TrySendHot(EdgeObject known, long index, int offset, int wanted)
    {
        var span = _sender.GetSpan(wanted)[..wanted];
        // What this request's own fill brought, or was read ahead for it, is no re-use.
        var isUse = index != _reached && (_led is null || index - _led.FirstChunk >= _led.Chunks.Length || index < _led.FirstChunk);
        if (!parts.Cache.TryReadHot(known.ChunkKey(index), known.ChunkLength(index), offset, span, isUse))
            return false;
        _sender.Advance(wanted);
        return true;
    }

    private async ValueTask<bool> TrySendStoredAsync(EdgeObject known, long index, int offset, int wanted)
    {
        _storedFailed = false;
        var key = known.ChunkKey(index);
        var length = known.ChunkLength(index);
        if (!parts.Cache.IsStored(key, length))
            return false;
        var read = parts.Cache.ReadStoredAsync(key, length, offset, _sender.GetMemory(wanted)[..wanted]);
        if (!await read)
        {
            _storedFailed = true;
            return false;
        }

        _sender.Advance(wanted);
        return true;
    }

    private int SendLanded(FillLease lease, int offset, int wanted)
    {
        var landed = lease.Landed(offset);
        if (landed.Length > wanted)
            landed = landed[..wanted];
        if (landed.IsEmpty)
            return 0;
        landed.CopyTo(_sender.GetSpan(landed.Length));
        _sender.Advance(landed.Length);
        return landed.Length;
    }

    private async ValueTask<bool> FlushAsync()
    {
        SeeFirstByte();
        _allowance.Sent(_sender.UnflushedBytes);
        var taken = await _sender.FlushAsync();
        _allowance.Taken();
        if (taken)
            return true;
        _clientLeft = true;
        return false;
    }

    private void SeeFirstByte()
    {
        if (_firstByteSeen)
            return;
        _firstByteSeen = true;
        parts.Meter.FirstByte(parts.Time.GetElapsedTime(_started), _cache);
    }

    private CancellationToken Aborted => _features.Get<IHttpRequestLifetimeFeature>()!.RequestAborted;

    // Joins or leads the fill of a chunk; false when the hot tier has it by now.
    private bool Join(long index, bool refill)
    {
        Release();
        // What a closed range names is wanted; an open one is dropped more often than read to its end.
        var wanted = _range.IsOpen && _multipart is null ? 1 : (int)Math.Clamp(Chunk.IndexOf(_end - 1) - index, 0, Chunk.MaxRun - 1) + 1;
        _lease = parts.Fills.JoinOrLead(new(_path!, _key, _object, index, wanted)
        {
            IsSequential = index > _firstChunk,
            IsRepeated = index < _counted,
            IsExact = parts.Peer is not null,
            Refill = refill,
            Asker = _asker,
        });
        if (_lease is null)
            return false;
        _counted = Math.Max(_counted, index + (_lease.Joined ? 1 : wanted));
        if (!_lease.Joined)
            _led = _lease.Fill;
        return true;
    }

    private void Release()
    {
        _lease?.Dispose();
        _lease = null;
    }

    private void AddObjectFields(EdgeObject known, int status)
    {
        _response.StatusCode = status;
        var headers = _response.Headers;
        parts.Fields.AddCommon(headers, _request.Headers);
        headers.ETag = known.ETag;
        if (parts.Peer is not null)
        {
            PeerDoor.Describe(headers, known, parts.Time.GetUtcNow());
            headers["Cache-Status"] = parts.Fields.CacheStatus(_cache, !_isHead, _collapsed);
        }
        else if (known.Freshness is { } freshness)
        {
            AddFreshness(freshness);
        }
        else
        {
            headers.CacheControl = parts.Fields.CacheControl(_secondsLeft);
            headers["Cache-Status"] = parts.Fields.CacheStatus(_cache, !_isHead, _collapsed);
        }

        if (status == StatusCodes.Status304NotModified)
            return;
        headers.AcceptRanges = "bytes";
        headers.ContentType = known.ContentType;
    }

    private void AddFreshness(ResponseFreshness freshness)
    {
        var now = parts.Time.GetUtcNow();
        ResponseFields.AddFreshness(_response.Headers, freshness, now, _secondsLeft);
        // RFC 9211 §2.5: ttl is negative when it is stale.
        _response.Headers["Cache-Status"] = _cache switch
        {
            CacheState.Hit or CacheState.Stale when !_failedToAsk =>
                string.Create(CultureInfo.InvariantCulture, $"{parts.Fields.Hit}; ttl={(long)Math.Floor(freshness.FreshFor(now).TotalSeconds)}"),
            CacheState.Stale => parts.Fields.StaleOnError,
            _ => parts.Fields.CacheStatus(_cache, !_isHead, _collapsed),
        };
    }

    private Plan Answer(int status)
    {
        _response.StatusCode = status;
        var headers = _response.Headers;
        parts.Fields.AddCommon(headers, _request.Headers);
        headers.CacheControl = ResponseFields.NoStore;
        headers.ContentLength = 0;
        return Plan.Answered;
    }

    private Plan AnswerAbsent()
    {
        _response.Headers["Cache-Status"] = _cache == CacheState.None ? parts.Fields.Absent : parts.Fields.CacheStatus(CacheState.Miss, stored: false, collapsed: false);
        if (_cache == CacheState.None)
            _cache = CacheState.Hit;
        return Answer(StatusCodes.Status404NotFound);
    }

    private bool Refuse(int status)
    {
        Answer(status);
        return false;
    }

    private bool RefuseToken(TokenVerdict verdict)
    {
        parts.Meter.Refused(verdict);
        if (parts.Options.TokenVerdictHeader)
            _response.Headers["Delivery-Token-Verdict"] = verdict.ToWire();
        // "Gone" would be an answer to an edge whose clock is wrong.
        return Refuse(verdict == TokenVerdict.Expired && parts.Peer is null ? StatusCodes.Status410Gone : StatusCodes.Status403Forbidden);
    }

    // RFC 6585 §4.
    private bool RefuseRate()
    {
        _response.Headers.RetryAfter = _allowance.RetryAfterSeconds.ToString(CultureInfo.InvariantCulture);
        return Refuse(StatusCodes.Status429TooManyRequests);
    }

    // RFC 5842 §7.2: a loop needs no Retry-After; an edge that lags behind will catch up.
    private bool RefusePeer(int status)
    {
        if (status == StatusCodes.Status503ServiceUnavailable)
            _response.Headers.RetryAfter = parts.Fields.RetryAfter;
        return Refuse(status);
    }

    private bool RefuseOverload()
    {
        _response.Headers.RetryAfter = parts.Fields.RetryAfter;
        return Refuse(StatusCodes.Status503ServiceUnavailable);
    }

    private bool AnswerOptions()
    {
        _response.StatusCode = StatusCodes.Status204NoContent;
        var headers = _response.Headers;
        headers.Allow = ResponseFields.Allow;
        parts.Fields.AddCommon(headers, _request.Headers);
        ResponseFields.AddPreflight(headers);
        return false;
    }

    // The failure table: what upstream did, as a status. Only before the headers; after them the connection is cut (Abort).
    private bool AnswerBroken(FillOutcome outcome)
    {
        if (outcome == FillOutcome.Absent)
        {
            AnswerAbsent();
            return false;
        }

        var status = outcome switch
        {
            FillOutcome.Unavailable or FillOutcome.Lagging or FillOutcome.NoBuffers or FillOutcome.Stopped => StatusCodes.Status503ServiceUnavailable,
            FillOutcome.TimedOut => StatusCodes.Status504GatewayTimeout,
            _ => StatusCodes.Status502BadGateway,
        };
        if (status != StatusCodes.Status502BadGateway)
            _response.Headers.RetryAfter = parts.Fields.RetryAfter;
        _response.Headers["Cache-Status"] = parts.Fields.CacheStatus(CacheState.Miss, stored: false, collapsed: false);
        _response.Headers["Proxy-Status"] = parts.Fields.ProxyStatus(outcome);
        return Refuse(status);
    }

    // A body that breaks off must look broken, never short: the connection (or the stream) is reset before its Content-Length is reached.
    private void Abort(FillOutcome outcome)
    {
        parts.Meter.Aborted();
        LogAborted(parts.Log, _path!, _sender.SentBytes, _end - _start, outcome);
        _features.Get<IHttpRequestLifetimeFeature>()!.Abort();
    }

    [LoggerMessage(1030, LogLevel.Warning, "Cut the response for {Path} after {Sent} of {Length} bytes: {Outcome}")]
    private static partial void LogAborted(ILogger logger, string path, long sent, long length, FillOutcome outcome);
}
