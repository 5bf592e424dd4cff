using System.Net;
using Delivery.TokenAuth;

namespace Delivery.Edge.Tests.Requests;

public sealed class AdmissionTests
{
    [Fact]
    public async Task BadTokens_AreRefusedAlikeWhetherTheObjectExistsOrNot()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(1000));
        var signed = edge.Sign(path);
        (string Target, HttpStatusCode Status)[] cases =
        [
            (path, HttpStatusCode.Forbidden),
            (signed[..^4] + "AAAA", HttpStatusCode.Forbidden),
            (signed.Replace("expires=", "expires=9", StringComparison.Ordinal), HttpStatusCode.Forbidden),
            (signed.Replace(".ogg", ".m4a", StringComparison.Ordinal), HttpStatusCode.Forbidden),
            (edge.Sign(path, TimeSpan.FromSeconds(-1)), HttpStatusCode.Gone),
            ("/audio/none.ogg", HttpStatusCode.Forbidden),
            (edge.Sign("/audio/none.ogg", TimeSpan.FromSeconds(-1)), HttpStatusCode.Gone),
        ];
        foreach (var (target, status) in cases)
        {
            foreach (var method in new[] { HttpMethod.Get, HttpMethod.Head })
            {
                using var response = await edge.SendAsync(target, method: method);
                Assert.Equal(status, response.StatusCode);
                Assert.Equal("no-store", EdgeFixture.Header(response, "Cache-Control"));
                Assert.Equal("", EdgeFixture.Header(response, "Delivery-Token-Verdict"));
                Assert.Equal("", EdgeFixture.Header(response, "ETag"));
                Assert.Equal("", EdgeFixture.Header(response, "Cache-Status"));
                Assert.Equal(0, response.Content.Headers.ContentLength);
            }
        }

        Assert.Empty(edge.Store.Opens);
        Assert.Equal(0, edge.Store.Finds);
        Assert.Equal(4, edge.Node.Parts.Meter.Refusals(TokenVerdict.Expired));
    }

    [Fact]
    public async Task TokenVerdictHeader_TurnedOn_SaysWhy()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { TokenVerdictHeader = true });
        using var response = await edge.SendAsync("/audio/none.ogg");
        Assert.Equal("missing", EdgeFixture.Header(response, "Delivery-Token-Verdict"));
    }

    [Fact]
    public async Task ClockPassesExpiry_UrlIsGone()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(1000));
        var signed = edge.Sign(path, TimeSpan.FromSeconds(60));
        edge.Time.Advance(TimeSpan.FromSeconds(60));
        using var last = await edge.SendAsync(signed);
        Assert.Equal(HttpStatusCode.OK, last.StatusCode);
        edge.Time.Advance(TimeSpan.FromSeconds(1));
        using var gone = await edge.SendAsync(signed);
        Assert.Equal(HttpStatusCode.Gone, gone.StatusCode);
    }

    [Fact]
    public async Task UrlBoundToTheListenersAddress_IsServed()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(1000));
        var expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1);
        using var mine = await edge.SendAsync(NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = expires, Address = "127.0.0.0/8" }));
        Assert.Equal(HttpStatusCode.OK, mine.StatusCode);
        using var other = await edge.SendAsync(NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = expires, Address = "192.0.2.1" }));
        Assert.Equal(HttpStatusCode.Forbidden, other.StatusCode);
    }

    [Theory]
    [InlineData("/audio/../masters/t/u.wav")]
    [InlineData("/audio/%2e%2e/masters/t/u.wav")]
    [InlineData("/audio/..%2fmasters/t/u.wav")]
    [InlineData("/audio/%2E%2E%2Fmasters/t/u.wav")]
    [InlineData("/audio/%252e%252e/masters/t/u.wav")]
    [InlineData("/audio//masters/t/u.wav")]
    [InlineData("//masters/t/u.wav")]
    [InlineData("/audio/./x.ogg")]
    [InlineData("/audio/..\\masters\\t\\u.wav")]
    [InlineData("/audio/%5c..%5cmasters")]
    [InlineData("/audio/x.ogg;a=b")]
    [InlineData("/audio/%00")]
    [InlineData("/audio/%c0%ae%c0%ae/masters/t/u.wav")]
    [InlineData("http:masters/t/u.wav")]
    [InlineData("masters/t/u.wav")]
    public async Task PathTricks_Are400AndReachNoStore(string target)
    {
        await using var edge = await EdgeFixture.StartAsync();
        await edge.AddAsync("masters/t/u.wav", EdgeFixture.Bytes(100));
        foreach (var query in new[] { "", edge.Sign("/masters/t/u.wav")["/masters/t/u.wav".Length..] })
        {
            var response = await RawClient.ExchangeAsync(edge.Node.Address, $"GET {target}{query} HTTP/1.1");
            Assert.StartsWith("HTTP/1.1 400 ", response, StringComparison.Ordinal);
        }

        Assert.Empty(edge.Store.Opens);
        Assert.Equal(0, edge.Store.Finds);
    }

    [Theory]
    [InlineData("/masters/t/u.wav")]
    [InlineData("/catalog/tracks/t.json")]
    [InlineData("/%6dasters/t/u.wav")]
    [InlineData("/audio")]
    [InlineData("/audio/")]
    [InlineData("/")]
    [InlineData("/Audio/x.ogg")]
    public async Task RightlySignedPathsOutsideAudio_Are404AndReachNoStore(string path)
    {
        await using var edge = await EdgeFixture.StartAsync();
        await edge.AddAsync("masters/t/u.wav", EdgeFixture.Bytes(100));
        await edge.AddAsync("catalog/tracks/t.json", EdgeFixture.Bytes(100));
        var response = await RawClient.ExchangeAsync(edge.Node.Address, $"GET {edge.Sign(path)} HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 404 ", response, StringComparison.Ordinal);
        Assert.Empty(edge.Store.Opens);
        Assert.Equal(0, edge.Store.Finds);
    }

    [Fact]
    public async Task PrefixToken_OpensItsFolderAndNothingElse()
    {
        await using var edge = await EdgeFixture.StartAsync();
        await edge.AddAsync("audio/album/one.ogg", EdgeFixture.Bytes(100));
        await edge.AddAsync("masters/t/u.wav", EdgeFixture.Bytes(100));
        var signed = NativeScheme.Instance.Sign(edge.Ring, "/audio/album/one.ogg", new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), Prefix = "/audio/album/" });
        var query = signed[signed.IndexOf('?', StringComparison.Ordinal)..];
        using var inside = await edge.SendAsync("/audio/album/one.ogg" + query);
        Assert.Equal(HttpStatusCode.OK, inside.StatusCode);
        using var outside = await edge.SendAsync("/masters/t/u.wav" + query);
        Assert.Equal(HttpStatusCode.Forbidden, outside.StatusCode);
    }

    [Fact]
    public async Task EscapedName_IsTheSameObjectAsThePlainOne()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(1000);
        await edge.AddAsync("audio/zwölf a.ogg", content);
        foreach (var path in new[] { "/audio/zw%C3%B6lf%20a.ogg", "/audio/%7Aw%c3%b6lf%20a.ogg" })
        {
            using var client = await RawClient.ConnectAsync(edge.Node.Address);
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n\r\n");
            var (headers, body) = await client.ReadAsync(1000);
            Assert.StartsWith("HTTP/1.1 200 ", headers, StringComparison.Ordinal);
            Assert.Equal(content, body);
            await edge.SettledAsync();
        }

        Assert.Single(edge.Store.Opens);
    }

    [Fact]
    public async Task AbsoluteForm_IsAccepted()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(10));
        var response = await RawClient.ExchangeAsync(edge.Node.Address, $"GET http://edge{edge.Sign(path)} HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 200 ", response, StringComparison.Ordinal);
    }

    // RFC 3986 §3.2: the authority ends at '?'. Read as a path, what stands behind it would be another target than the one other readers see.
    [Theory]
    [InlineData("http://edge?a=")]
    [InlineData("http://user@edge")]
    public async Task AbsoluteFormWithoutPathOrWithUserInformation_Is400(string before)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(10));
        var response = await RawClient.ExchangeAsync(edge.Node.Address, $"GET {before}{edge.Sign(path)} HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 400 ", response, StringComparison.Ordinal);
        Assert.Empty(edge.Store.Opens);
    }

    [Theory]
    [InlineData("PUT /audio/x.ogg", 405)]
    [InlineData("OPTIONS *", 413)]
    [InlineData("OPTIONS /audio/x.ogg", 413)]
    [InlineData("GET //x", 413)]
    public async Task AnyRequestWithContent_IsToldThatItsConnectionCloses(string requestLine, int status)
    {
        await using var edge = await EdgeFixture.StartAsync();
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"{requestLine} HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhelloGET /audio/x.ogg HTTP/1.1\r\nHost: edge\r\n\r\n");
        var response = await client.ReadToEndAsync();
        Assert.StartsWith($"HTTP/1.1 {status} ", response, StringComparison.Ordinal);
        Assert.Contains("\r\nConnection: close\r\n", response, StringComparison.Ordinal);
        Assert.Equal(0, response.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("POST")]
    [InlineData("PUT")]
    [InlineData("DELETE")]
    [InlineData("TRACE")]
    [InlineData("PATCH")]
    public async Task OtherMethods_Are405WithAllow(string method)
    {
        await using var edge = await EdgeFixture.StartAsync();
        using var response = await edge.SendAsync(edge.Sign("/audio/x.ogg"), method: new(method));
        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        Assert.Equal(["GET", "HEAD", "OPTIONS"], response.Content.Headers.Allow);
    }

    [Fact]
    public async Task GetWithContent_IsRefusedAndTheConnectionClosed()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        using var sized = await RawClient.ConnectAsync(edge.Node.Address);
        await sized.SendAsync($"GET {signed} HTTP/1.1\r\nHost: edge\r\nContent-Length: 5\r\n\r\nhello");
        Assert.StartsWith("HTTP/1.1 413 ", await sized.ReadToEndAsync(), StringComparison.Ordinal);
        using var chunked = await RawClient.ConnectAsync(edge.Node.Address);
        await chunked.SendAsync($"GET {signed} HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 400 ", await chunked.ReadToEndAsync(), StringComparison.Ordinal);
        Assert.Empty(edge.Store.Opens);
    }

    [Fact]
    public async Task Options_IsAPreflightWithoutToken()
    {
        await using var edge = await EdgeFixture.StartAsync();
        using var response = await edge.SendAsync("/audio/x.ogg", method: HttpMethod.Options, change: r =>
        {
            r.Headers.Add("Origin", "https://player.example");
            r.Headers.Add("Access-Control-Request-Method", "GET");
            r.Headers.Add("Access-Control-Request-Headers", "range");
        });
        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        Assert.Equal("*", EdgeFixture.Header(response, "Access-Control-Allow-Origin"));
        Assert.Contains("Range", EdgeFixture.Header(response, "Access-Control-Allow-Headers"), StringComparison.Ordinal);
        Assert.Equal("86400", EdgeFixture.Header(response, "Access-Control-Max-Age"));
        var star = await RawClient.ExchangeAsync(edge.Node.Address, "OPTIONS * HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 204 ", star, StringComparison.Ordinal);
        Assert.DoesNotContain("\r\nServer:", star, StringComparison.Ordinal);
        Assert.Contains("\r\nDate:", star, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ListedOrigins_AreEchoedAndOthersNot()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { AllowedOrigins = ["https://a.example", "https://b.example"] });
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(10));
        foreach (var (origin, allowed) in new[] { ("https://b.example", "https://b.example"), ("https://c.example", ""), ("null", "") })
        {
            using var response = await edge.GetAsync(path, change: r => r.Headers.Add("Origin", origin));
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal(allowed, EdgeFixture.Header(response, "Access-Control-Allow-Origin"));
            Assert.Equal("Origin", EdgeFixture.Header(response, "Vary"));
        }
    }

    [Fact]
    public async Task TooLongTarget_IsRefused()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var response = await RawClient.ExchangeAsync(edge.Node.Address, $"GET /audio/x?{new string('a', 9000)} HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 414 ", response, StringComparison.Ordinal);
        var headers = await RawClient.ExchangeAsync(edge.Node.Address, "GET /audio/x HTTP/1.1", $"X-Big: {new string('a', 20_000)}\r\n");
        Assert.StartsWith("HTTP/1.1 431 ", headers, StringComparison.Ordinal);
    }
}
