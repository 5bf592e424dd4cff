using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Tests.Freshness;

public sealed class CacheDirectivesTests
{
    [Theory]
    [InlineData("max-age=3600", 3600)]
    [InlineData("MaX-aGe=3600", 3600)]
    [InlineData("max-age=\"3600\"", 3600)]
    [InlineData("max-age=003600", 3600)]
    [InlineData("foobar, max-age=60", 60)]
    [InlineData(",, max-age=60 ,", 60)]
    [InlineData("max-age=60, max-age=1800", 60)]
    [InlineData("max-age=2147483647", 2147483647)]
    [InlineData("max-age=2147483649", 2147483648)]
    [InlineData("max-age=99999999999999999999999", 2147483648)]
    [InlineData("extension=\"max-age=3600\", max-age=1", 1)]
    [InlineData("max-age=1, extension=\"a\\\", max-age=3600\"", 1)]
    public void MaxAge_IsRead(string field, long seconds) => Assert.Equal(TimeSpan.FromSeconds(seconds), CacheDirectives.Parse(field).MaxAge);

    [Theory]
    [InlineData("max-age")]
    [InlineData("max-age=")]
    [InlineData("max-age=-1")]
    [InlineData("max-age='3600'")]
    [InlineData("max-age=3600.0")]
    [InlineData("max-age=a3600")]
    [InlineData("max-age=3600a")]
    [InlineData("max-age =3600")]
    [InlineData("max-age= 3600")]
    [InlineData("max-age=+3600")]
    [InlineData("max-age=\"3600")]
    public void MaxAge_ThatIsNoNumber_IsStale(string field) => Assert.Equal(TimeSpan.Zero, CacheDirectives.Parse(field).MaxAge);

    [Fact]
    public void MaxAge_OnSeveralLines_FirstCounts() =>
        Assert.Equal(TimeSpan.FromSeconds(5), CacheDirectives.Parse(new StringValues(["no-transform, max-age=5", "max-age=7"])).MaxAge);

    [Fact]
    public void Flags_AreRead_InAnyCaseAndWithArguments()
    {
        var directives = CacheDirectives.Parse("No-StOrE=1, must-revalidate, proxy-revalidate, public, private, no-cache, immutable, must-understand, only-if-cached");
        Assert.True(directives is
        {
            NoStore: true, MustRevalidate: true, ProxyRevalidate: true, Public: true, Private: true, NoCache: true, Immutable: true, MustUnderstand: true, OnlyIfCached: true,
        });
        Assert.False(CacheDirectives.Parse("extension=\"no-store, private\"") is { NoStore: true } or { Private: true });
    }

    [Fact]
    public void QualifiedNoCacheAndPrivate_WithholdFieldsAlone()
    {
        var directives = CacheDirectives.Parse("no-cache=\"a, b\", private=c, max-age=5");
        Assert.Equal(["a", "b", "c"], directives.WithheldFields);
        Assert.False(directives.NoCache || directives.Private);
    }

    [Fact]
    public void Request_MaxStale_WithoutArgumentIsAny_AndWithABadOneIsNone()
    {
        Assert.Equal(TimeSpan.FromSeconds(CacheDirectives.MaxSeconds), CacheDirectives.Parse("max-stale").MaxStale);
        Assert.Equal(TimeSpan.FromSeconds(10), CacheDirectives.Parse("max-stale=10").MaxStale);
        Assert.Equal(TimeSpan.Zero, CacheDirectives.Parse("max-stale=x").MaxStale);
    }

    [Fact]
    public void Request_PragmaNoCache_CountsWithoutCacheControlAlone()
    {
        Assert.True(CacheDirectives.OfRequest(new HeaderDictionary { ["Pragma"] = "no-cache" }).NoCache);
        Assert.False(CacheDirectives.OfRequest(new HeaderDictionary { ["Pragma"] = "foo" }).NoCache);
        Assert.False(CacheDirectives.OfRequest(new HeaderDictionary { ["Pragma"] = "no-cache", ["Cache-Control"] = "max-age=5" }).NoCache);
    }

    [Theory]
    [InlineData("max-age=600", 600)]
    [InlineData("max-age=600;x=\"y\";z", 600)]
    [InlineData("a=(1 2.5 \"x\";q);p, b=:aGk=:, c=@1659578233, d=?0, e=token/1, max-age=600", 600)]
    [InlineData("max-age=60, max-age=600", 600)]
    [InlineData("max-age=999999999999999", 2147483648)]
    public void Targeted_IsRead(string field, long seconds) => Assert.Equal(TimeSpan.FromSeconds(seconds), CacheDirectives.ParseTargeted(field)!.MaxAge);

    [Theory]
    [InlineData("")]
    [InlineData("max-age=600,")]
    [InlineData("max-age=600 no-store")]
    [InlineData("max-age =600")]
    [InlineData("max-age= 600")]
    [InlineData("MAX-AGE=600")]
    [InlineData("max-age=1234567890123456")]
    [InlineData("max-age=1.2345")]
    [InlineData("max-age=\"60")]
    [InlineData("max-age=(1 2")]
    [InlineData("max-age=?2")]
    [InlineData("max-age=:a")]
    [InlineData("max-age=é")]
    public void Targeted_ThatBreaksTheGrammar_IsAsThoughItWereNotThere(string field) => Assert.Null(CacheDirectives.ParseTargeted(field));

    [Fact]
    public void Targeted_MemberOfAnotherType_SaysNothing()
    {
        var directives = CacheDirectives.ParseTargeted("max-age=\"600\", no-store=?0, private=1, must-revalidate, s-maxage=-1, no-cache=\"set-cookie\"")!;
        Assert.True(directives is { MaxAge: null, SharedMaxAge: null, NoStore: false, Private: false, MustRevalidate: true, NoCache: false });
        Assert.Equal(["set-cookie"], directives.WithheldFields);
    }

    [Fact]
    public void Targeted_OnSeveralLines_IsOneDictionary() =>
        Assert.True(CacheDirectives.ParseTargeted(new StringValues(["max-age=60", "no-store"])) is { NoStore: true, MaxAge.TotalSeconds: 60 });
}
