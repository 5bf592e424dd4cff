using System.Net;
using System.Net.Sockets;
using Delivery.Edge.Fills;
using Delivery.Edge.Metering;
using Delivery.Edge.Tests.Requests;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Peers;

public sealed class PeerTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(20 * Chunk.SizeBytes + 777);

    [Fact]
    public async Task EdgeBeforeShieldBeforeStore_GivesEveryByte_AndTheStoreIsReadOnce()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edges = new[] { await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]), await cluster.StartAsync("edge-b", [PeerCluster.Shield(shield)]) };
        foreach (var edge in edges)
        {
            Assert.Equal(Content, await edge.ReadAsync(path));
            await edge.SettledAsync();
            await shield.SettledAsync();
            Assert.Equal(Content, await edge.ReadAsync(path));
        }

        Assert.Equal(Content.Length, cluster.Store.BytesRead);
        Assert.Equal(2 * Content.Length, shield.Sent);
        // A request through the peer port is no listener's.
        Assert.Equal(0, shield.Node.Parts.Meter.Requests(2, CacheState.Miss) + shield.Node.Parts.Meter.Requests(2, CacheState.Hit) + shield.Node.Parts.Meter.Requests(2, CacheState.Partial));
    }

    [Theory]
    [InlineData("audio/mutable.ogg")]
    [InlineData("audio/a b/ü+é'(1)&x=y.ogg")]
    public async Task WhatTheStoreSaysOfAnObject_ArrivesThroughAShield(string key)
    {
        await using var cluster = new PeerCluster();
        await cluster.AddAsync(key, Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]);
        var path = HttpRangeClient.Escape("/" + key);
        var stored = (await cluster.Store.FindAsync(ObjectKey.Parse(key), CancellationToken.None))!;
        using (var head = await edge.GetAsync(path, method: HttpMethod.Head))
            Assert.Equal((HttpStatusCode.OK, Content.Length), (head.StatusCode, head.Content.Headers.ContentLength));
        Assert.Equal(Content, await edge.ReadAsync(path));
        foreach (var one in new[] { edge, shield })
        {
            Assert.True(one.Node.Parts.Objects.TryFind("/" + key, cluster.Time.GetUtcNow(), out var known));
            Assert.Equal(stored with { LastModified = DateTimeOffset.UnixEpoch }, known.Info! with { LastModified = DateTimeOffset.UnixEpoch });
            // RFC 9110 §5.6.7: a date has no fractions of a second.
            Assert.Equal(stored.LastModified.ToUnixTimeSeconds(), known.Info.LastModified.ToUnixTimeSeconds());
        }
    }

    [Fact]
    public async Task Shield_FillsNoMoreThanTheEdgesAskedFor()
    {
        await using var cluster = new PeerCluster();
        var content = EdgeFixture.Bytes(60 * Chunk.SizeBytes);
        var path = await cluster.AddFileAsync(content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]);
        // A steady reader, for whom the edge reads ahead, and who stops in the middle.
        for (var start = 0; start < 30 * Chunk.SizeBytes; start += Chunk.SizeBytes)
        {
            Assert.Equal(content[start..(start + Chunk.SizeBytes)], await edge.ReadAsync(path, $"bytes={start}-{start + Chunk.SizeBytes - 1}"));
            await edge.SettledAsync();
        }

        await shield.SettledAsync();
        Assert.True(edge.Node.Parts.Meter.FilledBytes > 30 * Chunk.SizeBytes);
        Assert.Equal(edge.Node.Parts.Meter.FilledBytes, shield.Node.Parts.Meter.FilledBytes);
    }

    [Fact]
    public async Task RangePastTheEnd_AndAbsence_ArriveThroughAShield()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]);
        using (var beyond = await edge.GetAsync(path, $"bytes={Content.Length + (2 << 20)}-"))
        {
            Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, beyond.StatusCode);
            Assert.Equal($"bytes */{Content.Length}", EdgeFixture.Header(beyond, "Content-Range"));
        }

        using var absent = await edge.GetAsync("/audio/nothing.ogg");
        Assert.Equal(HttpStatusCode.NotFound, absent.StatusCode);
        Assert.Equal(BreakerState.Closed, edge.Node.Upstreams.Links[0].Breaker.State);
    }

    [Fact]
    public async Task AgeOfAnObjectThatMayChange_CountsFromTheStore()
    {
        await using var cluster = new PeerCluster();
        await cluster.AddAsync("audio/mutable.ogg", Content[..1000]);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]);
        using (var first = await shield.GetAsync("/audio/mutable.ogg"))
            await first.Content.ReadAsByteArrayAsync();
        cluster.Time.Advance(TimeSpan.FromSeconds(40));
        using var response = await edge.GetAsync("/audio/mutable.ogg");
        Assert.Equal("40", EdgeFixture.Header(response, "Age"));
        Assert.True(edge.Node.Parts.Objects.TryFind("/audio/mutable.ogg", cluster.Time.GetUtcNow(), out var known));
        Assert.Equal(TimeSpan.FromSeconds(20), known.Freshness!.FreshFor(cluster.Time.GetUtcNow()));
        Assert.Equal(TimeSpan.FromDays(1), known.Freshness.StaleIfError);
    }

    [Fact]
    public async Task EachPort_TakesItsOwnKeyRingAlone()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        using (var good = await edge.AskAsync(path, "bytes=0-9"))
            Assert.Equal(HttpStatusCode.PartialContent, good.StatusCode);
        using (var listeners = await edge.AskAsync(path, ring: cluster.Ring))
            Assert.Equal(HttpStatusCode.Forbidden, listeners.StatusCode);
        using (var peers = await edge.SendAsync(edge.Node.Address, cluster.PeerRing, path, null, null))
            Assert.Equal(HttpStatusCode.Forbidden, peers.StatusCode);
        var unsigned = await RawClient.ExchangeAsync(edge.Node.PeerAddress!, $"GET {path} HTTP/1.1", "Delivery-Log-Sequence: 0\r\n");
        Assert.StartsWith("HTTP/1.1 403 ", unsigned, StringComparison.Ordinal);
        Assert.Equal(1, edge.Node.Peers!.Parts.Meter.Refusals(TokenVerdict.Missing));
        Assert.Equal(0, edge.Node.Parts.Meter.Refusals(TokenVerdict.Missing));
    }

    [Fact]
    public async Task ExpiredQuestion_IsRefused_AndIsNoGoneObject()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var url = NativeScheme.Instance.Sign(cluster.PeerRing, path, new() { Expires = cluster.Time.GetUtcNow().AddSeconds(-1) });
        var answer = await RawClient.ExchangeAsync(shield.Node.PeerAddress!, $"GET {url} HTTP/1.1", "Delivery-Log-Sequence: 0\r\n");
        Assert.StartsWith("HTTP/1.1 403 ", answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("OPTIONS")]
    [InlineData("POST")]
    [InlineData("PURGE")]
    public async Task OtherMethods_AreNotAllowed(string method)
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        using var response = await edge.AskAsync(path, method: new(method));
        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        Assert.Equal("GET, HEAD", EdgeFixture.Header(response, "Allow"));
    }

    [Fact]
    public async Task OnlyAudio_HasAWayUpstream()
    {
        await using var cluster = new PeerCluster();
        await cluster.AddAsync("masters/secret.wav", Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        using var response = await edge.AskAsync("/masters/secret.wav");
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        Assert.Empty(cluster.Store.Opens);
    }

    [Theory]
    [InlineData("edge-a")]
    [InlineData("other, EDGE-A")]
    [InlineData("other;x=1 , edge-a;y=2, third")]
    [InlineData("a, b, c, d, e, f, g, h, i")]
    public async Task QuestionThatComesRound_IsALoop(string loop)
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        using var response = await edge.AskAsync(path, change: r => r.Headers.TryAddWithoutValidation("CDN-Loop", loop));
        Assert.Equal(HttpStatusCode.LoopDetected, response.StatusCode);
        Assert.Empty(cluster.Store.Opens);
    }

    [Fact]
    public async Task TwoEdgesThatAreEachOthersUpstream_FindOut()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var (portA, portB) = (PeerCluster.FreePort(), PeerCluster.FreePort());
        var a = await cluster.StartAsync("edge-a", [new() { Kind = UpstreamKind.Peer, Address = $"http://127.0.0.1:{portB}" }], o => o with { PeerPort = portA });
        var b = await cluster.StartAsync("edge-b", [new() { Kind = UpstreamKind.Peer, Address = $"http://127.0.0.1:{portA}" }], o => o with { PeerPort = portB });
        using var response = await a.GetAsync(path);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        var ends = string.Join(", ", new[] { a, b }.SelectMany(e => Enum.GetValues<FillOutcome>().Select(o => $"{o} {e.Node.Upstreams.Meter.Requests("peer", o)}")));
        Assert.True(b.Node.Upstreams.Meter.Requests("peer", FillOutcome.Denied) == 1, ends);
        await Poll.UntilAsync(() => a.Node.Peers!.Parts.Meter.Requests(5, CacheState.None) == 1);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("-1")]
    [InlineData("x")]
    [InlineData("99999999999999999999")]
    public async Task QuestionWithoutASequence_IsRefused(string? sequence)
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        using var response = sequence is null
            ? await edge.SendAsync(edge.Node.PeerAddress!, cluster.PeerRing, path, null, null)
            : await edge.AskAsync(path, sequence: sequence);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
    }

    [Fact]
    public async Task LaggingPeer_SaysSo()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.StoreBehind]);
        edge.Purge("/audio/other.ogg", 5);
        using (var behind = await edge.AskAsync(path, sequence: "6"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, behind.StatusCode);
            Assert.Equal(("5", "1"), (EdgeFixture.Header(behind, "Delivery-Log-Sequence"), EdgeFixture.Header(behind, "Retry-After")));
        }

        using var level = await edge.AskAsync(path, sequence: "5");
        Assert.Equal(HttpStatusCode.OK, level.StatusCode);
    }

    [Fact]
    public async Task PurgedEdge_WithALaggingShield_TakesNothingFromIt_UntilItHasCaughtUp()
    {
        await using var cluster = new PeerCluster();
        const string path = "/audio/mutable.ogg";
        var (old, fresh) = (EdgeFixture.Bytes(200_000, 5), EdgeFixture.Bytes(200_000, 6));
        await cluster.AddAsync(path[1..], old);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield)]);
        var both = await cluster.StartAsync("edge-b", [PeerCluster.Shield(shield), PeerCluster.StoreBehind]);
        Assert.Equal(old, await edge.ReadAsync(path));
        Assert.Equal(old, await both.ReadAsync(path));
        await cluster.AddAsync(path[1..], fresh);
        edge.Purge(path, 7);
        both.Purge(path, 7);
        for (var i = 0; i < 10; i++)
        {
            using var refused = await edge.GetAsync(path);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
            Assert.Equal("1", EdgeFixture.Header(refused, "Retry-After"));
        }

        // An upstream behind it helps at once; and to lag is not to be broken.
        Assert.Equal(fresh, await both.ReadAsync(path));
        Assert.Equal(BreakerState.Closed, edge.Node.Upstreams.Links[0].Breaker.State);
        Assert.True(edge.Node.Upstreams.Meter.Requests("shield", FillOutcome.Lagging) >= 10);
        shield.Purge(path, 7);
        Assert.Equal(fresh, await edge.ReadAsync(path));
    }

    [Fact]
    public async Task ListenersPortInThePlaceOfThePeers_IsNoAbsence()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [new() { Kind = UpstreamKind.Peer, Address = shield.Node.Address.ToString() }]);
        using var response = await edge.GetAsync(path);
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Equal(1, edge.Node.Upstreams.Meter.Requests("peer", FillOutcome.Denied));
    }

    [Fact]
    public async Task ShieldKilledMidBody_TheStoreBehindGivesTheRest()
    {
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var edge = await cluster.StartAsync("edge-a", [PeerCluster.Shield(shield), PeerCluster.StoreBehind]);
        var script = cluster.Store.Script = new() { HoldAfter = 100_000 };
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync($"GET {NativeScheme.Instance.Sign(cluster.Ring, path, new() { Expires = cluster.Time.GetUtcNow().AddHours(1) })} HTTP/1.1\r\nHost: edge\r\n\r\n");
        var (headers, begin) = await client.ReadAsync(100_000);
        Assert.StartsWith("HTTP/1.1 200 ", headers, StringComparison.Ordinal);
        // The edge's own question of the store is not to stand still, and the shield's is.
        cluster.Store.Script = null;
        await shield.KillAsync();
        var rest = new byte[Content.Length - begin.Length];
        await client.Stream.ReadExactlyAsync(rest, TestContext.Current.CancellationToken);
        Assert.Equal(Content, begin.Concat(rest));
        script.Release();
        Assert.True(edge.Node.Upstreams.Meter.Requests("store", FillOutcome.Completed) > 0);
    }

    [Fact]
    public async Task PeerWithoutItsOwnName_IsNotStarted()
    {
        await using var cluster = new PeerCluster();
        var failure = await Assert.ThrowsAsync<EdgeStartException>(() => cluster.StartAsync("delivery-edge", [PeerCluster.StoreBehind]));
        Assert.Contains("EdgeId 'delivery-edge'", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StoreMustBeThere_ExactlyWhenAnUpstreamIsOne()
    {
        await using var cluster = new PeerCluster();
        var shield = await cluster.StartAsync("shield", [PeerCluster.StoreBehind]);
        var options = new EdgeOptions
        {
            EdgeId = "x",
            Host = "localhost",
            Port = 0,
            AdminPort = 0,
            PeerPort = 0,
            KeyRingPath = shield.Node.Parts.Options.KeyRingPath,
            PeerKeyRingPath = shield.Node.Parts.Options.PeerKeyRingPath,
        };
        await Assert.ThrowsAsync<EdgeStartException>(() => EdgeNode.StartAsync(options, null, NullLoggerFactory.Instance, cluster.Time, default));
        await Assert.ThrowsAsync<EdgeStartException>(() => EdgeNode.StartAsync(
            options with { Upstreams = [PeerCluster.Shield(shield)] }, cluster.Store, NullLoggerFactory.Instance, cluster.Time, default));
    }

    [Fact]
    public async Task PeerTls_IsTrustedByWhoWasToldTo()
    {
        using var certificate = new TestCertificate();
        await using var cluster = new PeerCluster();
        var path = await cluster.AddFileAsync(Content);
        var edge = await cluster.StartAsync(
            "edge-a", [PeerCluster.StoreBehind], o => o with { TlsPort = 0, PeerTls = true, CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var address = edge.Node.PeerAddress!;
        Assert.Equal("https", address.Scheme);
        using var client = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            SslOptions = { RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == certificate.Thumbprint },
        });
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(address, NativeScheme.Instance.Sign(cluster.PeerRing, path, new() { Expires = cluster.Time.GetUtcNow().AddMinutes(1) })));
        request.Headers.TryAddWithoutValidation("Delivery-Log-Sequence", "0");
        using var response = await client.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(Content, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        // Another edge does not take a certificate that nobody vouches for, nor one of another name.
        var shield = PeerCluster.Shield(edge) with { Address = $"https://localhost:{address.Port}" };
        var strangers = await cluster.StartAsync("edge-b", [shield]);
        var misnamed = await cluster.StartAsync("edge-c", [shield with { Address = $"https://127.0.0.1:{address.Port}", CaPath = certificate.CertificatePath }]);
        foreach (var asking in new[] { strangers, misnamed })
        {
            using var refused = await asking.GetAsync(path);
            Assert.Equal(HttpStatusCode.BadGateway, refused.StatusCode);
            Assert.Equal(1, asking.Node.Upstreams.Meter.Requests("shield", FillOutcome.Denied));
        }

        var trusting = await cluster.StartAsync("edge-d", [shield with { CaPath = certificate.CertificatePath }]);
        Assert.Equal(Content, await trusting.ReadAsync(path));
    }

    [Fact]
    public async Task PeerPortTaken_IsSaid()
    {
        await using var cluster = new PeerCluster();
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var failure = await Assert.ThrowsAsync<EdgeStartException>(() => cluster.StartAsync("edge-a", [PeerCluster.StoreBehind], o => o with { PeerPort = port }));
        Assert.Equal(port, failure.PortInUse);
    }
}
