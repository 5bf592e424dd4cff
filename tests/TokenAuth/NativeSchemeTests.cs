using System.Net;

namespace Delivery.TokenAuth.Tests;

public sealed class NativeSchemeTests
{
    private const string Path = "/audio/0123456789abcdef0123456789abcdef01234567.ogg";

    private static readonly UrlGrant AllClaims = Rings.Grant with
    {
        NotBefore = DateTimeOffset.FromUnixTimeSeconds(Rings.Now - 5),
        Address = "203.0.113.0/24",
        SessionId = "s-1",
        TrackId = "T1",
        Country = "SE",
        NextFile = "audio/next.ogg",
        Prefix = "/audio/",
    };

    [Fact]
    public void AllClaims_SignedAndVerified_ClaimsAreGiven()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, AllClaims);
        Assert.StartsWith($"{Path}?expires={Rings.Now + 60}&cc=SE&ip=203.0.113.0/24&kid=k1&nbf={Rings.Now - 5}&nxt=audio/next.ogg&pfx=/audio/&sid=s-1&tid=T1&sig=", url);
        Assert.True(RequestTarget.TrySplit(url, out var path, out var query));
        Assert.Equal(TokenVerdict.Valid, NativeScheme.Instance.Verify(Rings.Two, path, query, IPAddress.Parse("203.0.113.7"), Rings.Now, out var claims));
        Assert.True(claims.IsAuthentic);
        Assert.Equal((Rings.Now + 60, Rings.Now - 5), (claims.Expires, claims.NotBefore));
        Assert.Equal(["k1", "s-1", "T1", "SE", "audio/next.ogg", "/audio/"],
            [claims.KeyId.ToString(), claims.SessionId.ToString(), claims.TrackId.ToString(), claims.Country.ToString(), claims.NextFile.ToString(), claims.Prefix.ToString()]);
    }

    [Fact]
    public void BadSignature_NoClaimsAreGiven()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, AllClaims).Replace("tid=T1", "tid=T2", StringComparison.Ordinal);
        Assert.True(RequestTarget.TrySplit(url, out var path, out var query));
        Assert.Equal(TokenVerdict.BadSignature, NativeScheme.Instance.Verify(Rings.Two, path, query, null, Rings.Now, out var claims));
        Assert.False(claims.IsAuthentic);
        Assert.True(claims.TrackId.IsEmpty && claims.Expires == 0);
    }

    [Fact]
    public void DefaultKey_IsNotNamedInTheUrl()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant with { KeyId = "" });
        Assert.DoesNotContain("kid", url);
        Assert.Equal(TokenVerdict.Valid, Rings.Verify(Rings.Two, url));
    }

    [Fact]
    public void Padding_IsAcceptedAndNotEmitted()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant);
        Assert.False(url.EndsWith('='));
        Assert.Equal(TokenVerdict.Valid, Rings.Verify(Rings.Two, url + "="));
        Assert.Equal(TokenVerdict.Malformed, Rings.Verify(Rings.Two, url + "=="));
        Assert.Equal(TokenVerdict.Malformed, Rings.Verify(Rings.Two, url + "%3D"));
    }

    [Fact]
    public void SignatureWithStrayLowBits_Malformed()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant);
        const string Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        var last = Alphabet.IndexOf(url[^1], StringComparison.Ordinal);
        for (var low = 1; low <= 3; low++)
            Assert.Equal(TokenVerdict.Malformed, Rings.Verify(Rings.Two, url[..^1] + Alphabet[last + low]));
    }

    [Theory]
    [InlineData("?sid&expires=1&sig=x")]
    [InlineData("?sid=a&sid=b&expires=1&sig=x")]
    [InlineData("?sig&expires=1")]
    [InlineData("?sig=x&expires")]
    public void ReservedNameTwiceOrWithoutValue_Malformed(string query) => Assert.Equal(TokenVerdict.Malformed, Rings.Verify(Rings.Two, Path + query));

    // Each of these has the defects of the later ones as well; the earliest check decides.
    [Theory]
    [InlineData("?expires=x&expires=y&kid=none&nbf=x", "missing")]
    [InlineData("?expires=x&kid=none&nbf=x&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "malformed")]
    [InlineData("?expires=1&kid=none&nbf=x&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "unknown_key")]
    [InlineData("?expires=1&kid=k1&nbf=x&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "bad_signature")]
    public void ChecksBeforeTheMac_AreInOrder(string query, string verdict) => Assert.Equal(verdict, Rings.Verify(Rings.Two, Path + query).ToWire());

    [Fact]
    public void ChecksBehindTheMac_AreInOrder()
    {
        var early = Rings.Grant with { Prefix = "/audio/", NotBefore = DateTimeOffset.FromUnixTimeSeconds(Rings.Now + 10), Address = "198.51.100.1" };
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, early);
        var elsewhere = url.Replace("/audio/0123", "/video/0123", StringComparison.Ordinal);
        Assert.Equal(TokenVerdict.WrongScope, Rings.Verify(Rings.Two, elsewhere));
        Assert.Equal(TokenVerdict.NotYetValid, Rings.Verify(Rings.Two, url));
        Assert.Equal(TokenVerdict.Expired, Rings.Verify(Rings.Two, url, Rings.Now + 61));
        Assert.Equal(TokenVerdict.WrongScope, Rings.Verify(Rings.Two, url, Rings.Now + 60));
        Assert.Equal(TokenVerdict.Valid, Rings.Verify(Rings.Two, url, Rings.Now + 60, "198.51.100.1"));
    }

    [Fact]
    public void AddressUnknown_UrlBoundToOne_WrongScope()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant with { Address = "203.0.113.7" });
        Assert.Equal(TokenVerdict.WrongScope, Rings.Verify(Rings.Two, url, client: null));
    }

    [Fact]
    public void PrefixUrl_PathClimbsOut_WrongScopeEvenUnsplit()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant with { Prefix = "/audio/" });
        var query = url.AsSpan(url.IndexOf('?', StringComparison.Ordinal) + 1);
        Assert.Equal(TokenVerdict.WrongScope, NativeScheme.Instance.Verify(Rings.Two, "/audio/../masters/x", query, null, Rings.Now, out _));
        Assert.Equal(TokenVerdict.WrongScope, NativeScheme.Instance.Verify(Rings.Two, "/audio/%2e%2e/x", query, null, Rings.Now, out _));
    }

    [Fact]
    public void TargetBeyondTheBound_Malformed()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, Rings.Grant);
        var mark = url.IndexOf('?', StringComparison.Ordinal);
        var fits = url[(mark + 1)..] + "&utm=" + new string('x', RequestTarget.MaxLength - url.Length - 5);
        Assert.Equal(TokenVerdict.Valid, NativeScheme.Instance.Verify(Rings.Two, Path, fits, null, Rings.Now, out _));
        Assert.Equal(TokenVerdict.Malformed, NativeScheme.Instance.Verify(Rings.Two, Path, fits + "x", null, Rings.Now, out _));
        Assert.Equal(TokenVerdict.Malformed, NativeScheme.Instance.Verify(Rings.Two, Path, fits + new string('é', 1_000_000), null, Rings.Now, out _));
    }

    [Fact]
    public void NullsAndLoneSurrogates_DoNotThrow()
    {
        Assert.Equal(TokenVerdict.Missing, NativeScheme.Instance.Verify(Rings.Two, default, default, null, 0, out _));
        Assert.Equal(TokenVerdict.UnknownKey, NativeScheme.Instance.Verify(null!, default, default, null, 0, out _));
        var signature = new string('A', 43);
        Assert.Equal(TokenVerdict.Malformed, NativeScheme.Instance.Verify(Rings.Two, "/\ud800", $"expires=1&sig={signature}", null, 0, out _));
        Assert.Equal(TokenVerdict.Malformed, NativeScheme.Instance.Verify(Rings.Two, "/a", $"expires=1&sid=\udc00&sig={signature}", null, 0, out _));
        Assert.Equal(TokenVerdict.BadSignature, NativeScheme.Instance.Verify(Rings.Two, "/é\U0001F3B5", $"expires=1&sid=ü&sig={signature}", null, 0, out _));
    }

    [Fact]
    public void Verify_WarmedUp_AllocatesNothing()
    {
        // A ring of its own: tests beside this one would borrow its HMAC states.
        var ring = Rings.Parse(Rings.Two.ToJson());
        var bare = NativeScheme.Instance.Sign(ring, Path, Rings.Grant);
        var all = NativeScheme.Instance.Sign(ring, Path, AllClaims);
        var v6 = NativeScheme.Instance.Sign(ring, Path, Rings.Grant with { Address = "2001:db8::/32" });
        var client = IPAddress.Parse("203.0.113.7");
        var client6 = IPAddress.Parse("2001:db8::1");
        var changed = bare.Replace("/audio/", "/video/", StringComparison.Ordinal);
        Run(100);
        Assert.Equal(0, Run(1000));

        // Bytes allocated by so many rounds.
        long Run(int rounds)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            var right = 0;
            for (var i = 0; i < rounds; i++)
            {
                right += Split(bare, client) == TokenVerdict.Valid ? 1 : 0;
                right += Split(all, client) == TokenVerdict.Valid ? 1 : 0;
                right += Split(v6, client6) == TokenVerdict.Valid ? 1 : 0;
                right += Split(changed, client) == TokenVerdict.BadSignature ? 1 : 0;
            }

            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.Equal(4 * rounds, right);
            return allocated;
        }

        TokenVerdict Split(string url, IPAddress client)
        {
            RequestTarget.TrySplit(url, out var path, out var query);
            return NativeScheme.Instance.Verify(ring, path, query, client, Rings.Now, out _);
        }
    }

    [Theory]
    [InlineData("audio/x")]
    [InlineData("/a?b")]
    [InlineData("/a/../b")]
    [InlineData("/a b")]
    [InlineData("/é")]
    public void SignPathThatIsNotCanonical_ArgumentException(string path) => Assert.Throws<ArgumentException>(() => NativeScheme.Instance.Sign(Rings.Two, path, Rings.Grant));

    public static TheoryData<string, UrlGrant> BadGrants => new()
    {
        { "KeyId", Rings.Grant with { KeyId = "none" } },
        { "NotBefore", Rings.Grant with { NotBefore = DateTimeOffset.MaxValue } },
        { "Expires", new UrlGrant { Expires = DateTimeOffset.MinValue } },
        { "Address", Rings.Grant with { Address = "203.0.113" } },
        { "Address zone", Rings.Grant with { Address = "fe80::1%eth0" } },
        { "Country", Rings.Grant with { Country = "se" } },
        { "SessionId empty", Rings.Grant with { SessionId = "" } },
        { "SessionId &", Rings.Grant with { SessionId = "a&tid=b" } },
        { "SessionId =", Rings.Grant with { SessionId = "a=b" } },
        { "SessionId long", Rings.Grant with { SessionId = new string('x', 129) } },
        { "TrackId space", Rings.Grant with { TrackId = "a b" } },
        { "TrackId control", Rings.Grant with { TrackId = "a\n" } },
        { "NextFile fragment", Rings.Grant with { NextFile = "a#b" } },
        { "NextFile letters", Rings.Grant with { NextFile = "é" } },
        { "Prefix of another path", Rings.Grant with { Prefix = "/other/" } },
        { "Prefix without slash", Rings.Grant with { Prefix = "audio" } },
    };

    [Theory]
    [MemberData(nameof(BadGrants), DisableDiscoveryEnumeration = true)]
    public void SignBadGrant_ArgumentException(string why, UrlGrant grant)
    {
        var e = Assert.Throws<ArgumentException>(() => NativeScheme.Instance.Sign(Rings.Two, Path, grant));
        Assert.True(e.Message.Length > 20, why);
    }

    // Each of these messages is also the message of another path, expiry and claims.
    [Theory]
    [InlineData("/a", "x:1900000000")]
    [InlineData("/a:1900000000:sid=x", null)]
    [InlineData("/a:1900000000:tid=x", "y")]
    [InlineData("/a:000001900000000000:ip=1.2.3.4", null)]
    public void SignWhatHasASecondReading_ArgumentException(string path, string? sessionId) =>
        Assert.Throws<ArgumentException>(() => NativeScheme.Instance.Sign(Rings.Two, path, Rings.Grant with { SessionId = sessionId }));

    [Theory]
    [InlineData("/audio/a:b.ogg", "s:1", "2001:db8::1234")]
    [InlineData("/audio/12:1900000000.ogg", "urn:uuid:x", "::ffff:203.0.113.7/120")]
    [InlineData("/a:1900000000", "x:1900000000:sid", "::1")]
    [InlineData("/a", "x:123456789", "::1")]
    public void SignColonsThatMakeNoSecondReading_IsSigned(string path, string sessionId, string address) =>
        Assert.Contains("&sig=", NativeScheme.Instance.Sign(Rings.Two, path, Rings.Grant with { SessionId = sessionId, Address = address }), StringComparison.Ordinal);

    [Fact]
    public void ManyThreads_OneKey_EveryVerdictIsRight()
    {
        var url = NativeScheme.Instance.Sign(Rings.Two, Path, AllClaims);
        var wrong = url.Replace("sid=s-1", "sid=s-2", StringComparison.Ordinal);
        var wrongs = 0;
        Parallel.For(0, 20_000, new ParallelOptions { MaxDegreeOfParallelism = 32 }, i =>
        {
            if (Rings.Verify(Rings.Two, i % 2 == 0 ? url : wrong) != (i % 2 == 0 ? TokenVerdict.Valid : TokenVerdict.BadSignature))
                Interlocked.Increment(ref wrongs);
        });
        Assert.Equal(0, wrongs);
    }
}
