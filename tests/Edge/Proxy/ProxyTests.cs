using System.Net;
using System.Text;
using Delivery.Edge.Freshness;
using Delivery.Edge.Proxy;
using Delivery.Edge.Upstreams;

namespace Delivery.Edge.Tests.Proxy;

/// <summary>What goes through, what is refused, and how upstream's failures are told.</summary>
public sealed class ProxyTests
{
    [Fact]
    public async Task Fields_OfTheHopStayOut_AndTheRestGoesThroughAsItIs()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(
            200, "x"u8.ToArray(), "Connection: x-hop, close", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "Upgrade: h2c", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Odd: caf\u00e9 ; ,",
            "Cache-Control: no-store"));
        var raw = await edge.RawAsync(
            "GET /a?q=%2e%2E/ HTTP/1.0\r\nHost: Site.example\r\nConnection: x-mine\r\nX-Mine: 1\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: c=1\r\nX-Odd: \u00fc\r\n\r\n");
        var request = Assert.Single(edge.Origin.Requests);
        Assert.Equal(("GET", "/a?q=%2e%2E/"), (request.Method, request.Target));
        Assert.Equal("Site.example", request["Host"]);
        Assert.Equal(("", "", "", ""), (request["X-Mine"], request["TE"], request["Proxy-Authorization"], request["Connection"]));
        Assert.Equal(("c=1", "\u00fc"), (request["Cookie"], request["X-Odd"]));
        Assert.Equal(("1.0 edge-under-test", "edge-under-test", "127.0.0.1", "http"), (request["Via"], request["CDN-Loop"], request["X-Forwarded-For"], request["X-Forwarded-Proto"]));
        Assert.Equal("", request["traceparent"]);
        foreach (var line in new[] { "Set-Cookie: a=1\r\n", "Set-Cookie: b=2\r\n", "X-Odd: caf\u00e9 ; ,\r\n", "Via: 1.1 edge-under-test\r\n", "Cache-Status: edge-under-test; fwd=uri-miss; fwd-status=200\r\n" })
            Assert.Contains(line, raw, StringComparison.Ordinal);
        foreach (var name in new[] { "X-Hop", "Keep-Alive", "Proxy-Authenticate", "Upgrade" })
            Assert.DoesNotContain(name, raw, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task FieldThatConnectionTakesAway_ChoosesNoStoredResponse()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => connection.RespondAsync(200, Encoding.ASCII.GetBytes($"<{request["Accept-Language"]}>"), "Cache-Control: max-age=60", "Vary: Accept-Language"));
        Assert.EndsWith("<>", await edge.RawAsync("GET /a HTTP/1.0\r\nHost: x\r\nConnection: accept-language\r\nAccept-Language: de\r\n\r\n"), StringComparison.Ordinal);
        await edge.SettledAsync();
        Assert.EndsWith("<de>", await edge.RawAsync("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Language: de\r\n\r\n"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RequestBody_IsStreamed_WithItsLengthOrInChunks()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => connection.RespondAsync(201, request.Body, "X-Length: " + request["Content-Length"], "X-Coding: " + request["Transfer-Encoding"], "X-Type: " + request["Content-Type"]));
        var body = EdgeFixture.Bytes(300_000);
        using (var response = await edge.SendAsync("/a", HttpMethod.Post, new ByteArrayContent(body) { Headers = { { "Content-Type", "a/b" } } }))
        {
            Assert.Equal(HttpStatusCode.Created, response.StatusCode);
            Assert.Equal(("300000", "", "a/b"), (ProxyFixture.Header(response, "X-Length"), ProxyFixture.Header(response, "X-Coding"), ProxyFixture.Header(response, "X-Type")));
            Assert.Equal(body, await response.Content.ReadAsByteArrayAsync());
            Assert.Equal("edge-under-test; fwd=method; fwd-status=201", ProxyFixture.Header(response, "Cache-Status"));
        }

        var raw = await edge.RawAsync("PUT /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        Assert.Contains("X-Coding: chunked", raw, StringComparison.Ordinal);
        Assert.EndsWith("abc", raw, StringComparison.Ordinal);
        Assert.Equal("", edge.Origin.Requests[^1]["Expect"]);
    }

    [Theory]
    [InlineData("POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)]
    [InlineData("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", 400)]
    [InlineData("POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n", 413)]
    [InlineData("POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{1001}\r\n0\r\n\r\n", 413)]
    [InlineData("TRACE /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405)]
    [InlineData("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\nConnection: close\r\n\r\n", 405)]
    [InlineData("GET http://u@x/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400)]
    [InlineData("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCDN-Loop: other, edge-under-test;v=1\r\n\r\n", 508)]
    [InlineData("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nVia: 1.1 other, 1.1 edge-under-test (x)\r\n\r\n", 508)]
    [InlineData("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 204)]
    public async Task WhatIsNotForwarded_IsAnsweredHere(string request, int status)
    {
        await using var edge = await ProxyFixture.StartAsync(o => o with { MaxRequestBodyBytes = 1000 });
        edge.Origin.On("/a", "reached");
        var raw = await edge.RawAsync(request.Replace("{1001}", new string('x', 1001), StringComparison.Ordinal));
        Assert.StartsWith($"HTTP/1.1 {status} ", raw, StringComparison.Ordinal);
        Assert.DoesNotContain("reached", raw, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AbsoluteForm_IsTheSameUrl()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60");
        await edge.RawAsync("GET /a HTTP/1.1\r\nHost: SITE.example:80\r\nConnection: close\r\n\r\n");
        await edge.SettledAsync();
        Assert.Contains("; hit", await edge.RawAsync("GET http://site.example/a HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n"), StringComparison.Ordinal);
        Assert.Equal(1, edge.Origin.Asked("/a"));
        // Another site behind the same edge.
        await edge.RawAsync("GET /a HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n");
        Assert.Equal(2, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task InterimResponses_AreSkipped()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.SendAsync("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
            await connection.RespondAsync(200, "final"u8.ToArray(), "Cache-Control: max-age=60");
        });
        Assert.Equal("final", await edge.TextAsync("/a"));
        await edge.SettledAsync();
        Assert.Equal("final", await edge.TextAsync("/a"));
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Theory]
    [InlineData("reset", 502, "connection_terminated")]
    [InlineData("close", 502, "connection_terminated")]
    [InlineData("garbage", 502, "http_protocol_error")]
    [InlineData("coding", 502, "http_protocol_error")]
    [InlineData("fields", 502, "http_response_header_section_size")]
    public async Task UpstreamFailure_IsToldByProxyStatus(string what, int status, string error)
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (_, connection) =>
        {
            switch (what)
            {
                case "reset":
                    connection.Reset();
                    return Task.CompletedTask;
                case "close":
                    connection.Dispose();
                    return Task.CompletedTask;
                case "garbage":
                    return connection.SendAsync("SSH-2.0-OpenSSH_9.2\r\n\r\n");
                case "coding":
                    return connection.SendAsync("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nCache-Control: max-age=60\r\n\r\n0\r\n\r\n");
                default:
                    return connection.RespondAsync(200, [], "X-Long: " + new string('x', 70_000));
            }
        });
        using var response = await edge.GetAsync("/a");
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal($"edge-under-test; error={error}", ProxyFixture.Header(response, "Proxy-Status"));
        Assert.Equal("edge-under-test; fwd=uri-miss", ProxyFixture.Header(response, "Cache-Status"));
        Assert.Equal("no-store", ProxyFixture.Header(response, "Cache-Control"));
    }

    [Fact]
    public async Task UpstreamThatRefusesConnections_Is502()
    {
        await using var edge = await ProxyFixture.StartAsync();
        await edge.Origin.DisposeAsync();
        using var response = await edge.GetAsync("/a");
        Assert.Equal((502, "edge-under-test; error=connection_refused"), ((int)response.StatusCode, ProxyFixture.Header(response, "Proxy-Status")));
        Assert.Equal(1, edge.Parts.ProxyMeter.Failures(UpstreamFailure.ConnectionRefused));
    }

    [Fact]
    public async Task UpstreamThatDoesNotAnswer_Is504AfterItsTimeout()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (_, connection) => connection.HungUpAsync());
        var request = edge.GetAsync("/a");
        await Poll.UntilAsync(() => edge.Origin.Asked("/a") == 1);
        edge.Time.Advance(TimeSpan.FromSeconds(31));
        using var response = await request;
        Assert.Equal((504, "edge-under-test; error=http_response_timeout", "1"), ((int)response.StatusCode, ProxyFixture.Header(response, "Proxy-Status"), ProxyFixture.Header(response, "Retry-After")));
    }

    [Fact]
    public async Task SecondUpstream_AnswersSafeMethods_WhenTheFirstCannot()
    {
        await using var second = new ProxyOrigin();
        second.On("/a", "second", "Cache-Control: no-store");
        second.On("/b", "second", "Cache-Control: no-store");
        await using var edge = await ProxyFixture.StartAsync(null, [second.Address]);
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(503, "first"u8.ToArray()));
        edge.Origin.On("/b", (_, connection) =>
        {
            connection.Reset();
            return Task.CompletedTask;
        });
        Assert.Equal("second", await edge.TextAsync("/a"));
        Assert.Equal("second", await edge.TextAsync("/b"));
        using var post = await edge.SendAsync("/a", HttpMethod.Post, new StringContent("x"));
        Assert.Equal((503, "first"), ((int)post.StatusCode, await post.Content.ReadAsStringAsync()));
        Assert.Equal(1, second.Asked("/a"));
    }

    [Fact]
    public async Task ClientsRate_Is429_WithTheWait()
    {
        await using var edge = await ProxyFixture.StartAsync(limits: new() { ExemptNetworks = [], ClientRequestsPerSecond = 1, BurstTime = TimeSpan.FromSeconds(2) });
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60");
        var statuses = new List<int>();
        for (var i = 0; i < 5; i++)
        {
            using var response = await edge.GetAsync("/a");
            statuses.Add((int)response.StatusCode);
            if (response.StatusCode == HttpStatusCode.TooManyRequests)
                Assert.Equal("2", ProxyFixture.Header(response, "Retry-After"));
        }

        Assert.Equal(200, statuses[0]);
        Assert.Equal(429, statuses[^1]);
        edge.Time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal("x", await edge.TextAsync("/a"));
    }

    [Fact]
    public async Task MoreWaitersForUpstreamThanMayWait_Are503_AndHitsGoOn()
    {
        await using var edge = await ProxyFixture.StartAsync(limits: new() { MaxConcurrentMisses = 1 });
        edge.Origin.On("/hit", "x", "Cache-Control: max-age=60");
        await edge.TextAsync("/hit");
        await edge.SettledAsync();
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/slow", async (_, connection) =>
        {
            await go.Task;
            await connection.RespondAsync(200, "slow"u8.ToArray());
        });
        var slow = edge.TextAsync("/slow");
        await Poll.UntilAsync(() => edge.Origin.Asked("/slow") == 1);
        using (var refused = await edge.GetAsync("/other"))
            Assert.Equal((503, "1"), ((int)refused.StatusCode, ProxyFixture.Header(refused, "Retry-After")));
        Assert.Equal("x", await edge.TextAsync("/hit"));
        go.SetResult();
        Assert.Equal("slow", await slow);
        using var after = await edge.GetAsync("/other");
        Assert.Equal(404, (int)after.StatusCode);
    }

    [Fact]
    public async Task OnlyIfCached_Is504WithoutAStoredResponse()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60");
        using (var response = await edge.GetAsync("/a", ("Cache-Control", "only-if-cached")))
            Assert.Equal(504, (int)response.StatusCode);
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        Assert.Equal("x", await edge.TextAsync("/a", ("Cache-Control", "only-if-cached")));
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Fact]
    public void Options_EveryErrorNamesItsKey_AndNoKeyRingIsNeeded()
    {
        var good = new EdgeOptions { Mode = EdgeMode.Http, Upstreams = [new() { Kind = UpstreamKind.Http, Address = "http://origin.example:8080/prefix" }] };
        Assert.Empty(good.Validate());
        var errors = string.Join("\n", (good with
        {
            AdminPurge = true,
            Upstreams = [new() { Kind = UpstreamKind.Store }],
            Proxy = new()
            {
                MaxRequestBodyBytes = -1,
                MinRequestBytesPerSecond = 0,
                MaxStoredBytes = -1,
                MetadataBytes = 0,
                MaxVariants = 0,
                MaxResponseHeaderBytes = 0,
                MaxUpstreamConnections = 0,
                ConnectTimeout = TimeSpan.Zero,
                ResponseTimeout = TimeSpan.Zero,
                BodyIdleTimeout = TimeSpan.Zero,
                HitForMiss = -TimeSpan.FromSeconds(1),
                DefaultLifetime = TimeSpan.FromDays(366),
                TargetedFields = ["not a name"],
            },
        }).Validate());
        foreach (var key in typeof(ProxyOptions).GetProperties().Where(p => p.Name != nameof(ProxyOptions.Heuristics)).Select(p => $"Proxy.{p.Name}"))
            Assert.Contains(key, errors, StringComparison.Ordinal);
        Assert.Contains("Upstreams", errors, StringComparison.Ordinal);
        Assert.Contains("AdminPurge", errors, StringComparison.Ordinal);
        Assert.Empty(new EdgeOptions { KeyRingPath = "k", Proxy = new() { MaxVariants = 0 } }.Validate());
    }
}
