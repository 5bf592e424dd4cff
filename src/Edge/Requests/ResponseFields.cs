using System.Globalization;
using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Delivery.Edge.Metering;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Requests;

/// <summary>Header values that many responses share, made once.</summary>
internal sealed class ResponseFields
{
    public const string Allow = "GET, HEAD, OPTIONS";
    public const string NoStore = "no-store";

    // A day: what a preflight answers here never changes while the edge runs. Browsers cap it themselves (Chromium at 2 h).
    private const string PreflightMaxAge = "86400";
    private const string ExposedHeaders = "Accept-Ranges, Cache-Status, Content-Length, Content-Range, ETag, Retry-After";
    private const string AllowedHeaders = "Range, If-Range, If-Match, If-None-Match";

    private readonly string _edgeId;
    private readonly HashSet<string>? _origins;
    private readonly MaxAge?[] _maxAges = new MaxAge?[4096];

    public ResponseFields(EdgeOptions options)
    {
        _origins = options.AllowedOrigins is ["*"] ? null : new(options.AllowedOrigins, StringComparer.Ordinal);
        RetryAfter = ((long)Math.Ceiling(options.RetryAfter.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        _edgeId = options.EdgeId;
        Hit = $"{options.EdgeId}; hit";
        Absent = $"{options.EdgeId}; hit; detail=absent";
        StaleOnError = $"{options.EdgeId}; fwd=stale; detail=stale-if-error";
        _revalidated = $"{options.EdgeId}; fwd=stale; stored";
        _miss = $"{options.EdgeId}; fwd=uri-miss";
        _missStored = $"{options.EdgeId}; fwd=uri-miss; stored";
        _missCollapsed = $"{options.EdgeId}; fwd=uri-miss; stored; collapsed";
        _partial = $"{options.EdgeId}; fwd=partial; stored";
        _partialCollapsed = $"{options.EdgeId}; fwd=partial; stored; collapsed";
    }

    private readonly string _revalidated;
    private readonly string _miss;
    private readonly string _missStored;
    private readonly string _missCollapsed;
    private readonly string _partial;
    private readonly string _partialCollapsed;

    public string RetryAfter { get; }

    public string Hit { get; }

    /// <summary>Upstream's "no such object" was still believed.</summary>
    public string Absent { get; }

    /// <summary>Upstream could not say whether it still holds.</summary>
    public string StaleOnError { get; }

    /// <summary>RFC 9209 §2.3: what went wrong upstream, for whoever watches the edge; a listener's player does not read it.</summary>
    public string ProxyStatus(FillOutcome outcome) => outcome switch
    {
        FillOutcome.Unavailable => $"{_edgeId}; error=destination_unavailable",
        FillOutcome.TimedOut => $"{_edgeId}; error=http_response_timeout",
        FillOutcome.Truncated => $"{_edgeId}; error=http_response_incomplete",
        FillOutcome.Denied => $"{_edgeId}; error=proxy_configuration_error",
        FillOutcome.NoBuffers or FillOutcome.Stopped => $"{_edgeId}; error=proxy_internal_error",
        _ => $"{_edgeId}; error=http_protocol_error",
    };

    /// <summary>RFC 9211 §2: <c>hit</c>, or why the request went upstream, whether the answer was stored, and whether another request's fill served it.</summary>
    public string CacheStatus(CacheState state, bool stored, bool collapsed) => state switch
    {
        CacheState.Hit => Hit,
        CacheState.Revalidated => _revalidated,
        CacheState.Partial => collapsed ? _partialCollapsed : _partial,
        _ => !stored ? _miss : collapsed ? _missCollapsed : _missStored,
    };

    /// <summary>
    /// RFC 8246 <c>immutable</c>, as long as the URL is valid: the bytes never change, but a listener's right to them ends. <c>private</c>, because the URL is one
    /// listener's.
    /// </summary>
    public string CacheControl(long seconds)
    {
        // One slot per second modulo 4096: requests of one minute share few expiries, and a slot that is overwritten costs a string.
        ref var slot = ref _maxAges[seconds & (_maxAges.Length - 1)];
        var cached = slot;
        if (cached is null || cached.Seconds != seconds)
            slot = cached = new(seconds, string.Create(CultureInfo.InvariantCulture, $"private, max-age={seconds}, immutable"));
        return cached.Text;
    }

    /// <summary>
    /// As <see cref="CacheControl"/>, for an object that may change: as long as it is fresh and the URL is valid. RFC 9111 §5.1 counts <c>max-age</c> from the object's birth,
    /// which <c>Age</c> tells.
    /// </summary>
    public static void AddFreshness(IHeaderDictionary headers, ResponseFreshness freshness, DateTimeOffset now, long secondsLeft)
    {
        var age = Math.Min((long)freshness.AgeAt(now).TotalSeconds, CacheDirectives.MaxSeconds);
        headers.Age = age.ToString(CultureInfo.InvariantCulture);
        headers.CacheControl = string.Create(CultureInfo.InvariantCulture, $"private, max-age={Math.Min((long)freshness.Lifetime.TotalSeconds, age + secondsLeft)}");
    }

    /// <summary>What every response says: who may read it (Fetch §3.2), and that its type is meant.</summary>
    public void AddCommon(IHeaderDictionary headers, IHeaderDictionary request)
    {
        headers.XContentTypeOptions = "nosniff";
        // CORP is for pages that load media without CORS; the signed URL is the authority, so any may.
        headers["Cross-Origin-Resource-Policy"] = "cross-origin";
        var allowed = "*";
        if (_origins is not null)
        {
            headers.Vary = "Origin";
            allowed = AllowedOrigin(request.Origin);
        }

        if (allowed is null)
            return;
        headers.AccessControlAllowOrigin = allowed;
        headers.AccessControlExposeHeaders = ExposedHeaders;
        headers["Timing-Allow-Origin"] = allowed;
    }

    public static void AddPreflight(IHeaderDictionary headers)
    {
        headers.AccessControlAllowMethods = Allow;
        headers.AccessControlAllowHeaders = AllowedHeaders;
        headers.AccessControlMaxAge = PreflightMaxAge;
    }

    private string? AllowedOrigin(StringValues origin) =>
        origin.Count == 1 && _origins!.TryGetValue(origin[0]!, out var known) ? known : null;

    private sealed record MaxAge(long Seconds, string Text);
}
