using System.Net;

namespace Delivery.TokenAuth.Tests;

public sealed class TokenExplanationTests
{
    private static readonly UrlGrant Grant = Rings.Grant with { Address = "203.0.113.0/24", TrackId = "T1", NotBefore = DateTimeOffset.FromUnixTimeSeconds(Rings.Now - 5) };
    private static readonly string Url = NativeScheme.Instance.Sign(Rings.Two, "/audio/x.ogg", Grant) + "&utm=x";

    [Fact]
    public void ValidUrl_EverythingIsTold()
    {
        var explained = TokenExplanation.Of(Rings.Two, "https://edge.example:8443" + Url, IPAddress.Parse("203.0.113.9"), Rings.Now);
        Assert.Equal((TokenVerdict.Valid, "valid", "/audio/x.ogg", "k1", true), (explained.Verdict, explained.VerdictName, explained.Path, explained.KeyId, explained.ClaimsAreAuthentic));
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(Rings.Now + 60), explained.Expires);
        Assert.Equal(TimeSpan.FromSeconds(60), explained.ExpiresIn);
        Assert.Equal(["expires", "ip", "kid", "nbf", "tid"], explained.Claims.Select(claim => claim.Name));
        Assert.Equal(["utm"], explained.IgnoredParameters);
        Assert.Equal("/audio/x.ogg:1800000060:ip=203.0.113.0/24&kid=k1&nbf=1799999995&tid=T1", explained.Message);
        Assert.Contains("expires   2027-01-15 08:01:00 UTC, in 60 s", explained.ToString());
    }

    [Theory]
    [InlineData("tid=T1", "tid=T2", "203.0.113.9", 0, "bad_signature", "changed, added or removed")]
    [InlineData("tid=T1", "tid=T1", "198.51.100.1", 0, "wrong_scope", "not at 198.51.100.1")]
    [InlineData("tid=T1", "tid=T1", null, 0, "wrong_scope", "address is not known")]
    [InlineData("tid=T1", "tid=T1", "203.0.113.9", 3660, "expired", "60 minutes ago")]
    [InlineData("tid=T1", "tid=T1", "203.0.113.9", -60, "not_yet_valid", "valid only from")]
    [InlineData("kid=k1", "kid=k9", "203.0.113.9", 0, "unknown_key", "no key 'k9'; it has: '', 'k1'")]
    [InlineData("&sig=", "&gis=", "203.0.113.9", 0, "missing", "no 'sig'")]
    [InlineData("&sig=", "&sig=.", "203.0.113.9", 0, "malformed", "43 characters")]
    [InlineData("expires=", "expires=+", "203.0.113.9", 0, "malformed", "Unix seconds")]
    [InlineData("expires=", "expired=", "203.0.113.9", 0, "malformed", "'expires' is missing")]
    [InlineData("/audio/", "/audio//", "203.0.113.9", 0, "bad_target", "answers 400")]
    public void RefusedUrl_TheReasonIsTold(string from, string to, string? client, int later, string verdict, string reason)
    {
        var explained = TokenExplanation.Of(Rings.Two, Url.Replace(from, to, StringComparison.Ordinal), client is null ? null : IPAddress.Parse(client), Rings.Now + later);
        Assert.Equal(verdict, explained.VerdictName);
        Assert.Contains(reason, explained.Reason);
    }

    [Fact]
    public void SignedTimeBeyondCalendars_IsTold()
    {
        var explained = TokenExplanation.Of(Rings.Two, "/a?expires=999999999999999999&sig=x", null, long.MaxValue / 1_000_000_000);
        Assert.Null(explained.Expires);
        Assert.Contains("after the year 9999", explained.ToString());
    }

    [Fact]
    public void KeyMaterial_IsNeverTold()
    {
        var text = TokenExplanation.Of(Rings.Two, Url, null, Rings.Now).ToString();
        Assert.DoesNotContain("NGC+MSAe", text);
        Assert.DoesNotContain(Convert.ToHexString(Convert.FromBase64String("NGC+MSAeaf7aoO7ouZl/XHwpmf2v5ZMlPNZUr0361xQ="))[..8], text);
    }
}
