using System.Net;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Delivery.Edge.Tests.Requests;
using Delivery.TokenAuth;

namespace Delivery.Edge.Tests.Limits;

public sealed class RateLimitTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(200_000);

    // Nobody is exempt, and only what a test names is bounded.
    private static Task<EdgeFixture> StartAsync(Func<LimitOptions, LimitOptions> configure) => EdgeFixture.StartAsync(o => o with
    {
        Limits = configure(new()
        {
            ExemptNetworks = [],
            BurstTime = TimeSpan.FromSeconds(1),
            ClientRequestsPerSecond = 0,
            ClientBytesPerSecond = 0,
            SessionRequestsPerSecond = 0,
            SessionBytesPerSecond = 0,
        }),
    });

    [Fact]
    public async Task ClientOverItsRequestRate_Gets429BeforeItsTokenIsLookedAt()
    {
        await using var edge = await StartAsync(l => l with { ClientRequestsPerSecond = 3 });
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        for (var i = 0; i < 3; i++)
        {
            using var refused = await edge.SendAsync("/audio/x.ogg");
            Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        }

        foreach (var target in new[] { signed, "/audio/x.ogg", "/x//y" })
        {
            using var limited = await edge.SendAsync(target);
            Assert.Equal(HttpStatusCode.TooManyRequests, limited.StatusCode);
            Assert.Equal("1", EdgeFixture.Header(limited, "Retry-After"));
            Assert.Equal("no-store", EdgeFixture.Header(limited, "Cache-Control"));
            Assert.Equal("*", EdgeFixture.Header(limited, "Access-Control-Allow-Origin"));
        }

        Assert.Equal((0, 0), (edge.Store.Finds, edge.Store.Opens.Count));
        Assert.Equal(3, edge.Node.Parts.Limits.Meter.Count(Limit.ClientRequests));
        Assert.Equal(3, edge.Node.Parts.Meter.Refusals(TokenVerdict.Missing));
        edge.Time.Advance(TimeSpan.FromSeconds(1));
        using var served = await edge.SendAsync(signed);
        Assert.Equal(HttpStatusCode.OK, served.StatusCode);
        Assert.Equal(Content, await served.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task ClientOverItsByteRate_Gets429UntilPaid_AndRunningResponsesGoOn()
    {
        await using var edge = await StartAsync(l => l with { ClientBytesPerSecond = 1000 });
        var path = await edge.AddFileAsync(Content);
        // 200 times the burst, in one response: never cut.
        using (var whole = await edge.GetAsync(path))
            Assert.Equal(Content, await whole.Content.ReadAsByteArrayAsync());
        using var limited = await edge.GetAsync(path, "bytes=0-9");
        Assert.Equal(HttpStatusCode.TooManyRequests, limited.StatusCode);
        // 200,000 bytes at 1,000 per second, less one second of burst.
        var wait = int.Parse(EdgeFixture.Header(limited, "Retry-After"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(wait, 199, 200);
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.ClientBytes));
        edge.Time.Advance(TimeSpan.FromSeconds(wait - 2));
        using var still = await edge.GetAsync(path, "bytes=0-9");
        Assert.Equal(HttpStatusCode.TooManyRequests, still.StatusCode);
        edge.Time.Advance(TimeSpan.FromSeconds(2));
        using var served = await edge.GetAsync(path, "bytes=0-9");
        Assert.Equal(HttpStatusCode.PartialContent, served.StatusCode);
    }

    [Fact]
    public async Task SessionOverItsRate_Gets429_OtherSessionsDoNot()
    {
        await using var edge = await StartAsync(l => l with { SessionRequestsPerSecond = 2 });
        var paths = new[] { await edge.AddFileAsync(Content), await edge.AddFileAsync(EdgeFixture.Bytes(1000, 2)) };
        // By session, not by URL.
        foreach (var path in paths)
        {
            using var served = await edge.SendAsync(Sign(edge, path, "one"));
            Assert.Equal(HttpStatusCode.OK, served.StatusCode);
        }

        using var limited = await edge.SendAsync(Sign(edge, paths[0], "one"));
        Assert.Equal(HttpStatusCode.TooManyRequests, limited.StatusCode);
        using var other = await edge.SendAsync(Sign(edge, paths[0], "two"));
        Assert.Equal(HttpStatusCode.OK, other.StatusCode);
        // A forged token uses up nobody's rate, and is not told of it.
        using var forged = await edge.SendAsync(Sign(edge, paths[0], "one")[..^3] + "AAA");
        Assert.Equal(HttpStatusCode.Forbidden, forged.StatusCode);
        for (var i = 0; i < 10; i++)
        {
            using var without = await edge.GetAsync(paths[0]);
            Assert.Equal(HttpStatusCode.OK, without.StatusCode);
        }

        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.TokenRequests));
    }

    [Fact]
    public async Task SignatureOverItsRates_Gets429_OtherUrlsDoNot()
    {
        await using var edge = await StartAsync(l => l with { SignatureRequestsPerSecond = 2 });
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        foreach (var spelling in new[] { signed, signed + "=", signed + "&cmcd=1" })
        {
            using var response = await edge.SendAsync(spelling);
            Assert.Equal(spelling == signed + "&cmcd=1" ? HttpStatusCode.TooManyRequests : HttpStatusCode.OK, response.StatusCode);
            await response.Content.ReadAsByteArrayAsync();
        }

        using var other = await edge.SendAsync(edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10))));
        Assert.Equal(HttpStatusCode.OK, other.StatusCode);
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.TokenRequests));
        await using var bytes = await StartAsync(l => l with { SignatureBytesPerSecond = 100_000 });
        signed = bytes.Sign(await bytes.AddFileAsync(Content));
        using (var whole = await bytes.SendAsync(signed))
            Assert.Equal(Content, await whole.Content.ReadAsByteArrayAsync());
        using var limited = await bytes.SendAsync(signed);
        Assert.Equal(HttpStatusCode.TooManyRequests, limited.StatusCode);
        Assert.Equal(1, bytes.Node.Parts.Limits.Meter.Count(Limit.TokenBytes));
    }

    [Fact]
    public async Task ExemptClient_MeetsNoRate()
    {
        await using var edge = await StartAsync(l => l with { ClientRequestsPerSecond = 1, ClientBytesPerSecond = 1, SignatureRequestsPerSecond = 1, ConnectionsPerClient = 1, ExemptNetworks = ["127.0.0.0/8"] });
        var path = await edge.AddFileAsync(Content);
        foreach (var response in await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => edge.GetAsync(path, "bytes=0-9"))))
        {
            Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
            response.Dispose();
        }
    }

    [Fact]
    public async Task ClientWithTooManyConnections_IsClosedAtAccept_UntilOneEnds()
    {
        await using var edge = await StartAsync(l => l with { ConnectionsPerClient = 2 });
        using var first = await RawClient.ConnectAsync(edge.Node.Address);
        using var second = await RawClient.ConnectAsync(edge.Node.Address);
        foreach (var client in new[] { first, second })
            Assert.StartsWith("HTTP/1.1 204 ", await OptionsAsync(client), StringComparison.Ordinal);
        using var third = await RawClient.ConnectAsync(edge.Node.Address);
        Assert.Equal("", await third.ReadToEndAsync());
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.ClientConnections));
        // Those that it has go on, and a place that is given back is used.
        Assert.StartsWith("HTTP/1.1 204 ", await OptionsAsync(second), StringComparison.Ordinal);
        first.Reset();
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Connections == 1);
        using var fourth = await RawClient.ConnectAsync(edge.Node.Address);
        Assert.StartsWith("HTTP/1.1 204 ", await OptionsAsync(fourth), StringComparison.Ordinal);
        second.Reset();
        fourth.Reset();
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Connections.Clients == 0);
    }

    [Fact]
    public async Task MoreConnectionsThanTheNodeTakes_AreClosedAndCounted()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { MaxConnections = 2 });
        using var first = await RawClient.ConnectAsync(edge.Node.Address);
        using var second = await RawClient.ConnectAsync(edge.Node.Address);
        foreach (var client in new[] { first, second })
            await OptionsAsync(client);
        using var third = await RawClient.ConnectAsync(edge.Node.Address);
        var end = await third.ReadToEndAsync();
        Assert.True(end is "" or "<reset>", end);
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Count(Limit.Connections) == 1);
    }

    [Fact]
    public async Task MissesAtTheirBound_Are503_HitsAndRunningBodiesGoOn()
    {
        await using var edge = await StartAsync(l => l with { MaxConcurrentMisses = 2 });
        var hot = await edge.AddFileAsync(Content);
        using (var fill = await edge.GetAsync(hot))
            await fill.Content.ReadAsByteArrayAsync();
        await edge.SettledAsync();
        // A body under way waits for its next chunk: it is no miss any more.
        var long1 = EdgeFixture.Bytes(600_000, 3);
        var longPath = await edge.AddFileAsync(long1);
        var holding = edge.Store.Script = new() { HoldAfter = 1000 };
        using var running = await edge.GetAsync(longPath);
        Assert.Equal(HttpStatusCode.OK, running.StatusCode);
        await Poll.UntilAsync(() => edge.Node.Parts.Limits is { Misses: 0, Requests: 1 });

        edge.Store.Script = new() { HoldOpen = true };
        var waiting = new[] { edge.GetAsync(await edge.AddFileAsync(EdgeFixture.Bytes(10, 4))), edge.GetAsync(await edge.AddFileAsync(EdgeFixture.Bytes(10, 5)), method: HttpMethod.Head) };
        await Poll.UntilAsync(() => edge.Node.Parts.Limits is { Misses: 2, Requests: 3 });
        var cold = await edge.AddFileAsync(EdgeFixture.Bytes(10, 6));
        foreach (var method in new[] { HttpMethod.Get, HttpMethod.Head })
        {
            using var refused = await edge.GetAsync(cold, method: method);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
            Assert.Equal("1", EdgeFixture.Header(refused, "Retry-After"));
        }

        using (var hit = await edge.GetAsync(hot))
        {
            Assert.Equal("delivery-edge; hit", EdgeFixture.Header(hit, "Cache-Status"));
            Assert.Equal(Content, await hit.Content.ReadAsByteArrayAsync());
        }

        Assert.Equal(2, edge.Node.Parts.Limits.Meter.Count(Limit.Misses));
        edge.Store.Script.Release();
        holding.Release();
        Assert.Equal(long1, await running.Content.ReadAsByteArrayAsync());
        foreach (var response in waiting)
            Assert.Equal(HttpStatusCode.OK, (await response).StatusCode);
        using var after = await edge.GetAsync(cold);
        Assert.Equal(HttpStatusCode.OK, after.StatusCode);
    }

    [Fact]
    public async Task RequestsAtTheirBound_Are503_ThoseInWorkGoOn_AndRefusalsTakeNoPlace()
    {
        await using var edge = await StartAsync(l => l with { MaxConcurrentRequests = 1 });
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var running = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, running.StatusCode);
        using (var refused = await edge.GetAsync(path))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
            Assert.Equal("1", EdgeFixture.Header(refused, "Retry-After"));
        }

        using (var preflight = await edge.GetAsync(path, method: HttpMethod.Options))
            Assert.Equal(HttpStatusCode.NoContent, preflight.StatusCode);
        using (var forged = await edge.SendAsync(path))
            Assert.Equal(HttpStatusCode.Forbidden, forged.StatusCode);
        edge.Store.Script.Release();
        Assert.Equal(Content, await running.Content.ReadAsByteArrayAsync());
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Requests == 0);
        using var after = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, after.StatusCode);
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.Requests));
    }

    [Fact]
    public async Task ClientsThatLeave_GiveTheirPlacesBack()
    {
        await using var edge = await StartAsync(l => l with { MaxConcurrentMisses = 5 });
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldOpen = true };
        for (var round = 0; round < 3; round++)
        {
            var clients = new List<RawClient>();
            for (var i = 0; i < 5; i++)
            {
                clients.Add(await RawClient.ConnectAsync(edge.Node.Address));
                await clients[i].SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n\r\n");
            }

            await Poll.UntilAsync(() => edge.Node.Parts.Limits.Misses == 5);
            clients.ForEach(c => c.Reset());
            await Poll.UntilAsync(() => edge.Node.Parts.Limits is { Misses: 0, Requests: 0 });
        }
    }

    [Fact]
    public async Task AdminPort_ShowsEachLimit()
    {
        await using var edge = await StartAsync(l => l with { ClientRequestsPerSecond = 1 });
        for (var i = 0; i < 3; i++)
            (await edge.SendAsync("/")).Dispose();
        using var admin = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        var metrics = await admin.GetStringAsync("/metrics");
        foreach (var limit in Enum.GetValues<Limit>())
            Assert.Contains($"delivery_edge_limited_total{{limit=\"{EdgeMeter.Label(limit)}\"}} ", metrics, StringComparison.Ordinal);
        Assert.DoesNotContain("delivery_edge_limited_total{limit=\"client_requests\"} 0\n", metrics, StringComparison.Ordinal);
        Assert.Contains("delivery_edge_connections ", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public void BadLimits_AreAllReportedAtOnceUnderTheirKeys()
    {
        var errors = new EdgeOptions
        {
            KeyRingPath = "k",
            Limits = new() { ClientRequestsPerSecond = -1, BurstTime = TimeSpan.Zero, ExemptNetworks = ["10.0.0.0/33"], MaxConcurrentMisses = 0, MaxResets = 0 },
        }.Validate();
        Assert.Equal(["Limits.ClientRequestsPerSecond", "Limits.BurstTime", "Limits.ExemptNetworks", "Limits.MaxConcurrentMisses", "Limits.MaxResets"], errors.Select(e => e.Split(' ', ':')[0]));
    }

    private static string Sign(EdgeFixture edge, string path, string session) =>
        NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), SessionId = session });

    private static async Task<string> OptionsAsync(RawClient client)
    {
        await client.SendAsync("OPTIONS * HTTP/1.1\r\nHost: edge\r\n\r\n");
        return (await client.ReadAsync(0)).Headers;
    }
}
