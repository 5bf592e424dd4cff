namespace Delivery.Edge.Freshness;

/// <summary>Where a response's lifetime comes from.</summary>
internal enum LifetimeSource
{
    /// <summary>Nothing says one: stale at once.</summary>
    None,

    /// <summary>s-maxage, max-age or Expires.</summary>
    Explicit,

    /// <summary>RFC 9111 §4.2.2.</summary>
    Heuristic,

    /// <summary>The configuration.</summary>
    Default,
}

/// <summary>What a request may have of a stored response.</summary>
internal enum Reuse
{
    /// <summary>As it is.</summary>
    Fresh,

    /// <summary>As it is, though stale: the request said <c>max-stale</c>.</summary>
    StaleAllowed,

    /// <summary>As it is, while it is revalidated behind the request's back (RFC 5861 §3).</summary>
    StaleWhileRevalidate,

    /// <summary>Not before upstream has said that it still holds.</summary>
    Validate,
}

/// <summary>
/// What one response said of its own freshness, and when it came: all that is needed to say later whether it may be used. Immutable; a 304 makes a new one.
/// </summary>
internal sealed record ResponseFreshness
{
    /// <summary>RFC 9111 §4.2.1.</summary>
    public required TimeSpan Lifetime { get; init; }

    public LifetimeSource Source { get; init; }

    /// <summary>Age on arrival (§4.2.3).</summary>
    public TimeSpan InitialAge { get; init; }

    public required DateTimeOffset ReceivedAt { get; init; }

    /// <summary>Never without validation, however fresh.</summary>
    public bool NoCache { get; init; }

    /// <summary>Never stale: must-revalidate, proxy-revalidate, s-maxage, no-cache (§4.2.4).</summary>
    public bool MustRevalidate { get; init; }

    /// <summary>How long after its lifetime it may be used while it is revalidated; 0 when it may not.</summary>
    public TimeSpan StaleWhileRevalidate { get; init; }

    /// <summary>How long after its lifetime it may be used when upstream fails; 0 when it may not.</summary>
    public TimeSpan StaleIfError { get; init; }

    /// <summary>RFC 8246: does not change while it is fresh, so a client's reload need not ask upstream.</summary>
    public bool Immutable { get; init; }

    public TimeSpan AgeAt(DateTimeOffset now) => InitialAge + (now > ReceivedAt ? now - ReceivedAt : TimeSpan.Zero);

    /// <summary>How long it is fresh from now; negative by how long it is stale.</summary>
    public TimeSpan FreshFor(DateTimeOffset now) => Lifetime - AgeAt(now);

    /// <summary>RFC 9111 §4: whether a request may have this response as it is. §5.2.1: the request's own limits count, and cannot lift the response's.</summary>
    public Reuse Judge(CacheDirectives request, DateTimeOffset now)
    {
        if (NoCache)
            return Reuse.Validate;
        var freshFor = FreshFor(now);
        var isFresh = freshFor > TimeSpan.Zero;
        // RFC 8246 §2.
        if (isFresh && Immutable)
            return Reuse.Fresh;
        if (request.NoCache || (request.MaxAge is { } maxAge && AgeAt(now) > maxAge) || (request.MinFresh is { } minFresh && freshFor < minFresh))
            return Reuse.Validate;
        if (isFresh)
            return Reuse.Fresh;
        if (MustRevalidate)
            return Reuse.Validate;
        if (request.MaxStale is { } maxStale && -freshFor <= maxStale)
            return Reuse.StaleAllowed;
        return -freshFor < StaleWhileRevalidate && request.MaxAge is null ? Reuse.StaleWhileRevalidate : Reuse.Validate;
    }

    /// <summary>Whether it may be used because upstream failed (RFC 5861 §4): the response's own word, or the request's.</summary>
    public bool MayServeOnError(CacheDirectives request, DateTimeOffset now)
    {
        if (MustRevalidate || request.NoCache)
            return false;
        var allowed = request.StaleIfError is { } asked && asked > StaleIfError ? asked : StaleIfError;
        return -FreshFor(now) < allowed;
    }
}
