using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Tests.Freshness;

public sealed class FreshnessPolicyTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 21, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("Sun, 06 Nov 1994 08:49:37 GMT")]
    [InlineData("Sunday, 06-Nov-94 08:49:37 GMT")]
    [InlineData("Sun Nov  6 08:49:37 1994")]
    public void Date_InEachOfTheThreeFormats_IsRead(string text)
    {
        Assert.True(HttpDate.TryParse(text, Now, out var date));
        Assert.Equal(new DateTimeOffset(1994, 11, 6, 8, 49, 37, TimeSpan.Zero), date);
        Assert.Equal("Sun, 06 Nov 1994 08:49:37 GMT", HttpDate.Format(date));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("")]
    [InlineData(null)]
    [InlineData("Sun, 06 Nov 1994 08:49:37 UTC")]
    [InlineData("Sun, 06 Nov 94 08:49:37 GMT")]
    [InlineData("Sun 06 Nov 1994 08:49:37 GMT")]
    [InlineData("Sun, 06  Nov  1994 08:49:37 GMT")]
    [InlineData("Sun, 06-Nov-1994 08:49:37 GMT")]
    [InlineData("Sun, 06 Nov 1994 08.49.37 GMT")]
    [InlineData("Sun, 06 Nov 1994 8:49:37 GMT")]
    [InlineData("Sun, 06 Nov 1994 08:49:37 GMT ")]
    [InlineData("Xyzday, 06-Nov-94 08:49:37 GMT")]
    public void Date_InAnyOtherFormat_IsNotRead(string? text) => Assert.False(HttpDate.TryParse(text, Now, out _));

    [Fact]
    public void Date_OfTwoDigits_IsAtMostFiftyYearsAhead()
    {
        Assert.True(HttpDate.TryParse("Thursday, 18-Aug-76 02:01:18 GMT", Now, out var ahead));
        Assert.Equal(2076, ahead.Year);
        Assert.True(HttpDate.TryParse("Thursday, 18-Aug-77 02:01:18 GMT", Now, out var behind));
        Assert.Equal(1977, behind.Year);
    }

    [Fact]
    public void Lifetime_SharedMaxAgeBeforeMaxAgeBeforeExpires()
    {
        Assert.Equal(100, Evaluate(("Cache-Control", "max-age=5, s-maxage=100"), ("Expires", In(7))).Lifetime.TotalSeconds);
        Assert.Equal(5, Evaluate(("Cache-Control", "max-age=5"), ("Expires", In(7))).Lifetime.TotalSeconds);
        Assert.Equal(7, Evaluate(("Expires", In(7))).Lifetime.TotalSeconds);
        Assert.True(Evaluate() is { Lifetime.Ticks: 0, Source: LifetimeSource.None });
    }

    [Fact]
    public void Expires_CountsFromDate_AndWhatCannotBeReadIsPast()
    {
        Assert.Equal(17, Evaluate(("Expires", In(7)), ("Date", In(-10))).Lifetime.TotalSeconds);
        Assert.Equal(0, Evaluate(("Expires", In(7)), ("Date", In(10))).Lifetime.TotalSeconds);
        Assert.Equal(7, Evaluate(("Expires", In(7)), ("Date", "foo")).Lifetime.TotalSeconds);
        Assert.True(Evaluate(("Expires", "0")) is { Lifetime.Ticks: 0, Source: LifetimeSource.Explicit });
    }

    [Fact]
    public void Targeted_ReplacesCacheControlAndExpires()
    {
        Assert.Equal(60, Evaluate(("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-cache, max-age=5"), ("Expires", In(7))).Lifetime.TotalSeconds);
        Assert.False(Evaluate(("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-cache")).NoCache);
        // Valid, and silent about freshness: Expires does not fill in.
        Assert.Equal(LifetimeSource.None, Evaluate(("CDN-Cache-Control", "public"), ("Expires", In(7))).Source);
        Assert.Equal(5, Evaluate(("CDN-Cache-Control", "MAX-AGE=60"), ("Cache-Control", "max-age=5")).Lifetime.TotalSeconds);
    }

    [Fact]
    public void Targeted_FirstValidOfTheListCounts()
    {
        var policy = new FreshnessPolicy { TargetedFields = ["Node-Cache-Control", "CDN-Cache-Control"] };
        Assert.Equal(1, Evaluate(policy, 200, ("CDN-Cache-Control", "max-age=2"), ("Node-Cache-Control", "max-age=1")).Lifetime.TotalSeconds);
        Assert.Equal(2, Evaluate(policy, 200, ("CDN-Cache-Control", "max-age=2"), ("Node-Cache-Control", "max-age=")).Lifetime.TotalSeconds);
    }

    [Fact]
    public void Heuristics_AreOffByDefault_AndATenthWhenOn()
    {
        (string, string)[] old = [("Last-Modified", In(-1000)), ("Date", In(0))];
        Assert.Equal(LifetimeSource.None, Evaluate(old).Source);
        var on = new FreshnessPolicy { Heuristics = true };
        Assert.True(Evaluate(on, 200, old) is { Lifetime.TotalSeconds: 100, Source: LifetimeSource.Heuristic });
        Assert.Equal(LifetimeSource.None, Evaluate(on, 503, old).Source);
        Assert.Equal(LifetimeSource.Heuristic, Evaluate(on, 599, [.. old, ("Cache-Control", "public")]).Source);
        Assert.Equal(TimeSpan.FromDays(1), Evaluate(on, 200, ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")).Lifetime);
        Assert.Equal(LifetimeSource.None, Evaluate(on, 200, ("Last-Modified", In(5)), ("Date", In(0))).Source);
    }

    [Fact]
    public void DefaultLifetime_IsForWhatSaysNothing()
    {
        var policy = new FreshnessPolicy { DefaultLifetime = TimeSpan.FromSeconds(9) };
        Assert.Equal(9, Evaluate(policy, 200).Lifetime.TotalSeconds);
        Assert.Equal(0, Evaluate(policy, 200, ("Cache-Control", "max-age=0")).Lifetime.TotalSeconds);
        Assert.Equal(LifetimeSource.None, Evaluate(policy, 503).Source);
    }

    [Theory]
    [InlineData("30", 30)]
    [InlineData("0", 0)]
    [InlineData("99999999999", 2147483648)]
    [InlineData("abc", 2147483648)]
    [InlineData("-7200", 2147483648)]
    [InlineData("7200.0", 2147483648)]
    [InlineData("0, 0", 2147483648)]
    [InlineData("0;foo=bar", 2147483648)]
    public void Age_ThatIsNotOneNumber_IsNotKnown_HenceStale(string age, long seconds) => Assert.Equal(seconds, Evaluate(("Age", age)).InitialAge.TotalSeconds);

    [Fact]
    public void Age_OnTwoLines_IsNotKnown()
    {
        var headers = new HeaderDictionary { ["Age"] = new StringValues(["0", "0"]) };
        Assert.Equal(CacheDirectives.MaxSeconds, new FreshnessPolicy().Evaluate(200, headers, Now, Now).InitialAge.TotalSeconds);
    }

    [Fact]
    public void Age_CountsTransitAndTheSlowClock_AndGrows()
    {
        var headers = new HeaderDictionary { ["Age"] = "30", ["Date"] = In(0) };
        var freshness = new FreshnessPolicy().Evaluate(200, headers, Now, Now.AddSeconds(4));
        Assert.Equal(34, freshness.InitialAge.TotalSeconds);
        Assert.Equal(44, freshness.AgeAt(Now.AddSeconds(14)).TotalSeconds);
        Assert.Equal(7200, Evaluate(("Date", In(-7200)), ("Age", "30")).InitialAge.TotalSeconds);
    }

    [Fact]
    public void Judge_FreshThenStale()
    {
        var freshness = Evaluate(("Cache-Control", "max-age=10"));
        Assert.Equal(Reuse.Fresh, freshness.Judge(CacheDirectives.None, Now.AddSeconds(9)));
        Assert.Equal(Reuse.Validate, freshness.Judge(CacheDirectives.None, Now.AddSeconds(10)));
    }

    [Theory]
    [InlineData("no-cache", 0, nameof(Reuse.Validate))]
    [InlineData("max-age=0", 1, nameof(Reuse.Validate))]
    [InlineData("max-age=5", 5, nameof(Reuse.Fresh))]
    [InlineData("max-age=5", 6, nameof(Reuse.Validate))]
    [InlineData("min-fresh=5", 5, nameof(Reuse.Fresh))]
    [InlineData("min-fresh=5", 6, nameof(Reuse.Validate))]
    [InlineData("max-stale", 900, nameof(Reuse.StaleAllowed))]
    [InlineData("max-stale=5", 15, nameof(Reuse.StaleAllowed))]
    [InlineData("max-stale=5", 16, nameof(Reuse.Validate))]
    public void Judge_RequestsOwnLimits(string request, int after, string expected)
    {
        var freshness = Evaluate(("Cache-Control", "max-age=10"));
        Assert.Equal(expected, freshness.Judge(CacheDirectives.Parse(request), Now.AddSeconds(after)).ToString());
    }

    [Theory]
    [InlineData("must-revalidate")]
    [InlineData("proxy-revalidate")]
    [InlineData("s-maxage=10")]
    public void MustRevalidate_ForbidsEveryStaleUse(string directive)
    {
        var freshness = Evaluate(("Cache-Control", $"max-age=10, stale-while-revalidate=60, stale-if-error=60, {directive}"));
        Assert.Equal(Reuse.Fresh, freshness.Judge(CacheDirectives.None, Now));
        Assert.Equal(Reuse.Validate, freshness.Judge(CacheDirectives.Parse("max-stale"), Now.AddSeconds(11)));
        Assert.False(freshness.MayServeOnError(CacheDirectives.Parse("stale-if-error=60"), Now.AddSeconds(11)));
    }

    [Fact]
    public void NoCache_IsValidatedEvenWhenFresh() =>
        Assert.Equal(Reuse.Validate, Evaluate(("Cache-Control", "max-age=10, no-cache, immutable")).Judge(CacheDirectives.None, Now));

    [Fact]
    public void StaleWhileRevalidate_EndsAtItsBound()
    {
        var freshness = Evaluate(("Cache-Control", "max-age=10, stale-while-revalidate=5"));
        Assert.Equal(Reuse.StaleWhileRevalidate, freshness.Judge(CacheDirectives.None, Now.AddSeconds(14)));
        Assert.Equal(Reuse.Validate, freshness.Judge(CacheDirectives.None, Now.AddSeconds(15)));
        Assert.Equal(Reuse.Validate, freshness.Judge(CacheDirectives.Parse("no-cache"), Now.AddSeconds(11)));
    }

    [Fact]
    public void StaleIfError_OfResponseOrRequest_EndsAtItsBound()
    {
        var silent = Evaluate(("Cache-Control", "max-age=10"));
        Assert.False(silent.MayServeOnError(CacheDirectives.None, Now.AddSeconds(11)));
        Assert.True(silent.MayServeOnError(CacheDirectives.Parse("stale-if-error=5"), Now.AddSeconds(14)));
        Assert.False(silent.MayServeOnError(CacheDirectives.Parse("stale-if-error=5"), Now.AddSeconds(15)));
        var said = Evaluate(("Cache-Control", "max-age=10, stale-if-error=60"));
        Assert.True(said.MayServeOnError(CacheDirectives.None, Now.AddSeconds(69)));
        Assert.False(said.MayServeOnError(CacheDirectives.None, Now.AddSeconds(70)));
    }

    [Fact]
    public void Immutable_SparesAReload_WhileFresh()
    {
        var freshness = Evaluate(("Cache-Control", "max-age=10, immutable"));
        Assert.Equal(Reuse.Fresh, freshness.Judge(CacheDirectives.Parse("no-cache"), Now));
        Assert.Equal(Reuse.Validate, freshness.Judge(CacheDirectives.Parse("no-cache"), Now.AddSeconds(11)));
    }

    [Theory]
    [InlineData(200, "max-age=5", nameof(NoStoreReason.None))]
    [InlineData(200, "", nameof(NoStoreReason.NoFreshness))]
    [InlineData(200, "max-age=0", nameof(NoStoreReason.NoFreshness))]
    [InlineData(200, "no-cache, max-age=5", nameof(NoStoreReason.NoFreshness))]
    [InlineData(200, "max-age=0, stale-while-revalidate=5", nameof(NoStoreReason.None))]
    [InlineData(200, "no-store, max-age=5", nameof(NoStoreReason.NoStore))]
    [InlineData(200, "private, max-age=5", nameof(NoStoreReason.Private))]
    [InlineData(200, "private=\"set-cookie\", max-age=5", nameof(NoStoreReason.None))]
    [InlineData(206, "max-age=5", nameof(NoStoreReason.Status))]
    [InlineData(304, "max-age=5", nameof(NoStoreReason.Status))]
    [InlineData(503, "max-age=5", nameof(NoStoreReason.None))]
    [InlineData(599, "max-age=5", nameof(NoStoreReason.None))]
    [InlineData(599, "max-age=5, must-understand", nameof(NoStoreReason.Status))]
    [InlineData(200, "max-age=5, must-understand, no-store", nameof(NoStoreReason.None))]
    public void Storability_ByStatusAndDirectives(int status, string cacheControl, string expected) => Assert.Equal(expected, Judge(status, new() { ["Cache-Control"] = cacheControl }).ToString());

    [Fact]
    public void Storability_StaleWithAValidator_IsStoredForRevalidation()
    {
        Assert.Equal(NoStoreReason.None, Judge(200, new() { ["ETag"] = "\"a\"" }));
        Assert.Equal(NoStoreReason.None, Judge(200, new() { ["Last-Modified"] = In(-5) }));
        // Nothing says that this status may be stored at all.
        Assert.Equal(NoStoreReason.NoFreshness, Judge(302, new() { ["ETag"] = "\"a\"" }));
        Assert.Equal(NoStoreReason.None, Judge(302, new() { ["ETag"] = "\"a\"", ["Cache-Control"] = "public" }));
    }

    [Theory]
    [InlineData("max-age=5", nameof(NoStoreReason.Authorization))]
    [InlineData("max-age=5, public", nameof(NoStoreReason.None))]
    [InlineData("max-age=5, must-revalidate", nameof(NoStoreReason.None))]
    [InlineData("s-maxage=5", nameof(NoStoreReason.None))]
    public void Storability_WithCredentials_NeedsLeave(string cacheControl, string expected) =>
        Assert.Equal(expected, Judge(200, new() { ["Cache-Control"] = cacheControl }, new() { ["Authorization"] = "Basic x" }).ToString());

    [Theory]
    [InlineData("*")]
    [InlineData("*, *")]
    [InlineData(", *")]
    [InlineData("Foo, *")]
    public void Storability_VaryAll_IsRefused(string vary) => Assert.Equal(NoStoreReason.VaryAll, Judge(200, new() { ["Cache-Control"] = "max-age=5", ["Vary"] = vary }));

    [Fact]
    public void Storability_OtherMethodsAndNoStoreRequests_AreRefused()
    {
        var response = new HeaderDictionary { ["Cache-Control"] = "max-age=5" };
        Assert.Equal(NoStoreReason.Method, Judge(200, response, isGet: false));
        Assert.Equal(NoStoreReason.RequestNoStore, Judge(200, response, new() { ["Cache-Control"] = "no-store" }));
    }

    private static NoStoreReason Judge(int status, HeaderDictionary response, HeaderDictionary? request = null, bool isGet = true)
    {
        var policy = new FreshnessPolicy();
        request ??= [];
        return Storability.Evaluate(policy, isGet, request, CacheDirectives.OfRequest(request), status, response, policy.Evaluate(status, response, Now, Now));
    }

    private static string In(int seconds) => HttpDate.Format(Now.AddSeconds(seconds));

    private static ResponseFreshness Evaluate(params (string Name, string Value)[] fields) => Evaluate(new(), 200, fields);

    private static ResponseFreshness Evaluate(FreshnessPolicy policy, int status, params (string Name, string Value)[] fields)
    {
        var headers = new HeaderDictionary();
        foreach (var (name, value) in fields)
            headers.Append(name, value);
        return policy.Evaluate(status, headers, Now, Now);
    }
}
