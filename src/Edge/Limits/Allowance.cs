using System.Net;
using Delivery.TokenAuth;
using Microsoft.AspNetCore.Http.Features;

namespace Delivery.Edge.Limits;

/// <summary>What one request has of the node's limits. Kept with its request object, so that a connection's client is worked out once.</summary>
internal sealed class Allowance(EdgeLimits limits)
{
    private IFeatureCollection? _features;
    private IPAddress? _address;
    private bool _isHeld;
    private ulong _client;
    private RateTable? _tokens;
    private ulong _token;
    private bool _inWork;
    private bool _isMiss;
    private long _handedOver;
    private int _handedBytes;

    /// <summary>How long to wait, after a refusal by rate: whole seconds, 1 or more.</summary>
    public long RetryAfterSeconds { get; private set; }

    /// <summary>Lets <see cref="StalledStreams"/> look after the request, where its connection is HTTP/2.</summary>
    /// <param name="features">The request's; the same object for each request of a connection or of a pooled stream.</param>
    public void Attach(IFeatureCollection features)
    {
        if (ReferenceEquals(features, _features))
            return;
        _features = features;
        features.Get<ConnectionStreams>()?.Add(this);
    }

    /// <summary>Step 1: the client's rates.</summary>
    /// <param name="client">The connection's client; the same object for each of its requests.</param>
    /// <param name="timestamp">When the request began.</param>
    public bool TryEnter(IPAddress? client, long timestamp)
    {
        _tokens = null;
        if (!ReferenceEquals(client, _address))
        {
            _address = client;
            _isHeld = client is not null && !limits.Exempt.Contains(client);
            _client = _isHeld ? ClientKey.Of(client!) : 0;
        }

        return !_isHeld || limits.Clients is not { } clients || TryTake(clients, _client, timestamp, Limit.ClientRequests, Limit.ClientBytes);
    }

    /// <summary>Step 2, when the token is good: its rates.</summary>
    /// <param name="claims">The token's.</param>
    /// <param name="query">Where its signature stands.</param>
    /// <param name="timestamp">When the request began.</param>
    public bool TryUse(in TokenClaims claims, ReadOnlySpan<char> query, long timestamp)
    {
        if (!_isHeld)
            return true;
        var session = claims.SessionId;
        _tokens = session.IsEmpty ? limits.Signatures : limits.Sessions;
        if (_tokens is null)
            return true;
        _token = ClientKey.Of(session.IsEmpty ? Signature(query) : session);
        return TryTake(_tokens, _token, timestamp, Limit.TokenRequests, Limit.TokenBytes);
    }

    /// <summary>Takes a place among the requests in work.</summary>
    public bool TryStart()
    {
        _inWork = limits.TryStartRequest();
        if (!_inWork)
            limits.Meter.Limited(Limit.Requests);
        return _inWork;
    }

    /// <summary>Takes a place among those that wait for upstream, if it has none.</summary>
    public bool TryMiss()
    {
        if (_isMiss)
            return true;
        _isMiss = limits.TryStartMiss();
        if (!_isMiss)
            limits.Meter.Limited(Limit.Misses);
        return _isMiss;
    }

    /// <summary>The wait for upstream is over: from here the response is a body under way, which no limit stops.</summary>
    public void EndMiss()
    {
        if (!_isMiss)
            return;
        _isMiss = false;
        limits.EndMiss();
    }

    /// <summary>Counts body bytes as they are handed over. From here the client is waited for, until <see cref="Taken"/>.</summary>
    public void Sent(int bytes)
    {
        _handedBytes = bytes;
        HandedOver();
        if (!_isHeld || bytes == 0)
            return;
        var now = limits.Now();
        limits.Clients?.Charge(_client, now, bytes);
        _tokens?.Charge(_token, now, bytes);
    }

    /// <summary>The client took what it was handed: what comes next is not its fault.</summary>
    public void Taken() => Volatile.Write(ref _handedOver, 0);

    /// <summary>All is handed over: until <see cref="End"/>, the client is waited for.</summary>
    public void HandedOver() => Volatile.Write(ref _handedOver, Environment.TickCount64);

    /// <summary>Whether the client has been waited for longer than the grace and the lowest rate allow.</summary>
    public bool HasWaited(long now, TimeSpan grace, int bytesPerSecond) =>
        Volatile.Read(ref _handedOver) is > 0 and var since && now - since > grace.TotalMilliseconds + _handedBytes * 1000L / bytesPerSecond;

    /// <summary>Resets the stream, whose buffer is free then.</summary>
    public void Reset()
    {
        Taken();
        _features?.Get<IHttpRequestLifetimeFeature>()?.Abort();
    }

    /// <summary>Gives its places back.</summary>
    public void End()
    {
        Taken();
        EndMiss();
        if (!_inWork)
            return;
        _inWork = false;
        limits.EndRequest();
    }

    private bool TryTake(RateTable table, ulong key, long timestamp, Limit requests, Limit bytes)
    {
        if (table.TryTake(key, limits.Now(timestamp), out var wait, out var isBytes))
            return true;
        limits.Meter.Limited(isBytes ? bytes : requests);
        RetryAfterSeconds = (long)(wait / RateTable.Units(TimeSpan.FromSeconds(1))) + 1;
        return false;
    }

    // The value of "sig": a name that stands once, as the token is good. One URL spelled in two ways is two keys to a limit that is off by default.
    private static ReadOnlySpan<char> Signature(ReadOnlySpan<char> query)
    {
        for (var rest = query; ;)
        {
            var end = rest.IndexOf('&');
            var pair = end < 0 ? rest : rest[..end];
            if (pair.StartsWith("sig=", StringComparison.Ordinal))
                return pair[4..].TrimEnd('=');
            if (end < 0)
                return query;
            rest = rest[(end + 1)..];
        }
    }
}
