using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Freshness;

/// <summary>
/// The directives of a request or a response that this cache acts on (RFC 9111 §5.2, RFC 5861, RFC 8246), whichever field said them. What it does not know is ignored (§5.2.3).
/// </summary>
internal sealed record CacheDirectives
{
    /// <summary>RFC 9111 §1.2.2: a number that is too large is 2^31 seconds, 68 years.</summary>
    public const long MaxSeconds = 1L << 31;

    public static readonly CacheDirectives None = new();

    /// <summary>Null: not given. An argument that is no number of seconds is 0, hence stale (§4.2.1).</summary>
    public TimeSpan? MaxAge { get; private set; }

    /// <inheritdoc cref="MaxAge"/>
    public TimeSpan? SharedMaxAge { get; private set; }

    /// <summary>Null: not given. An argument that is no number of seconds is 0.</summary>
    public TimeSpan? StaleWhileRevalidate { get; private set; }

    /// <inheritdoc cref="StaleWhileRevalidate"/>
    public TimeSpan? StaleIfError { get; private set; }

    /// <summary>Request. Null: not given.</summary>
    public TimeSpan? MinFresh { get; private set; }

    /// <summary>Request. Null: not given; without an argument any staleness will do.</summary>
    public TimeSpan? MaxStale { get; private set; }

    /// <summary>Unqualified: not without validation.</summary>
    public bool NoCache { get; private set; }

    public bool NoStore { get; private set; }

    /// <summary>Unqualified: not in a shared cache.</summary>
    public bool Private { get; private set; }

    /// <summary>§5.2.2.4, §5.2.2.7, qualified: fields that this cache must not store. The rest of the response may be.</summary>
    public IReadOnlyList<string> WithheldFields { get; private set; } = [];

    public bool Public { get; private set; }

    public bool MustRevalidate { get; private set; }

    public bool ProxyRevalidate { get; private set; }

    public bool MustUnderstand { get; private set; }

    public bool OnlyIfCached { get; private set; }

    public bool Immutable { get; private set; }

    /// <summary>A request's directives. §5.4: <c>Pragma: no-cache</c> counts when there is no Cache-Control.</summary>
    public static CacheDirectives OfRequest(IHeaderDictionary headers)
    {
        if (headers.CacheControl.Count > 0)
            return Parse(headers.CacheControl);
        return headers.Pragma.Count > 0 && Parse(headers.Pragma).NoCache ? new() { NoCache = true } : None;
    }

    /// <summary>Reads <c>Cache-Control</c>: <c>#cache-directive</c>, with quoted strings.</summary>
    public static CacheDirectives Parse(StringValues field)
    {
        if (field.Count == 0)
            return None;
        var directives = new CacheDirectives();
        foreach (var line in field)
        {
            foreach (var element in FieldList.Elements(line))
                directives.Read(element);
        }

        return directives;
    }

    /// <summary>Reads a targeted field (RFC 9213 §2.1); null when it is empty or cannot be read, which is as though it were not there.</summary>
    public static CacheDirectives? ParseTargeted(StringValues field)
    {
        if (!StructuredDictionary.TryParse(field, out var members) || members.Count == 0)
            return null;
        var directives = new CacheDirectives();
        foreach (var (name, value) in members)
        {
            // A value of another type than the directive's is no value of it, and the member says nothing.
            switch (value)
            {
                case long seconds and >= 0:
                    directives.SetSeconds(name, Seconds(seconds));
                    break;
                case true:
                    directives.SetFlag(name);
                    break;
                case string fields when name is "no-cache" or "private":
                    directives.Withhold(fields);
                    break;
            }
        }

        return directives;
    }

    /// <summary>1*DIGIT; null when it is anything else.</summary>
    public static TimeSpan? ParseSeconds(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty || text.ContainsAnyExceptInRange('0', '9'))
            return null;
        var seconds = 0L;
        foreach (var digit in text)
            seconds = Math.Min(MaxSeconds, seconds * 10 + (digit - '0'));
        return Seconds(seconds);
    }

    private static TimeSpan Seconds(long seconds) => TimeSpan.FromSeconds(Math.Min(MaxSeconds, seconds));

    private void Read(ReadOnlySpan<char> element)
    {
        var equals = element.IndexOf('=');
        // §5.2 has no space around '='. A name before a space is known by what it is, and its argument is no argument.
        var name = (equals < 0 ? element : element[..equals]).Trim(" \t").ToString().ToLowerInvariant();
        var hasArgument = equals >= 0;
        var argument = hasArgument ? element[(equals + 1)..] : default;
        var spaced = hasArgument && equals > 0 && element[equals - 1] is ' ' or '\t';
        var text = argument.Length > 1 && argument[0] == '"' && argument[^1] == '"' ? argument[1..^1] : argument;
        switch (name)
        {
            case "max-stale" when !hasArgument:
                SetSeconds(name, Seconds(MaxSeconds));
                break;
            case "max-age" or "s-maxage" or "stale-while-revalidate" or "stale-if-error" or "min-fresh" or "max-stale":
                SetSeconds(name, (spaced ? null : ParseSeconds(text)) ?? TimeSpan.Zero);
                break;
            case "no-cache" or "private" when hasArgument && text.Length > 0:
                Withhold(text.ToString());
                break;
            default:
                SetFlag(name);
                break;
        }
    }

    // §4.2.1: of several values the first counts.
    private void SetSeconds(string name, TimeSpan value)
    {
        switch (name)
        {
            case "max-age":
                MaxAge ??= value;
                break;
            case "s-maxage":
                SharedMaxAge ??= value;
                break;
            case "stale-while-revalidate":
                StaleWhileRevalidate ??= value;
                break;
            case "stale-if-error":
                StaleIfError ??= value;
                break;
            case "min-fresh":
                MinFresh ??= value;
                break;
            case "max-stale":
                MaxStale ??= value;
                break;
        }
    }

    private void SetFlag(string name)
    {
        switch (name)
        {
            case "no-cache":
                NoCache = true;
                break;
            case "no-store":
                NoStore = true;
                break;
            case "private":
                Private = true;
                break;
            case "public":
                Public = true;
                break;
            case "must-revalidate":
                MustRevalidate = true;
                break;
            case "proxy-revalidate":
                ProxyRevalidate = true;
                break;
            case "must-understand":
                MustUnderstand = true;
                break;
            case "only-if-cached":
                OnlyIfCached = true;
                break;
            case "immutable":
                Immutable = true;
                break;
        }
    }

    private void Withhold(string fields) =>
        WithheldFields = [.. WithheldFields, .. fields.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)];
}
