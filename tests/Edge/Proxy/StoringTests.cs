using System.Net;
using System.Text;
using Delivery.Edge.Freshness;
using Delivery.Edge.Proxy;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Tests.Proxy;

/// <summary>What is stored, how long it holds, how it is revalidated, and how a part of it is served.</summary>
public sealed class StoringTests
{
    [Fact]
    public async Task Hit_SaysItsAge_AndThatItIsOne()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60", "Age: 7");
        using (var miss = await edge.GetAsync("/a"))
            Assert.Equal(("edge-under-test; fwd=uri-miss; fwd-status=200; stored", "7"), (ProxyFixture.Header(miss, "Cache-Status"), ProxyFixture.Header(miss, "Age")));
        await edge.SettledAsync();
        edge.Time.Advance(TimeSpan.FromSeconds(10));
        using (var hit = await edge.GetAsync("/a"))
            Assert.Equal(("edge-under-test; hit; ttl=43", "17"), (ProxyFixture.Header(hit, "Cache-Status"), ProxyFixture.Header(hit, "Age")));
        using (var head = await edge.SendAsync("/a", HttpMethod.Head))
            Assert.Equal(("17", 1L), (ProxyFixture.Header(head, "Age"), head.Content.Headers.ContentLength));
        Assert.Equal(1, edge.Origin.Asked("/a"));
        await Poll.UntilAsync(() => edge.Parts.ProxyMeter.Requests(ProxyResult.Hit) == 2);
    }

    [Fact]
    public async Task Stale_IsRevalidated_AndA304RefreshesTheFieldsNotTheBody()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => request["If-None-Match"] == "\"one\""
            ? connection.SendAsync("HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nCache-Control: max-age=60\r\nX-New: 2\r\nContent-Type: a/new\r\nContent-Length: 99\r\nContent-Encoding: br\r\n\r\n")
            : connection.RespondAsync(200, "body"u8.ToArray(), "ETag: \"one\"", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=10", "X-Old: 1", "X-New: 1", "Content-Type: a/old", "Age: 3"));
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        edge.Time.Advance(TimeSpan.FromSeconds(10));
        for (var i = 0; i < 2; i++)
        {
            using var response = await edge.GetAsync("/a");
            Assert.Equal("body", await response.Content.ReadAsStringAsync());
            Assert.Equal(("1", "2", "a/new", "", "0"), (
                ProxyFixture.Header(response, "X-Old"), ProxyFixture.Header(response, "X-New"), ProxyFixture.Header(response, "Content-Type"), ProxyFixture.Header(response, "Content-Encoding"),
                ProxyFixture.Header(response, "Age")));
            Assert.Equal(i == 0 ? "edge-under-test; fwd=stale; fwd-status=304; stored; ttl=60" : "edge-under-test; hit; ttl=60", ProxyFixture.Header(response, "Cache-Status"));
        }

        Assert.Equal(2, edge.Origin.Asked("/a"));
        Assert.Equal("Sun, 06 Nov 1994 08:49:37 GMT", edge.Origin.Requests[1]["If-Modified-Since"]);
        await Poll.UntilAsync(() => edge.Parts.ProxyMeter.Requests(ProxyResult.Revalidated) == 1);
    }

    [Fact]
    public async Task Stale_ThatHasChanged_IsReplaced()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "one", "ETag: \"one\"", "Cache-Control: max-age=10");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        edge.Origin.On("/a", "two", "ETag: \"two\"", "Cache-Control: max-age=10");
        edge.Time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal("two", await edge.TextAsync("/a"));
        await edge.SettledAsync();
        Assert.Equal("two", await edge.TextAsync("/a"));
        Assert.Equal(1, edge.Parts.Responses.Count);
        Assert.Equal(2, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task StaleWhileRevalidate_ServesTheOld_AndAsksOnce()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "old", "Cache-Control: max-age=10, stale-while-revalidate=30");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (_, connection) =>
        {
            await go.Task;
            await connection.RespondAsync(200, "new"u8.ToArray(), "Cache-Control: max-age=10, stale-while-revalidate=30");
        });
        edge.Time.Advance(TimeSpan.FromSeconds(15));
        for (var i = 0; i < 5; i++)
            Assert.Equal("old", await edge.TextAsync("/a"));
        await Poll.UntilAsync(() => edge.Origin.Asked("/a") == 2);
        await Poll.UntilAsync(() => edge.Parts.ProxyMeter.Requests(ProxyResult.Stale) == 5);
        go.SetResult();
        await edge.SettledAsync();
        Assert.Equal("new", await edge.TextAsync("/a"));
        Assert.Equal(2, edge.Origin.Asked("/a"));
    }

    [Theory]
    [InlineData("503")]
    [InlineData("reset")]
    public async Task StaleIfError_ServesTheOld_UntilItsBound(string failure)
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "old", "Cache-Control: max-age=10, stale-if-error=30");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        edge.Origin.On("/a", (_, connection) =>
        {
            if (failure == "503")
                return connection.RespondAsync(503, "down"u8.ToArray());
            connection.Reset();
            return Task.CompletedTask;
        });
        edge.Time.Advance(TimeSpan.FromSeconds(39));
        Assert.Equal("old", await edge.TextAsync("/a"));
        edge.Time.Advance(TimeSpan.FromSeconds(1));
        using var response = await edge.GetAsync("/a");
        Assert.Equal(failure == "503" ? 503 : 502, (int)response.StatusCode);
    }

    [Fact]
    public async Task MustRevalidate_IsNeverServedStale()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "old", "Cache-Control: max-age=10, must-revalidate, stale-if-error=30");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        edge.Origin.On("/a", (_, connection) =>
        {
            connection.Reset();
            return Task.CompletedTask;
        });
        edge.Time.Advance(TimeSpan.FromSeconds(11));
        using var response = await edge.GetAsync("/a", ("Cache-Control", "max-stale=1000"));
        Assert.Equal(502, (int)response.StatusCode);
    }

    [Fact]
    public async Task UnsafeRequest_Invalidates_AlsoWhatIsUnderWay_AndWhatItPointsAt()
    {
        await using var edge = await ProxyFixture.StartAsync();
        foreach (var path in new[] { "/a", "/location", "/content", "/elsewhere" })
            edge.Origin.On(path, "old", "Cache-Control: max-age=60");
        foreach (var path in new[] { "/location", "/content", "/elsewhere" })
            await edge.TextAsync(path);
        await edge.SettledAsync();
        // A fill from before the change ends after it.
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (request, connection) =>
        {
            if (request.Method == "POST")
            {
                await connection.RespondAsync(200, [], "Location: /location", $"Content-Location: {edge.Node.Address}content", "Link: /elsewhere");
                return;
            }

            await connection.HeadAsync(3, "Cache-Control: max-age=60");
            await go.Task;
            await connection.SendAsync("old");
        });
        using var early = await edge.GetAsync("/a");
        using (await edge.SendAsync("/a", HttpMethod.Post, new StringContent("x")))
            go.SetResult();
        Assert.Equal("old", await early.Content.ReadAsStringAsync());
        await edge.SettledAsync();
        foreach (var path in new[] { "/a", "/location", "/content", "/elsewhere" })
            await edge.TextAsync(path);
        Assert.Equal((3, 2, 2, 1), (edge.Origin.Asked("/a"), edge.Origin.Asked("/location"), edge.Origin.Asked("/content"), edge.Origin.Asked("/elsewhere")));
    }

    [Fact]
    public async Task UnsafeRequestThatFails_InvalidatesNothing()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => connection.RespondAsync(request.Method == "GET" ? 200 : 403, [], "Cache-Control: max-age=60"));
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        using (await edge.SendAsync("/a", HttpMethod.Delete))
            await edge.TextAsync("/a");
        Assert.Equal(1, edge.Origin.Requests.Count(r => r.Method == "GET"));
    }

    [Theory]
    [InlineData("bytes=0-9", 0, 10)]
    [InlineData("bytes=131070-131080", 131070, 11)]
    [InlineData("bytes=399990-", 399_990, 10)]
    [InlineData("bytes=-10", 399_990, 10)]
    [InlineData("bytes=100-999999999", 100, 399_900)]
    public async Task Range_OfWhatIsStored_IsServedFromIt(string range, int start, int length)
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(400_000);
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(200, body, "Cache-Control: max-age=60", "ETag: \"one\""));
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        using var response = await edge.GetAsync("/a", ("Range", range), ("If-Range", "\"one\""));
        Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
        Assert.Equal($"bytes {start}-{start + length - 1}/400000", ProxyFixture.Header(response, "Content-Range"));
        Assert.Equal(body.AsSpan(start, length).ToArray(), await response.Content.ReadAsByteArrayAsync());
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task Range_PastTheEnd_Is416_AndWithAnotherIfRangeTheWhole()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "0123456789", "Cache-Control: max-age=60", "ETag: \"one\"", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        using (var response = await edge.GetAsync("/a", ("Range", "bytes=10-")))
            Assert.Equal((416, "bytes */10"), ((int)response.StatusCode, ProxyFixture.Header(response, "Content-Range")));
        Assert.Equal("0123456789", await edge.TextAsync("/a", ("Range", "bytes=1-2"), ("If-Range", "\"two\"")));
        Assert.Equal("0123456789", await edge.TextAsync("/a", ("Range", "bytes=1-2"), ("If-Range", "W/\"one\"")));
        using (var response = await edge.GetAsync("/a", ("Range", "bytes=1-2"), ("If-Range", "Sun, 06 Nov 1994 08:49:37 GMT")))
            Assert.Equal("12", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Range_OfWhatIsNotStored_GoesThrough_AndThePartIsNotStored()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => request["Range"] == "bytes=1-2"
            ? connection.RespondAsync(206, "12"u8.ToArray(), "Content-Range: bytes 1-2/10", "Cache-Control: max-age=60")
            : connection.RespondAsync(200, "0123456789"u8.ToArray(), "Cache-Control: max-age=60"));
        using (var response = await edge.GetAsync("/a", ("Range", "bytes=1-2")))
            Assert.Equal((206, "12", "bytes 1-2/10"), ((int)response.StatusCode, await response.Content.ReadAsStringAsync(), ProxyFixture.Header(response, "Content-Range")));
        await edge.SettledAsync();
        Assert.Equal(0, edge.Parts.Responses.Count);
        Assert.Equal("0123456789", await edge.TextAsync("/a"));
    }

    [Fact]
    public async Task OriginThatIgnoresARange_HasItsWholeStored_AndThePartServed()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "0123456789", "Cache-Control: max-age=60");
        using (var response = await edge.GetAsync("/a", ("Range", "bytes=1-2")))
            Assert.Equal((206, "12"), ((int)response.StatusCode, await response.Content.ReadAsStringAsync()));
        await edge.SettledAsync();
        Assert.Equal("0123456789", await edge.TextAsync("/a"));
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task ClientsConditions_AreAnsweredHere_AlsoOnAMiss()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60", "ETag: W/\"one\"", "Content-Type: a/b", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT");
        foreach (var (name, value, status) in new[]
        {
            ("If-None-Match", "\"zero\", W/\"one\"", 304), ("If-None-Match", "\"one\"", 304), ("If-None-Match", "*", 304), ("If-None-Match", "\"two\"", 200),
            ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 304), ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:38 GMT", 304), ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
        })
        {
            using var response = await edge.GetAsync("/a", (name, value));
            Assert.Equal(status, (int)response.StatusCode);
            if (status == 304)
                Assert.Equal(("W/\"one\"", ""), (ProxyFixture.Header(response, "ETag"), ProxyFixture.Header(response, "Content-Type")));
            await edge.SettledAsync();
        }

        Assert.Equal(1, edge.Origin.Asked("/a"));
        Assert.Equal("", edge.Origin.Requests[0]["If-None-Match"]);
    }

    [Fact]
    public async Task ConditionsForTheOrigin_GoThrough()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => connection.RespondAsync(request["If-Match"].Length > 0 ? 412 : 200, [], "Cache-Control: max-age=60", "ETag: \"one\""));
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        using var response = await edge.GetAsync("/a", ("If-Match", "\"two\""));
        Assert.Equal((412, "edge-under-test; fwd=bypass; fwd-status=412"), ((int)response.StatusCode, ProxyFixture.Header(response, "Cache-Status")));
    }

    [Fact]
    public async Task Head_UpdatesWhatIsStored_OrEndsIt()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => request.Method == "HEAD"
            ? connection.SendAsync("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: \"one\"\r\nCache-Control: max-age=60\r\nX-New: 1\r\n\r\n")
            : connection.RespondAsync(200, "body"u8.ToArray(), "ETag: \"one\"", "Cache-Control: max-age=10"));
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        edge.Time.Advance(TimeSpan.FromSeconds(11));
        using (var head = await edge.SendAsync("/a", HttpMethod.Head))
            Assert.Equal(4, head.Content.Headers.ContentLength);
        using (var response = await edge.GetAsync("/a"))
            Assert.Equal(("1", "body"), (ProxyFixture.Header(response, "X-New"), await response.Content.ReadAsStringAsync()));
        Assert.Equal(1, edge.Origin.Requests.Count(r => r.Method == "GET"));

        edge.Origin.On("/a", (request, connection) => request.Method == "HEAD"
            ? connection.SendAsync("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"two\"\r\n\r\n")
            : connection.RespondAsync(200, "other"u8.ToArray()));
        edge.Time.Advance(TimeSpan.FromSeconds(61));
        using (await edge.SendAsync("/a", HttpMethod.Head))
            Assert.Equal("other", await edge.TextAsync("/a"));
    }

    [Fact]
    public async Task Credentials_AreStoredOnlyWithLeave_AndNobodyWaitsForThem()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", (request, connection) => connection.RespondAsync(200, Encoding.ASCII.GetBytes(request["Authorization"]), "Cache-Control: max-age=60"));
        edge.Origin.On("/public", (request, connection) => connection.RespondAsync(200, Encoding.ASCII.GetBytes(request["Authorization"]), "Cache-Control: max-age=60, public"));
        Assert.Equal("one", await edge.TextAsync("/a", ("Authorization", "one")));
        Assert.Equal("two", await edge.TextAsync("/a", ("Authorization", "two")));
        Assert.Equal(2, edge.Parts.ProxyMeter.NotStoredFor(NoStoreReason.Authorization));
        Assert.Equal("one", await edge.TextAsync("/public", ("Authorization", "one")));
        await edge.SettledAsync();
        Assert.Equal("one", await edge.TextAsync("/public"));
    }

    [Fact]
    public async Task FieldsThatMayNotBeStored_AreLeftOut()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "x", "Cache-Control: max-age=60, private=\"set-cookie\", no-cache=x-mine", "Set-Cookie: a=1", "X-Mine: 1", "X-All: 1");
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        using var response = await edge.GetAsync("/a");
        Assert.Equal(("", "", "1"), (ProxyFixture.Header(response, "Set-Cookie"), ProxyFixture.Header(response, "X-Mine"), ProxyFixture.Header(response, "X-All")));
        Assert.Contains("; hit", ProxyFixture.Header(response, "Cache-Status"), StringComparison.Ordinal);
    }

    [Fact]
    public void ResponseTable_StaysWithinItsBudget_TheLeastUsedLeavesFirst()
    {
        var table = new ResponseTable(100_000, maxVariants: 2);
        for (var i = 0; i < 1000; i++)
        {
            table.Add(Response($"http://x/{i}", Selection.Any));
            table.Find("http://x/0", new HeaderDictionary(), out _);
            Assert.InRange(table.Bytes, 1, 100_000);
        }

        Assert.NotNull(table.Find("http://x/0", new HeaderDictionary(), out _));
        Assert.Null(table.Find("http://x/1", new HeaderDictionary(), out _));
        Assert.NotNull(table.Find("http://x/999", new HeaderDictionary(), out _));
        Assert.Equal(1000, table.Count + table.Evicted);
        for (var i = 0; i < 1000; i++)
            table.Invalidate($"http://x/{i}");
        Assert.Equal((0, 0L), (table.Count, table.Bytes));
    }

    [Fact]
    public void ResponseTable_KeepsNoMoreVariantsThanItMay_TheNewestOfEach()
    {
        var table = new ResponseTable(1 << 20, maxVariants: 2);
        foreach (var (language, status) in new[] { ("de", 200), ("en", 200), ("de", 404), ("fr", 200) })
            table.Add(Response("http://x/", Selection.Of("Accept-Language", Request(language))) with { Status = status });
        Assert.Equal(2, table.Count);
        Assert.Equal(404, table.Find("http://x/", Request("DE"), out _)!.Status);
        Assert.Equal(200, table.Find("http://x/", Request("fr"), out _)!.Status);
        Assert.Null(table.Find("http://x/", Request("en"), out var hasOthers));
        Assert.True(hasOthers);
    }

    [Theory]
    [InlineData("Foo", "1, 2", "1,2", true)]
    [InlineData("Foo", " 1 ,  2 ", "1,2", true)]
    [InlineData("Foo", "1", "2", false)]
    [InlineData("Foo", "a", "A", false)]
    [InlineData("Foo", "\"1, 2\"", "\"1,2\"", false)]
    [InlineData("Foo", "", null, false)]
    [InlineData("Accept-Language", "en, de", "DE,en", true)]
    [InlineData("Accept-Language", "en, de;q=0.5", "de, en;q=0.5", false)]
    public void Selection_ComparesAfterNormalising(string name, string? stored, string? asked, bool matches)
    {
        var selection = Selection.Of(name, stored is null ? new HeaderDictionary() : new HeaderDictionary { [name] = stored });
        Assert.Equal(matches, selection.Matches(asked is null ? new HeaderDictionary() : new HeaderDictionary { [name] = asked }));
    }

    private static HeaderDictionary Request(string language) => new() { ["Accept-Language"] = language };

    private static StoredResponse Response(string key, Selection selection) => new()
    {
        Key = key,
        Status = 200,
        Fields = new HeaderDictionary { ["X"] = "1" },
        Freshness = new() { Lifetime = default, ReceivedAt = default },
        Selection = selection,
        Body = default,
        Length = 0,
    };
}
