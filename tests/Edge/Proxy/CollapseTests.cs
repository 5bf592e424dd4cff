using System.Text;
using Delivery.Edge.Freshness;
using Delivery.Edge.Proxy;

namespace Delivery.Edge.Tests.Proxy;

/// <summary>Who shares an answer of upstream, and what of it is kept.</summary>
public sealed class CollapseTests
{
    private const string Fresh = "Cache-Control: max-age=60";

    [Fact]
    public async Task ConcurrentMisses_OneUrl_ReachOriginOnce_AndFollowersReadAsBytesLand()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(300_000);
        var rest = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HeadAsync(body.Length, Fresh);
            await connection.SendAsync(body[..200_000]);
            await rest.Task;
            await connection.SendAsync(body[200_000..]);
        });
        var responses = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => edge.GetAsync("/a")));
        foreach (var response in responses)
        {
            var first = new byte[200_000];
            await (await response.Content.ReadAsStreamAsync()).ReadExactlyAsync(first);
            Assert.Equal(body[..200_000], first);
        }

        rest.SetResult();
        foreach (var response in responses)
            Assert.Equal(body[200_000..], await ReadAllAsync(response));
        Assert.Equal(1, edge.Origin.Asked("/a"));
        Assert.Equal(19, responses.Count(r => ProxyFixture.Header(r, "Cache-Status").EndsWith("; stored; collapsed", StringComparison.Ordinal)));
        await edge.SettledAsync();
        Assert.Equal(body, Encoding.Latin1.GetBytes(await edge.TextAsync("/a")));
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task LeaderLeaves_MidBody_FollowerAndStoreGetTheWhole(bool withLength)
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(400_000);
        var rest = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HeadAsync(withLength ? body.Length : null, Fresh);
            if (withLength)
            {
                await connection.SendAsync(body[..100_000]);
                await rest.Task;
                await connection.SendAsync(body[100_000..]);
                return;
            }

            await connection.ChunkAsync(body[..100_000]);
            await rest.Task;
            await connection.ChunkAsync(body[100_000..]);
            await connection.SendAsync("0\r\n\r\n");
        });
        var leader = await edge.GetAsync("/a");
        var follower = await edge.GetAsync("/a");
        leader.Dispose();
        await Poll.UntilAsync(() => edge.Node.Parts.Meter.ClientsThatLeft == 1);
        rest.SetResult();
        Assert.Equal(body, await ReadAllAsync(follower));
        await edge.SettledAsync();
        Assert.Equal(body, Encoding.Latin1.GetBytes(await edge.TextAsync("/a")));
        Assert.Equal(1, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task EveryoneLeaves_BeforeTheHead_UpstreamIsGivenUp()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var hungUp = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HungUpAsync();
            hungUp.SetResult();
        });
        using var leave = new CancellationTokenSource();
        var request = edge.Client.GetAsync("/a", leave.Token);
        await Poll.UntilAsync(() => edge.Origin.Asked("/a") == 1);
        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        await hungUp.Task.WaitAsync(TimeSpan.FromSeconds(20));
        edge.Origin.On("/a", "again", Fresh);
        Assert.Equal("again", await edge.TextAsync("/a"));
    }

    [Fact]
    public async Task WaitersForWhatCannotBeStored_EachAskUpstream_AndNotOneAfterAnother()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var first = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var asked = 0;
        edge.Origin.On("/a", async (_, connection) =>
        {
            if (Interlocked.Increment(ref asked) == 1)
                await first.Task;
            else
                await all.Task;
            await connection.RespondAsync(200, "private"u8.ToArray(), "Cache-Control: no-store");
        });
        var requests = Enumerable.Range(0, 5).Select(_ => edge.TextAsync("/a")).ToArray();
        await Poll.UntilAsync(() => edge.Parts.Exchanges.Running == 1 && edge.Origin.Asked("/a") == 1);
        first.SetResult();
        // The four wait at the origin at once.
        await Poll.UntilAsync(() => edge.Origin.Asked("/a") == 5);
        all.SetResult();
        Assert.All(await Task.WhenAll(requests), text => Assert.Equal("private", text));
        // Known for a while, then collapsed again.
        Assert.True(edge.Parts.Responses.IsPass($"{edge.Node.Address}a", edge.Time.GetUtcNow()));
        edge.Time.Advance(TimeSpan.FromSeconds(6));
        Assert.False(edge.Parts.Responses.IsPass($"{edge.Node.Address}a", edge.Time.GetUtcNow()));
    }

    [Fact]
    public async Task FollowersOfAnotherVariant_AskForTheirOwn()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (request, connection) =>
        {
            await go.Task;
            await connection.RespondAsync(200, Encoding.ASCII.GetBytes(request["Accept-Language"]), Fresh, "Vary: Accept-Language");
        });
        var requests = new[] { "de", "en", "de", "en", "fr" }.Select(async language => (language, Text: await edge.TextAsync("/a", ("Accept-Language", language)))).ToArray();
        await Poll.UntilAsync(() => edge.Origin.Asked("/a") == 1);
        go.SetResult();
        Assert.All(await Task.WhenAll(requests), answer => Assert.Equal(answer.language, answer.Text));
        await edge.SettledAsync();
        var before = edge.Origin.Asked("/a");
        foreach (var language in new[] { "de", "en", "fr" })
            Assert.Equal(language, await edge.TextAsync("/a", ("Accept-Language", language)));
        Assert.Equal(before, edge.Origin.Asked("/a"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BodyThatBreaksOff_IsCut_AndNotStored(bool withLength)
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(200_000);
        var broken = true;
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HeadAsync(withLength ? body.Length : null, Fresh);
            if (withLength)
                await connection.SendAsync(broken ? body[..150_000] : body);
            else
                await connection.ChunkAsync(broken ? body[..150_000] : body);
            if (broken)
                connection.Dispose();
            else if (!withLength)
                await connection.SendAsync("0\r\n\r\n");
        });
        await Assert.ThrowsAsync<HttpRequestException>(() => edge.TextAsync("/a"));
        await edge.SettledAsync();
        Assert.Equal(0, edge.Parts.Responses.Count);
        Assert.Equal(1, edge.Parts.ProxyMeter.Failures(UpstreamFailure.HttpResponseIncomplete));
        broken = false;
        Assert.Equal(body, Encoding.Latin1.GetBytes(await edge.TextAsync("/a")));
        await edge.SettledAsync();
        Assert.Equal(1, edge.Parts.Responses.Count);
    }

    [Fact]
    public async Task BodyThatStalls_IsCutAfterItsTimeout()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HeadAsync(10, Fresh);
            await connection.SendAsync("half.");
            await connection.HungUpAsync();
        });
        using var response = await edge.GetAsync("/a");
        var stream = await response.Content.ReadAsStreamAsync();
        await stream.ReadExactlyAsync(new byte[5]);
        // The read's own deadline is set when it waits.
        await Poll.UntilAsync(() => edge.Time.Waiting > 0);
        edge.Time.Advance(TimeSpan.FromSeconds(31));
        await Assert.ThrowsAnyAsync<IOException>(() => stream.ReadExactlyAsync(new byte[5]).AsTask());
        await Poll.UntilAsync(() => edge.Parts.ProxyMeter.Failures(UpstreamFailure.HttpResponseTimeout) == 1);
    }

    [Fact]
    public async Task WithoutAFreeBuffer_ResponsesGoThroughUnstored()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(500_000);
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(200, body, Fresh));
        var taken = edge.Node.Buffers.TryReserve(edge.Node.Buffers.Capacity);
        Assert.Equal(body, Encoding.Latin1.GetBytes(await edge.TextAsync("/a")));
        Assert.Equal(1, edge.Parts.ProxyMeter.NotStoredFor(NoStoreReason.NoBuffers));
        edge.Node.Buffers.ReturnUnused(taken);
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        await edge.TextAsync("/a");
        Assert.Equal(2, edge.Origin.Asked("/a"));
    }

    [Fact]
    public async Task LongerThanMayBeStored_WithALength_GoesThroughUnstored()
    {
        await using var edge = await ProxyFixture.StartAsync(o => o with { MaxStoredBytes = 200_000 });
        var body = EdgeFixture.Bytes(1_000_000);
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(200, body, Fresh));
        for (var i = 0; i < 2; i++)
            Assert.Equal(body, Encoding.Latin1.GetBytes(await edge.TextAsync("/a")));
        Assert.Equal(2, edge.Origin.Asked("/a"));
        Assert.Equal(2, edge.Parts.ProxyMeter.NotStoredFor(NoStoreReason.TooLarge));
        Assert.Equal(0, edge.Parts.Responses.Count);
    }

    [Fact]
    public async Task LongerThanMayBeStored_SeenOnlyMidBody_StillServesEveryReader_AtTheSlowestsPace()
    {
        await using var edge = await ProxyFixture.StartAsync(o => o with { MaxStoredBytes = 300_000 });
        var body = EdgeFixture.Bytes(20_000_000);
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        edge.Origin.On("/a", async (_, connection) =>
        {
            await connection.HeadAsync(null, Fresh);
            await connection.ChunkAsync(body[..100_000]);
            await go.Task;
            await connection.ChunkAsync(body[100_000..]);
            await connection.SendAsync("0\r\n\r\n");
        });
        var fast = await edge.GetAsync("/a");
        var slow = await edge.GetAsync("/a");
        go.SetResult();
        var slowStream = await slow.Content.ReadAsStreamAsync();
        var started = new byte[500_000];
        var fastRead = ReadAllAsync(fast);
        await slowStream.ReadExactlyAsync(started);
        Assert.True(edge.Node.Buffers.InUse <= 4);
        using var rest = new MemoryStream();
        await slowStream.CopyToAsync(rest);
        Assert.Equal(body, started.Concat(rest.ToArray()).ToArray());
        Assert.Equal(body, await fastRead);
        Assert.Equal(1, edge.Origin.Asked("/a"));
        await edge.SettledAsync();
        Assert.Equal(0, edge.Parts.Responses.Count);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ChunkThatHasLeftTheCache_RestComesFromUpstream_OrTheResponseIsCut(bool sameVersion)
    {
        // Probation is a tenth of RAM: the body lies in it whole.
        await using var edge = await ProxyFixture.StartAsync(hotTierBytes: 256L << 20);
        var body = EdgeFixture.Bytes(9_000_000);
        edge.Origin.On("/a", (request, connection) =>
        {
            if (request["Range"] is not { Length: > 0 } range)
                return connection.RespondAsync(200, body, Fresh, "ETag: \"one\"");
            Assert.Equal("\"one\"", request["If-Range"]);
            var start = int.Parse(range["bytes=".Length..].Split('-')[0]);
            return sameVersion
                ? connection.RespondAsync(206, body[start..], $"Content-Range: bytes {start}-{body.Length - 1}/{body.Length}", "ETag: \"one\"")
                : connection.RespondAsync(200, body, "ETag: \"two\"");
        });
        await FillAsync(edge, "/before", 33);
        await edge.TextAsync("/a");
        await edge.SettledAsync();
        var (head, stream) = await edge.SlowAsync("GET /a HTTP/1.1\r\nHost: " + edge.Node.Address.Authority + "\r\nConnection: close\r\n\r\n");
        using var slow = stream;
        Assert.Contains("; hit", head, StringComparison.Ordinal);
        await stream.ReadExactlyAsync(new byte[1000]);
        await FillAsync(edge, "/after", 4);
        using var rest = new MemoryStream();
        if (!sameVersion)
        {
            await Assert.ThrowsAnyAsync<IOException>(() => stream.CopyToAsync(rest));
            return;
        }

        await stream.CopyToAsync(rest);
        Assert.Equal(body[1000..], rest.ToArray());
        Assert.Equal(1, edge.Parts.ProxyMeter.ResumedResponses);
    }

    [Fact]
    public async Task EvictedBody_IsAMiss_AndStaysWhenItIsAskedForAgain()
    {
        await using var edge = await ProxyFixture.StartAsync();
        edge.Origin.On("/a", "small", Fresh);
        await FillAsync(edge, "/before", 9);
        await edge.TextAsync("/a");
        await FillAsync(edge, "/between", 3);
        Assert.Equal("small", await edge.TextAsync("/a"));
        Assert.Equal(2, edge.Origin.Asked("/a"));
        await FillAsync(edge, "/after", 3);
        Assert.Equal("small", await edge.TextAsync("/a"));
        Assert.Equal(2, edge.Origin.Asked("/a"));
    }

    // So many responses of 8 MB, each asked for once. Until RAM has been full once, nothing leaves it.
    private static async Task FillAsync(ProxyFixture edge, string path, int count)
    {
        var body = EdgeFixture.Bytes(8_000_000, seed: 2);
        edge.Origin.On(path, (_, connection) => connection.RespondAsync(200, body, Fresh));
        for (var i = 0; i < count; i++)
            await edge.TextAsync($"{path}?{i}");
        await edge.SettledAsync();
    }

    [Fact]
    public async Task SlowReader_OfWhatIsBeingStored_HoldsNoMoreThanItsWindow_AndUpstreamIsReadNoFurther()
    {
        await using var edge = await ProxyFixture.StartAsync();
        var body = EdgeFixture.Bytes(30_000_000);
        edge.Origin.On("/a", (_, connection) => connection.RespondAsync(200, body, Fresh));
        var (_, stream) = await edge.SlowAsync("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        using var slow = stream;
        // What sockets take on top is the system's.
        var filled = -1L;
        await Poll.UntilAsync(() => edge.Node.Buffers.InUse <= 6 && edge.Node.Parts.Meter.FilledBytes is var now && now == Interlocked.Exchange(ref filled, now) && now > SharedBody.MaxAheadBytes);
        Assert.InRange(filled, SharedBody.MaxAheadBytes, 20_000_000);
        using var rest = new MemoryStream();
        await stream.CopyToAsync(rest);
        Assert.Equal(body, rest.ToArray());
    }

    private static async Task<byte[]> ReadAllAsync(HttpResponseMessage response)
    {
        using (response)
        using (var bytes = new MemoryStream())
        {
            await (await response.Content.ReadAsStreamAsync()).CopyToAsync(bytes);
            return bytes.ToArray();
        }
    }
}
