using System.Net;
using System.Net.Sockets;
using System.Text;
using Delivery.Edge.Fills;
using Delivery.Edge.Metering;
using Delivery.Edge.Tests.Requests;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests.Fills;

public sealed class FillTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(12 * Chunk.SizeBytes + 777);

    [Fact]
    public async Task ConcurrentMisses_OneKey_ReachStoreOnce()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldOpen = true };
        var requests = Enumerable.Range(0, 20).Select(_ => edge.GetAsync(path, "bytes=0-65535")).ToArray();
        await Poll.UntilAsync(() => edge.Node.Parts.Fills.Running == 1 && edge.Store.Script.Arrived == 1);
        edge.Store.Script.Release();
        var statuses = new List<string>();
        foreach (var request in requests)
        {
            using var response = await request;
            statuses.Add(EdgeFixture.Header(response, "Cache-Status"));
            var received = await response.Content.ReadAsByteArrayAsync();
            Assert.True(Content.AsSpan(0, 65_536).SequenceEqual(received));
        }

        Assert.Single(edge.Store.Opens);
        Assert.Equal(0, edge.Store.Finds);
        Assert.Single(statuses, "delivery-edge; fwd=uri-miss; stored");
    }

    [Fact]
    public async Task ConcurrentHeads_OneKey_AskForMetadataOnce()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldOpen = true };
        var requests = Enumerable.Range(0, 10).Select(_ => edge.GetAsync(path, method: HttpMethod.Head)).ToArray();
        await Poll.UntilAsync(() => edge.Store.Script.Arrived == 1);
        edge.Store.Script.Release();
        foreach (var request in requests)
            (await request).Dispose();
        Assert.Equal(1, edge.Store.Finds);
    }

    [Fact]
    public async Task FirstBytes_ReachTheClientBeforeTheChunkIsFull()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var leader = await RawClient.ConnectAsync(edge.Node.Address);
        using var follower = await RawClient.ConnectAsync(edge.Node.Address);
        foreach (var client in new[] { leader, follower })
        {
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-65535\r\n\r\n");
            var (headers, body) = await client.ReadAsync(1000);
            Assert.StartsWith("HTTP/1.1 206 ", headers, StringComparison.Ordinal);
            Assert.True(Content.AsSpan(0, 1000).SequenceEqual(body));
        }

        edge.Store.Script.Release();
        foreach (var client in new[] { leader, follower })
        {
            var rest = new byte[64_536];
            await client.Stream.ReadExactlyAsync(rest);
            Assert.True(Content.AsSpan(1000, 64_536).SequenceEqual(rest));
        }

        Assert.Single(edge.Store.Opens);
    }

    [Fact]
    public async Task LeaderLeaves_MidFill_FollowerStillGetsEverything()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        var leader = await RawClient.ConnectAsync(edge.Node.Address);
        await leader.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-131071\r\n\r\n");
        await leader.ReadAsync(1000);
        var follower = edge.GetAsync(path, "bytes=0-131071");
        using var response = await follower;
        leader.Reset();
        await Poll.UntilAsync(() => ClientsThatLeft(edge) == 1);
        edge.Store.Script.Release();
        var received = await response.Content.ReadAsByteArrayAsync();
        Assert.True(Content.AsSpan(0, 131_072).SequenceEqual(received));
        Assert.Single(edge.Store.Opens);
        await edge.SettledAsync();
        Assert.Equal(1, edge.Node.Parts.Meter.Fills(FillOutcome.Completed));
    }

    [Fact]
    public async Task OpenRangeDropped_CostsOneChunk()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(64 * Chunk.SizeBytes);
        var path = await edge.AddFileAsync(content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-\r\n\r\n");
        await client.ReadAsync(1000);
        client.Reset();
        await Poll.UntilAsync(() => ClientsThatLeft(edge) == 1);
        edge.Store.Script.Release();
        await edge.SettledAsync();
        Assert.Equal(Chunk.SizeBytes, edge.Store.BytesRead);
        Assert.Single(edge.Store.Opens);
    }

    [Fact]
    public async Task ReaderWhoStandsStill_DoesNotPullTheWholeObject()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(256 * Chunk.SizeBytes);
        var path = await edge.AddFileAsync(content);
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-\r\n\r\n");
        await client.ReadAsync(1000);
        // What loopback's socket buffers take is read; then nothing moves any more, and no fill buffer is held.
        await edge.SettledAsync();
        long read;
        do
        {
            read = edge.Store.BytesRead;
            await Task.Delay(100);
            await edge.SettledAsync();
        }
        while (read != edge.Store.BytesRead);
        Assert.InRange(read, Chunk.SizeBytes, content.Length / 2);
        Assert.Equal(0, edge.Node.Buffers.InUse);
        var rest = new byte[content.Length - 1000];
        await client.Stream.ReadExactlyAsync(rest);
        Assert.True(content.AsSpan(1000).SequenceEqual(rest));
        // No chunk twice: what a fill brought is there when its reader gets to it, however far the hot tier's writer lags.
        Assert.Equal(0, edge.Node.Parts.Cache.Hot.NotAdmitted);
        Assert.Equal(content.Length, edge.Store.BytesRead);
    }

    [Fact]
    public async Task SequentialReader_IsReadAheadForInGrowingRuns()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(60 * Chunk.SizeBytes);
        var path = await edge.AddFileAsync(content);
        using var response = await edge.GetAsync(path, "bytes=0-");
        Assert.Equal(content, await response.Content.ReadAsByteArrayAsync());
        await edge.SettledAsync();
        Assert.Equal(content.Length, edge.Store.BytesRead);
        var runs = edge.Store.Opens.Select(o => o!.Value.Length / Chunk.SizeBytes).ToList();
        Assert.Equal([1, 1], runs[..2]);
        Assert.Contains(Chunk.MaxRun, runs);
        Assert.InRange(runs.Count, 8, 16);
        Assert.Equal(content.Length, edge.Node.Parts.Meter.MissedBytes);
    }

    [Fact]
    public async Task ReaderOfSmallClosedRanges_IsReadAheadForAcrossRequests_AndNotBeyondItsStop()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(80 * Chunk.SizeBytes);
        var path = await edge.AddFileAsync(content);
        const int Step = 65_536;
        var states = new List<string>();
        for (var start = 0; start < 40 * Chunk.SizeBytes; start += Step)
        {
            using var response = await edge.GetAsync(path, $"bytes={start}-{start + Step - 1}");
            states.Add(EdgeFixture.Header(response, "Cache-Status"));
            Assert.Equal(content[start..(start + Step)], await response.Content.ReadAsByteArrayAsync());
            await edge.SettledAsync();
        }

        // After the first few, whatever it asks next is there.
        Assert.All(states[20..], state => Assert.Equal("delivery-edge; hit", state));
        Assert.InRange(edge.Store.BytesRead, 40L * Chunk.SizeBytes, (40L + Chunk.MaxRun) * Chunk.SizeBytes);
        Assert.True(edge.Node.Parts.Meter.Amplification < 1.5);
    }

    [Theory]
    [InlineData("bytes=0-")]
    [InlineData(null)]
    public async Task ReadersWhoDropWhatTheyOpen_CostLessThanOneAndAHalfTimesWhatTheyMissed(string? range)
    {
        await using var edge = await EdgeFixture.StartAsync();
        for (var i = 0; i < 10; i++)
        {
            var path = await edge.AddFileAsync(EdgeFixture.Bytes(40 * Chunk.SizeBytes, 100 + i));
            using var client = await RawClient.ConnectAsync(edge.Node.Address);
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n{(range is null ? "" : $"Range: {range}\r\n")}\r\n");
            await client.ReadAsync(i * 150_000 + 1);
            client.Reset();
        }

        // Some bodies may have gone into the sockets' buffers whole before the reset.
        await Poll.UntilAsync(() => ClientsThatLeft(edge) + edge.Node.Parts.Meter.Requests(2, CacheState.Miss) == 10);
        await edge.SettledAsync();
        Assert.InRange(edge.Node.Parts.Meter.Amplification, 1, 1.4999);
    }

    [Fact]
    public async Task Seeks_AreNotReadAheadFor()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(40 * Chunk.SizeBytes));
        foreach (var chunk in new[] { 30, 7, 19, 3 })
        {
            using var client = await RawClient.ConnectAsync(edge.Node.Address);
            edge.Store.Script = new() { HoldAfter = 1000 };
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes={chunk * Chunk.SizeBytes}-\r\n\r\n");
            await client.ReadAsync(1000);
            client.Reset();
            edge.Store.Script.Release();
            await edge.SettledAsync();
        }

        Assert.All(edge.Store.Opens, open => Assert.Equal(Chunk.SizeBytes, open!.Value.Length));
    }

    [Fact]
    public async Task ManyReadersOfOneObject_AreProofEnough_ForWholeRuns()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(10_000_000);
        var path = await edge.AddFileAsync(content);
        var script = edge.Store.Script = new() { HoldOpen = true };
        var heads = Enumerable.Range(0, 40).Select(_ => edge.GetAsync(path, "bytes=0-65535")).ToArray();
        var whole = Enumerable.Range(0, 8).Select(_ => edge.GetAsync(path)).ToArray();
        await Poll.UntilAsync(() => edge.Node.Parts.Meter.CollapsedJoins >= 47);
        script.Release();
        foreach (var request in heads)
        {
            using var response = await request;
            Assert.Equal(content[..65_536], await response.Content.ReadAsByteArrayAsync());
        }

        foreach (var body in await Task.WhenAll(whole.Select(async request => await (await request).Content.ReadAsByteArrayAsync())))
            Assert.Equal(content, body);
        await edge.SettledAsync();
        // One for the first chunk, when nothing is proven yet; then whole runs.
        Assert.Equal(1 + (76 + Chunk.MaxRun - 1) / Chunk.MaxRun, edge.Store.Opens.Count);
        Assert.Equal(content.Length, edge.Store.BytesRead);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BodyThatBreaksOff_IsTakenUpWhereItBroke(bool isError)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000, CutAfter = 200_000, ThrowAtCut = isError };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-400000\r\n\r\n");
        var (_, body) = await client.ReadAsync(1000);
        edge.Store.Script.Release();
        var rest = new byte[399_001];
        await client.Stream.ReadExactlyAsync(rest);
        Assert.Equal(Content[..400_001], body.Concat(rest));
        await edge.SettledAsync();
        // Upstream gave no byte twice; but for the last read, which is never shown before the body has ended well.
        Assert.Equal([0L, 200_000, 400_000], edge.Store.Opens.Take(3).Select(o => o!.Value.Offset));
        Assert.Equal(1, edge.Node.Parts.Meter.Fills(FillOutcome.Completed));
    }

    [Fact]
    public async Task BodyThatStandsStill_IsTakenUpByAnotherRead()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-100000\r\n\r\n");
        var (_, body) = await client.ReadAsync(1000);
        edge.Store.Script = null;
        // The time-out between two pieces is set anew by each.
        var rest = new byte[99_001];
        var read = client.Stream.ReadExactlyAsync(rest).AsTask();
        while (!read.IsCompleted)
        {
            edge.Time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(5);
        }

        await read;
        Assert.Equal(Content[..100_001], body.Concat(rest));
        Assert.Equal([0L, 1000], edge.Store.Opens.Select(o => o!.Value.Offset));
    }

    [Fact]
    public async Task BodyThatBreaksOff_AndIsAnotherVersionThen_IsNeverMixed()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var old = EdgeFixture.Bytes(3 * Chunk.SizeBytes, 5);
        await edge.AddAsync("audio/mutable.ogg", old);
        edge.Store.Script = new() { HoldAfter = 1000, CutAfter = 2000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign("/audio/mutable.ogg")} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-100000\r\n\r\n");
        var (_, body) = await client.ReadAsync(1000);
        await edge.AddAsync("audio/mutable.ogg", EdgeFixture.Bytes(3 * Chunk.SizeBytes, 6));
        edge.Store.Script.Release();
        var rest = Encoding.Latin1.GetBytes((await client.ReadToEndAsync()).Replace("<reset>", "", StringComparison.Ordinal));
        Assert.InRange(rest.Length, 0, 1000);
        Assert.Equal(old[..(1000 + rest.Length)], body.Concat(rest));
        await edge.SettledAsync();
        Assert.Equal(0, edge.Node.Parts.Cache.Hot.Admitted);
    }

    [Fact]
    public async Task ReaderWhoStandsStill_LeavesLittleUnsentInTheKernel()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(64 * Chunk.SizeBytes);
        var path = await edge.AddFileAsync(content);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 65_536 };
        await socket.ConnectAsync(edge.Node.Address.Host, edge.Node.Address.Port);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-\r\n\r\n"));
        // A while of reading, in which the kernel would let the connection's buffer grow.
        var buffer = new byte[4096];
        for (var read = 0; read < 2_000_000;)
            read += await socket.ReceiveAsync(buffer);
        long filled;
        do
        {
            filled = edge.Store.BytesRead;
            await Task.Delay(100);
            await edge.SettledAsync();
        }
        while (filled != edge.Store.BytesRead);
        // What the client has not taken: its own buffer, the kernel's bound, Kestrel's, the chunk in hand, and one run ahead.
        Assert.InRange(filled, 2_000_000, 2_000_000 + 4 * 65_536 + 64 * 1024 + 2 * Chunk.SizeBytes + Chunk.MaxRun * Chunk.SizeBytes);
    }

    [Theory]
    [InlineData(StoreError.Unavailable, 503, "destination_unavailable")]
    [InlineData(StoreError.Denied, 502, "proxy_configuration_error")]
    [InlineData(StoreError.Misconfigured, 502, "proxy_configuration_error")]
    [InlineData(StoreError.Corrupt, 502, "http_protocol_error")]
    public async Task UpstreamFails_BeforeHeaders_IsACleanErrorThatSaysWhat(StoreError error, int status, string proxyError)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { Fail = error };
        foreach (var method in new[] { HttpMethod.Get, HttpMethod.Head })
        {
            using var response = await edge.GetAsync(path, method: method);
            Assert.Equal(status, (int)response.StatusCode);
            Assert.Equal("no-store", EdgeFixture.Header(response, "Cache-Control"));
            Assert.Equal(status == 503 ? "1" : "", EdgeFixture.Header(response, "Retry-After"));
            Assert.Equal($"delivery-edge; error={proxyError}", EdgeFixture.Header(response, "Proxy-Status"));
        }

        edge.Store.Script = null;
        using var healed = await edge.GetAsync(path);
        Assert.Equal(Content, await healed.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task UpstreamStalls_Is504AfterTheFirstByteTimeout()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldOpen = true };
        var request = edge.GetAsync(path);
        await Poll.UntilAsync(() => edge.Store.Script.Arrived == 1);
        edge.Time.Advance(TimeSpan.FromSeconds(5));
        using var response = await request;
        Assert.Equal(HttpStatusCode.GatewayTimeout, response.StatusCode);
        Assert.Equal("1", EdgeFixture.Header(response, "Retry-After"));
    }

    [Fact]
    public async Task UpstreamStallsMidBody_CutsTheConnection()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n\r\n");
        await client.ReadAsync(1000);
        // Several times: a request that is just between two pieces when its fill times out leads another one.
        var rest = client.ReadToEndAsync();
        while (!rest.IsCompleted)
        {
            edge.Time.Advance(TimeSpan.FromSeconds(30));
            await Task.Delay(5);
        }

        Assert.InRange((await rest).Length, 0, 100);
        await Poll.UntilAsync(() => edge.Node.Parts.Meter.Fills(FillOutcome.TimedOut) >= 1);
    }

    [Fact]
    public async Task TruncatedBody_IsCutForReadersAndNeverStored()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        // Three times within the first chunk, which is as often as a broken body is taken up.
        edge.Store.Script = new() { HoldAfter = 1000, CutAfter = 30_000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-400000\r\n\r\n");
        var (headers, body) = await client.ReadAsync(1000);
        Assert.Contains("Content-Length: 400001", headers, StringComparison.Ordinal);
        edge.Store.Script.Release();
        var got = 1000 + (await client.ReadToEndAsync()).Length;
        Assert.InRange(got, 1000, 90_010);
        await edge.SettledAsync();
        Assert.Equal(0, edge.Node.Parts.Cache.Hot.Admitted);
        Assert.Equal(0, edge.Node.Parts.Objects.Count);

        edge.Store.Script = null;
        using var healed = await edge.GetAsync(path);
        Assert.Equal(Content, await healed.Content.ReadAsByteArrayAsync());
    }

    [Theory]
    [InlineData(0, 0, 7, 9)]
    [InlineData(0, 5, 0, 3)]
    [InlineData(0, -5, 0, 3)]
    [InlineData(1, 0, 0, 9)]
    public async Task BodyThatBreaksItsPromise_BeforeTheFirstByte_Is502AfterThreeFills(int cut, long lie, int extra, int opens)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(EdgeFixture.Bytes(1000));
        edge.Store.Script = new() { CutAfter = cut == 1 ? 0 : long.MaxValue, LengthLie = lie, ExtraBytes = extra };
        using var response = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Equal(opens, edge.Store.Opens.Count);
        await edge.SettledAsync();
        Assert.Equal(0, edge.Node.Parts.Cache.Hot.Admitted);
    }

    [Fact]
    public async Task ObjectReplaced_BetweenFills_IsServedWholeInItsNewVersion()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var old = EdgeFixture.Bytes(3 * Chunk.SizeBytes, 5);
        var fresh = EdgeFixture.Bytes(3 * Chunk.SizeBytes, 6);
        await edge.AddAsync("audio/mutable.ogg", old);
        string etag;
        using (var head = await edge.GetAsync("/audio/mutable.ogg", "bytes=0-9"))
        {
            etag = EdgeFixture.Header(head, "ETag");
            Assert.Equal(old[..10], await head.Content.ReadAsByteArrayAsync());
        }

        await edge.SettledAsync();
        await edge.AddAsync("audio/mutable.ogg", fresh);
        // The second chunk is asked for by the old version, which upstream no longer has: planned anew, with the new one.
        using var tail = await edge.GetAsync("/audio/mutable.ogg", $"bytes={Chunk.SizeBytes}-");
        Assert.NotEqual(etag, EdgeFixture.Header(tail, "ETag"));
        Assert.Equal(fresh[Chunk.SizeBytes..], await tail.Content.ReadAsByteArrayAsync());
        await edge.SettledAsync();
        using var whole = await edge.GetAsync("/audio/mutable.ogg");
        Assert.Equal(fresh, await whole.Content.ReadAsByteArrayAsync());
        Assert.Equal(1, edge.Node.Parts.Meter.Fills(FillOutcome.Changed));
    }

    [Fact]
    public async Task ObjectReplacedByAShorterOne_RangePastItsNewEnd_Is416AfterOneLook()
    {
        await using var edge = await EdgeFixture.StartAsync();
        await edge.AddAsync("audio/mutable.ogg", EdgeFixture.Bytes(3 * Chunk.SizeBytes, 5));
        using (await edge.GetAsync("/audio/mutable.ogg", "bytes=0-9"))
            await edge.SettledAsync();
        await edge.AddAsync("audio/mutable.ogg", EdgeFixture.Bytes(100, 6));
        var opens = edge.Store.Opens.Count;
        using var tail = await edge.GetAsync("/audio/mutable.ogg", $"bytes={2 * Chunk.SizeBytes}-");
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, tail.StatusCode);
        Assert.Equal("bytes */100", EdgeFixture.Header(tail, "Content-Range"));
        Assert.Equal(opens + 1, edge.Store.Opens.Count);
    }

    [Fact]
    public async Task ObjectReplaced_MidBody_CutsTheConnectionAndNeverMixes()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var old = EdgeFixture.Bytes(20 * Chunk.SizeBytes, 5);
        await edge.AddAsync("audio/mutable.ogg", old);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {edge.Sign("/audio/mutable.ogg")} HTTP/1.1\r\nHost: edge\r\n\r\n");
        await client.ReadAsync(1000);
        await edge.AddAsync("audio/mutable.ogg", EdgeFixture.Bytes(20 * Chunk.SizeBytes, 6));
        edge.Store.Script.Release();
        var rest = await client.ReadToEndAsync();
        Assert.InRange(rest.Length, 0, Chunk.MaxRun * Chunk.SizeBytes);
        await Poll.UntilAsync(() => edge.Node.Parts.Meter.Fills(FillOutcome.Changed) == 1);
    }

    [Fact]
    public async Task NoBuffers_Is503AfterItsWait()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { FillBufferBytes = 2 << 20 });
        var first = await edge.AddFileAsync(EdgeFixture.Bytes(8 * Chunk.SizeBytes, 3));
        var second = await edge.AddFileAsync(EdgeFixture.Bytes(8 * Chunk.SizeBytes, 4));
        var third = await edge.AddFileAsync(EdgeFixture.Bytes(1000, 5));
        var script = edge.Store.Script = new() { HoldOpen = true };
        var others = edge.Time.Waiting;
        var held = new[] { edge.GetAsync(first, "bytes=0-1048575"), edge.GetAsync(second, "bytes=0-1048575") };
        await Poll.UntilAsync(() => edge.Node.Buffers.InUse == 16 && script.Arrived == 2);
        var starved = edge.GetAsync(third);
        await Poll.UntilAsync(() => edge.Node.Parts.Fills.Running == 3);
        // Three fills' deadlines, and the wait: time must not move before it is there.
        await Poll.UntilAsync(() => edge.Time.Waiting >= others + 4);
        edge.Time.Advance(TimeSpan.FromSeconds(2));
        using var response = await starved;
        Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        script.Release();
        foreach (var request in held)
        {
            using var served = await request;
            Assert.Equal(8 * Chunk.SizeBytes, (await served.Content.ReadAsByteArrayAsync()).Length);
        }
    }

    [Fact]
    public async Task ManyReadersOfManyObjects_UnderPressure_GetEveryByteRight()
    {
        const int Seed = 1121;
        await using var edge = await EdgeFixture.StartAsync(o => o with { FillBufferBytes = 4 << 20, MaxObjects = 16 });
        var files = new List<(string Path, byte[] Content)>();
        for (var i = 0; i < 40; i++)
        {
            // 100 MiB in all against a hot tier of 64 MiB and 16 entries of metadata: everything is evicted and filled again and again.
            var content = EdgeFixture.Bytes(2_500_000 + i * 777, Seed + i);
            files.Add((await edge.AddFileAsync(content), content));
        }

        edge.Store.Script = new() { PieceBytes = 50_000 };
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async reader =>
        {
            var random = new Random(Seed * 100 + reader);
            for (var i = 0; i < 60; i++)
            {
                var (path, content) = files[Math.Min(random.Next(files.Count), random.Next(files.Count))];
                var start = random.Next(content.Length);
                var end = Math.Min(content.Length, start + 1 + random.Next(400_000));
                using var response = await edge.GetAsync(path, $"bytes={start}-{end - 1}");
                if (random.Next(10) == 0)
                    continue;
                var body = await response.Content.ReadAsByteArrayAsync();
                Assert.True(content.AsSpan(start, end - start).SequenceEqual(body), $"seed {Seed}, reader {reader}, request {i}: {path} {start}-{end}");
            }
        }));
        Assert.True(edge.Node.Parts.Cache.Hot.UsedBytes <= EdgeOptions.MinHotTierBytes);
        Assert.True(edge.Node.Parts.Objects.Count <= 16);
    }

    private static long ClientsThatLeft(EdgeFixture edge) => edge.Node.Parts.Meter.ClientsThatLeft;
}
