using System.Net;
using System.Net.Http.Headers;

namespace Delivery.Edge.Tests.Requests;

/// <summary>
/// What two readers of one connection could read differently (RFC 9112 §11.2) is refused, ends the connection, and reaches neither token check nor store. Each request is followed by another
/// on the same connection: whatever the first is taken for, there must be one answer.
/// </summary>
public sealed class MessageFramingTests
{
    private const string Smuggled = "GET /audio/smuggled.ogg HTTP/1.1\r\nHost: edge\r\n\r\n";

    [Theory]
    // RFC 9112 §6.1: a request with both is an attempt to smuggle.
    [InlineData("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")]
    [InlineData("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: identity\r\n\r\n")]
    [InlineData("Transfer-Encoding: xchunked\r\n\r\n")]
    [InlineData("Transfer-Encoding: \u000bchunked\r\n\r\n")]
    [InlineData("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n")]
    // RFC 9112 §6.3: differing or malformed lengths cannot be recovered from.
    [InlineData("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")]
    [InlineData("Content-Length: 5, 6\r\n\r\nhello")]
    [InlineData("Content-Length: -1\r\n\r\n")]
    [InlineData("Content-Length: 0x5\r\n\r\nhello")]
    [InlineData("Content-Length: 99999999999999999999\r\n\r\n")]
    [InlineData("Content-Length : 5\r\n\r\nhello")]
    // RFC 9112 §5.1, §5.2, RFC 9110 §5.5.
    [InlineData("X-A : b\r\n\r\n")]
    [InlineData("X-A: b\r\n c\r\n\r\n")]
    [InlineData(" X-A: b\r\n\r\n")]
    [InlineData(": b\r\n\r\n")]
    [InlineData("X-A\r\n\r\n")]
    [InlineData("X-A: b\0c\r\n\r\n")]
    [InlineData("X-A: b\rc\r\n\r\n")]
    // RFC 9112 §3.2: exactly one Host.
    [InlineData("Host: other\r\n\r\n")]
    public async Task AmbiguousFraming_Is400_ClosesAndIsOneAnswer(string rest)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        var answer = await SendAsync(edge, $"GET {signed} HTTP/1.1\r\nHost: edge\r\n{rest}{Smuggled}");
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains("\r\nConnection: close\r\n", answer, StringComparison.Ordinal);
        Assert.Equal(0, answer.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal));
        Assert.Equal((0, 0), (edge.Store.Finds, edge.Store.Opens.Count));
        Assert.Equal(0, edge.Node.Parts.Meter.Refusals(TokenAuth.TokenVerdict.Missing));
    }

    [Theory]
    [InlineData("GET {0} HTTP/1.1\r\n\r\n", 400)]
    [InlineData("GET  {0} HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET {0} x HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET\t{0} HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET {0}#a HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET {0}\0 HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET {0}\u00e9 HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET * HTTP/1.1\r\nHost: edge\r\n\r\n", 405)]
    // The authority form belongs to CONNECT.
    [InlineData("GET edge:80 HTTP/1.1\r\nHost: edge\r\n\r\n", 405)]
    [InlineData("GET ftp://edge{0} HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET http://{0} HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET http://edge/\\..{0} HTTP/1.1\r\nHost: edge\r\n\r\n", 400)]
    [InlineData("GET {0} HTTP/1.2\r\nHost: edge\r\n\r\n", 505)]
    [InlineData("GET {0} HTTP/2.0\r\nHost: edge\r\n\r\n", 505)]
    [InlineData("GET {0} HTTP/1.1\r\nHost: ed ge\r\n\r\n", 400)]
    [InlineData("GET {0} HTTP/1.1\r\nHost: user@edge\r\n\r\n", 400)]
    [InlineData("CONNECT edge:443 HTTP/1.1\r\nHost: edge:443\r\n\r\n", 405)]
    [InlineData("get {0} HTTP/1.1\r\nHost: edge\r\n\r\n", 405)]
    [InlineData("GETS {0} HTTP/1.1\r\nHost: edge\r\n\r\n", 405)]
    public async Task OddRequests_AreRefusedBeforeAnythingElse(string request, int status)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync(request.Replace("{0}", signed, StringComparison.Ordinal));
        Assert.StartsWith($"HTTP/1.1 {status} ", (await client.ReadAsync(0)).Headers, StringComparison.Ordinal);
        Assert.Equal((0, 0), (edge.Store.Finds, edge.Store.Opens.Count));
    }

    [Theory]
    [InlineData("GET {0} HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n")]
    [InlineData("GET {0} HTTP/1.1\r\nHost:\r\n\r\n")]
    [InlineData("GET http://other.example{0} HTTP/1.1\r\nHost: other.example\r\n\r\n")]
    [InlineData("GET https://other.example{0} HTTP/1.1\r\nHost: other.example\r\n\r\n")]
    // RFC 9112 §3 lets a reader take words between any white space; nothing of it gets into the target.
    [InlineData("GET {0}  HTTP/1.1\r\nHost: edge\r\n\r\n")]
    // RFC 9113 §3.1 has done away with it.
    [InlineData("GET {0} HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")]
    [InlineData("GET {0} HTTP/1.1\r\nHost: edge\r\nExpect: 100-continue\r\n\r\n")]
    [InlineData("GET {0} HTTP/1.1\r\nHost: edge\r\nTE: trailers\r\nTrailer: X\r\n\r\n")]
    public async Task UnusualButClearRequests_AreServed(string request)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var content = EdgeFixture.Bytes(10);
        var signed = edge.Sign(await edge.AddFileAsync(content));
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        for (var i = 0; i < 2; i++)
        {
            await client.SendAsync(request.Replace("{0}", signed, StringComparison.Ordinal));
            var (headers, _) = await client.ReadAsync(0);
            Assert.StartsWith("HTTP/1.1 200 ", headers, StringComparison.Ordinal);
            var body = new byte[10];
            await client.Stream.ReadExactlyAsync(body);
            Assert.Equal(content, body);
        }
    }

    [Fact]
    public async Task Http10_IsServedAndClosed_WithContentRefused()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        var served = await SendAsync(edge, $"GET {signed} HTTP/1.0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 ", served, StringComparison.Ordinal);
        // RFC 9112 §6.1: a transfer coding in HTTP/1.0 is faulty framing.
        foreach (var field in new[] { "Transfer-Encoding: chunked", "Content-Length: 5" })
        {
            var refused = await SendAsync(edge, $"GET {signed} HTTP/1.0\r\nConnection: keep-alive\r\n{field}\r\n\r\n0\r\n\r\n{Smuggled}");
            Assert.True(refused.StartsWith("HTTP/1.1 400 ", StringComparison.Ordinal) || refused.StartsWith("HTTP/1.1 413 ", StringComparison.Ordinal), refused);
            Assert.Equal(0, refused.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal));
        }

        Assert.Single(edge.Store.Opens);
    }

    // Kestrel reads the first as 5: content, then, which is refused as well. It takes no scheme in capitals, though RFC 3986 §3.1 would have it. The last is HTTP/2's preface, which
    // this port does not speak, and is told so in HTTP/2.
    [Theory]
    [InlineData("GET {0} HTTP/1.1\r\nHost: edge\r\nContent-Length: +5\r\n\r\nhello", "HTTP/1.1 413 ")]
    [InlineData("GET HTTP://other.example{0} HTTP/1.1\r\nHost: other.example\r\n\r\n", "HTTP/1.1 400 ")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\b\a")]
    public async Task WhatKestrelReadsInItsOwnWay_IsRefusedAndClosed(string request, string start)
    {
        await using var edge = await EdgeFixture.StartAsync();
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        var answer = await SendAsync(edge, request.Replace("{0}", signed, StringComparison.Ordinal) + Smuggled);
        Assert.StartsWith(start, answer, StringComparison.Ordinal);
        Assert.True(answer.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal) <= 0, answer);
        Assert.Empty(edge.Store.Opens);
    }

    [Fact]
    public async Task ExpectContinueWithContent_GetsNoContinue()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var answer = await SendAsync(edge, $"GET {edge.Sign("/audio/x.ogg")} HTTP/1.1\r\nHost: edge\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 413 ", answer, StringComparison.Ordinal);
        Assert.Equal(0, answer.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Http2RequestWithContent_IsRefused_OtherStreamsGoOn()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with { CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var signed = edge.Sign(await edge.AddFileAsync(EdgeFixture.Bytes(10)));
        using var client = certificate.Http2Client(edge.Node.TlsAddress!);
        foreach (var withLength in new[] { true, false })
        {
            var content = new ByteArrayContent("hello"u8.ToArray());
            if (!withLength)
                content.Headers.ContentLength = null;
            using var request = new HttpRequestMessage(HttpMethod.Get, signed) { Version = HttpVersion.Version20, Content = withLength ? content : new StreamContent(new Unsized()) };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("text/plain");
            using var refused = await client.SendAsync(request);
            Assert.Equal(withLength ? HttpStatusCode.RequestEntityTooLarge : HttpStatusCode.BadRequest, refused.StatusCode);
        }

        Assert.Empty(edge.Store.Opens);
        using var served = await client.GetAsync(signed);
        Assert.Equal(HttpStatusCode.OK, served.StatusCode);
    }

    private static async Task<string> SendAsync(EdgeFixture edge, string request)
    {
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.SendAsync(request);
        return await client.ReadToEndAsync();
    }

    // No length is known beforehand, so that none is sent.
    private sealed class Unsized() : MemoryStream("hello"u8.ToArray())
    {
        public override bool CanSeek => false;
    }
}
