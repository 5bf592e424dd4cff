using System.Diagnostics;
using System.Net;
using Delivery.Edge.Limits;
using Delivery.Edge.Tests.Requests;

namespace Delivery.Edge.Tests.Limits;

/// <summary>Clients that take their time, in real time: Kestrel's timeouts go by its own clock, with a heartbeat of a second.</summary>
public sealed class SlowClientTests
{
    private const byte Headers = 1;
    private const byte ResetStream = 3;

    [Fact]
    public async Task DribbledHeaders_AreCutInTime_OthersAreServed()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with
        {
            RequestHeadersTimeout = TimeSpan.FromSeconds(2),
            CertificatePath = certificate.CertificatePath,
            CertificateKeyPath = certificate.KeyPath,
        });
        var content = EdgeFixture.Bytes(100_000);
        var path = await edge.AddFileAsync(content);
        var slow = new List<RawClient>();
        for (var i = 0; i < 200; i++)
        {
            slow.Add(await RawClient.ConnectAsync(i % 4 == 0 ? edge.Node.TlsAddress! : edge.Node.Address));
            // A quarter begins a TLS handshake and leaves it at that.
            await slow[i].SendAsync(i % 4 == 0 ? "\u0016\u0003\u0001" : "GET / HTTP/1.1\r\nHost: ");
        }

        using var stop = new CancellationTokenSource();
        var dribbling = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                for (var i = 0; i < slow.Count; i++)
                {
                    try
                    {
                        if (i % 4 != 0)
                            await slow[i].SendAsync("a");
                    }
                    catch (IOException)
                    {
                        // Cut.
                    }
                }

                await Task.Delay(100);
            }
        });
        var watch = Stopwatch.StartNew();
        var served = 0;
        var meter = edge.Node.Parts.Limits.Meter;
        for (; meter.Count(Limit.SlowHeaders) < 150 || meter.Count(Limit.TlsHandshake) < 50; served++)
        {
            using var response = await edge.GetAsync(path);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal(content, await response.Content.ReadAsByteArrayAsync());
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(20), $"Cut after 20 s: {meter.Count(Limit.SlowHeaders)} in headers, {meter.Count(Limit.TlsHandshake)} in handshakes");
        }

        Assert.True(served > 20, $"{served}");
        Assert.True(watch.Elapsed > TimeSpan.FromSeconds(1.5), "Cut before their time.");
        await stop.CancelAsync();
        await dribbling;
        foreach (var client in slow)
            client.Dispose();
        await Poll.UntilAsync(() => meter.Connections <= 1);
    }

    [Fact]
    public async Task ReaderThatStops_IsCutAndCounted_OneThatReadsIsNot()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { SlowReaderGrace = TimeSpan.FromSeconds(2) });
        // More than the sockets of both sides take.
        var content = EdgeFixture.Bytes(24 << 20);
        var path = await edge.AddFileAsync(content);
        using var stalled = await RawClient.ConnectAsync(edge.Node.Address);
        await stalled.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n\r\n");
        var (headers, _) = await stalled.ReadAsync(1000);
        Assert.Contains($"Content-Length: {content.Length}", headers, StringComparison.Ordinal);
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Count(Limit.SlowReader) == 1);
        using (var reading = await edge.GetAsync(path))
            Assert.Equal(content, await reading.Content.ReadAsByteArrayAsync());
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.SlowReader));
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Requests == 0);
    }

    // Streams whose windows are never opened: Kestrel by itself waits for ever, and each holds its buffer. 100,000 bytes are handed over at once; of 1 MiB the edge waits for each chunk.
    [Theory]
    [InlineData(100_000)]
    [InlineData(1 << 20)]
    public async Task Http2ReaderThatStops_LosesItsStreams(int length)
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with
        {
            SlowReaderGrace = TimeSpan.FromSeconds(2),
            MinResponseBytesPerSecond = 1 << 20,
            CertificatePath = certificate.CertificatePath,
            CertificateKeyPath = certificate.KeyPath,
        });
        var content = EdgeFixture.Bytes(length);
        var path = await edge.AddFileAsync(content);
        using var stalled = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, certificate);
        for (var i = 0; i < 3; i++)
            await stalled.SendAsync(stalled.Get(edge.Sign(path), out _));
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Requests == 3);
        using (var reading = await edge.GetAsync(path))
            Assert.Equal(content, await reading.Content.ReadAsByteArrayAsync());
        var reset = new HashSet<int>();
        while (reset.Count < 3)
            reset.Add(await stalled.UntilFrameAsync(ResetStream));
        Assert.Equal([1, 3, 5], reset.Order());
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Requests == 0);
        Assert.Equal(3, edge.Node.Parts.Limits.Meter.Count(Limit.SlowReader));
        // The connection itself goes on.
        await stalled.SendAsync(stalled.Get("/", out var next));
        Assert.Equal(next, await stalled.UntilFrameAsync(Headers));
    }

    // The edge waits for upstream, and the client for the edge: nobody is slow.
    [Fact]
    public async Task Http2ReaderWhoseUpstreamStalls_KeepsItsStream()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with
        {
            SlowReaderGrace = TimeSpan.FromSeconds(2),
            MinResponseBytesPerSecond = 1 << 20,
            CertificatePath = certificate.CertificatePath,
            CertificateKeyPath = certificate.KeyPath,
        });
        var content = EdgeFixture.Bytes(1 << 20);
        var path = await edge.AddFileAsync(content);
        edge.Store.Script = new() { HoldAfter = 200_000 };
        using var client = certificate.Http2Client(edge.Node.TlsAddress!);
        using var response = await client.GetAsync(edge.Sign(path), HttpCompletionOption.ResponseHeadersRead);
        var reading = response.Content.ReadAsByteArrayAsync();
        var started = Stopwatch.StartNew();
        // Real time has to pass: what is tested is that nothing happens in it.
        await Poll.UntilAsync(() => started.Elapsed > TimeSpan.FromSeconds(4));
        edge.Store.Script.Release();
        Assert.Equal(content, await reading);
        Assert.Equal(0, edge.Node.Parts.Limits.Meter.Count(Limit.SlowReader));
    }

    [Fact]
    public async Task HeadersBeyondTheirBounds_AreCounted()
    {
        await using var edge = await EdgeFixture.StartAsync();
        Assert.StartsWith("HTTP/1.1 431 ", await RawClient.ExchangeAsync(edge.Node.Address, "GET / HTTP/1.1", $"X: {new string('a', 20_000)}\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 431 ", await RawClient.ExchangeAsync(edge.Node.Address, "GET / HTTP/1.1", string.Concat(Enumerable.Range(0, 80).Select(i => $"X{i}: a\r\n"))), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 414 ", await RawClient.ExchangeAsync(edge.Node.Address, $"GET /{new string('a', 9000)} HTTP/1.1"), StringComparison.Ordinal);
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Count(Limit.HeaderSize) >= 2);
    }
}
