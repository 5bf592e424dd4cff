using System.Collections.Frozen;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Freshness;

/// <summary>How a shared cache reads what a response says of its own freshness (RFC 9111 §4.2). No I/O, no clock: times are given.</summary>
internal sealed record FreshnessPolicy
{
    // RFC 9110 §15.1.
    private static readonly FrozenSet<int> HeuristicallyCacheable = new[] { 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501 }.ToFrozenSet();

    // RFC 9111 §4.2.2 names a tenth of the time since the last change as typical; a day, so that a mistake of a year's age does not live for a month.
    private const int HeuristicDivisor = 10;
    private static readonly TimeSpan MaxHeuristic = TimeSpan.FromDays(1);

    /// <summary>Whether a response without explicit freshness is held fresh for a tenth of its age since <c>Last-Modified</c>, a day at most. Default off: what nobody said, nobody meant.</summary>
    public bool Heuristics { get; init; }

    /// <summary>Fields that replace Cache-Control and Expires for this cache, the first valid one counting (RFC 9213 §2.2).</summary>
    public IReadOnlyList<string> TargetedFields { get; init; } = ["CDN-Cache-Control"];

    /// <summary>Used where a response says nothing: null (default) is none.</summary>
    public TimeSpan? DefaultLifetime { get; init; }

    /// <summary>Whether a status may be stored without being said to (RFC 9110 §15.1).</summary>
    public static bool IsHeuristicallyCacheable(int status) => HeuristicallyCacheable.Contains(status);

    /// <summary>The response's directives: of the first valid targeted field, else of Cache-Control.</summary>
    public CacheDirectives DirectivesOf(IHeaderDictionary headers, out bool targeted)
    {
        foreach (var name in TargetedFields)
        {
            if (headers.TryGetValue(name, out var field) && CacheDirectives.ParseTargeted(field) is { } directives)
            {
                targeted = true;
                return directives;
            }
        }

        targeted = false;
        return CacheDirectives.Parse(headers.CacheControl);
    }

    /// <summary>What a response says of its freshness.</summary>
    /// <param name="requestedAt">When the request that it answers was sent upstream.</param>
    /// <param name="receivedAt">When its headers arrived.</param>
    public ResponseFreshness Evaluate(int status, IHeaderDictionary headers, DateTimeOffset requestedAt, DateTimeOffset receivedAt)
    {
        var directives = DirectivesOf(headers, out var targeted);
        // §4.2.3; RFC 9110 §6.6.1: without a Date that can be read, it is the time of arrival.
        var date = HttpDate.TryParse(First(headers.Date), receivedAt, out var said) ? said : receivedAt;
        var lifetime = directives.SharedMaxAge ?? directives.MaxAge ?? (targeted ? null : ExpiresIn(headers.Expires, date, receivedAt));
        var source = lifetime is null ? LifetimeSource.None : LifetimeSource.Explicit;
        if (lifetime is null && Heuristics && (directives.Public || IsHeuristicallyCacheable(status))
            && HttpDate.TryParse(First(headers.LastModified), receivedAt, out var modified) && modified < date)
        {
            lifetime = TimeSpan.FromTicks(Math.Min((date - modified).Ticks / HeuristicDivisor, MaxHeuristic.Ticks));
            source = LifetimeSource.Heuristic;
        }

        if (lifetime is null && DefaultLifetime is { } assumed && IsHeuristicallyCacheable(status))
            (lifetime, source) = (assumed, LifetimeSource.Default);

        // §5.2.2.10: s-maxage means proxy-revalidate as well. §4.2.4: none of these lets a stale response out, whatever RFC 5861 would allow.
        var mustRevalidate = directives.MustRevalidate || directives.ProxyRevalidate || directives.SharedMaxAge is not null || directives.NoCache;
        return new()
        {
            Lifetime = lifetime ?? TimeSpan.Zero,
            Source = source,
            InitialAge = InitialAge(headers.Age, date, requestedAt, receivedAt),
            ReceivedAt = receivedAt,
            NoCache = directives.NoCache,
            MustRevalidate = mustRevalidate,
            StaleWhileRevalidate = mustRevalidate ? TimeSpan.Zero : directives.StaleWhileRevalidate ?? TimeSpan.Zero,
            StaleIfError = mustRevalidate ? TimeSpan.Zero : directives.StaleIfError ?? TimeSpan.Zero,
            Immutable = directives.Immutable,
        };
    }

    // §5.3: what cannot be read, "0" above all, is in the past.
    private static TimeSpan? ExpiresIn(StringValues field, DateTimeOffset date, DateTimeOffset now)
    {
        if (field.Count == 0)
            return null;
        return HttpDate.TryParse(field[0], now, out var expires) && expires > date ? expires - date : TimeSpan.Zero;
    }

    // §4.2.3.
    private static TimeSpan InitialAge(StringValues age, DateTimeOffset date, DateTimeOffset requestedAt, DateTimeOffset receivedAt)
    {
        var apparent = receivedAt > date ? receivedAt - date : TimeSpan.Zero;
        var delay = receivedAt > requestedAt ? receivedAt - requestedAt : TimeSpan.Zero;
        var corrected = AgeOf(age) + delay;
        return apparent > corrected ? apparent : corrected;
    }

    // §5.1 is one number. Anything else (a list, a sign, a parameter, two lines) means that the age is not known, and §4.2.1 has such a response held for stale: the largest age
    // does that.
    private static TimeSpan AgeOf(StringValues field) =>
        field.Count == 0 ? TimeSpan.Zero : (field.Count == 1 ? CacheDirectives.ParseSeconds(field[0]) : null) ?? TimeSpan.FromSeconds(CacheDirectives.MaxSeconds);

    private static string? First(StringValues field) => field.Count == 0 ? null : field[0];
}
