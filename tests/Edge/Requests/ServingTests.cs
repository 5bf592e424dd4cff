using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Delivery.Edge.Tests.Requests;

public sealed class ServingTests
{
    private const int Length = 3 * Chunk.SizeBytes + 1234;

    private static readonly byte[] Content = EdgeFixture.Bytes(Length);

    // Range, status, first byte, one past the last.
    private static readonly (string? Range, int Status, int Start, int End)[] Ranges =
    [
        (null, 200, 0, Length),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=0-65535", 206, 0, 65_536),
        ("bytes=0-131071", 206, 0, 131_072),
        ("bytes=0-131072", 206, 0, 131_073),
        ("bytes=131071-131072", 206, 131_071, 131_073),
        ("bytes=131072-", 206, 131_072, Length),
        ("bytes=100000-300000", 206, 100_000, 300_001),
        ("bytes=-1", 206, Length - 1, Length),
        ("bytes=-131072", 206, Length - 131_072, Length),
        ("bytes=-99999999", 206, 0, Length),
        ("bytes=0-99999999999999999999", 206, 0, Length),
        ("bytes=1-4,4-5", 200, 0, Length),
        ("bytes=5-1", 200, 0, Length),
        ("lines=1-2", 200, 0, Length),
    ];

    [Fact]
    public async Task EveryRange_ColdAndWarm_GivesExactlyItsBytes()
    {
        foreach (var (range, status, start, end) in Ranges)
        {
            await using var edge = await EdgeFixture.StartAsync();
            var path = await edge.AddFileAsync(Content);
            foreach (var cache in new[] { "delivery-edge; fwd=uri-miss", "delivery-edge; hit" })
            {
                using var response = await edge.GetAsync(path, range);
                Assert.Equal(status, (int)response.StatusCode);
                Assert.StartsWith(cache, EdgeFixture.Header(response, "Cache-Status"), StringComparison.Ordinal);
                Assert.Equal(end - start, response.Content.Headers.ContentLength);
                Assert.Equal(status == 206 ? $"bytes {start}-{end - 1}/{Length}" : "", EdgeFixture.Header(response, "Content-Range"));
                var received = await response.Content.ReadAsByteArrayAsync();
                Assert.True(Content.AsSpan(start, end - start).SequenceEqual(received), $"{range}");
                await edge.SettledAsync();
            }
        }
    }

    [Fact]
    public async Task Fields_AreTheSameOnEverySuccess()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        foreach (var (method, range) in new[] { (HttpMethod.Get, null), (HttpMethod.Get, "bytes=0-9"), (HttpMethod.Head, null), (HttpMethod.Head, "bytes=0-9") })
        {
            using var response = await edge.GetAsync(path, range, method: method);
            Assert.Equal("bytes", EdgeFixture.Header(response, "Accept-Ranges"));
            Assert.Equal($"\"{path[7..47]}\"", EdgeFixture.Header(response, "ETag"));
            Assert.Equal("audio/ogg", EdgeFixture.Header(response, "Content-Type"));
            Assert.Equal("*", EdgeFixture.Header(response, "Access-Control-Allow-Origin"));
            Assert.Equal("*", EdgeFixture.Header(response, "Timing-Allow-Origin"));
            Assert.Equal("cross-origin", EdgeFixture.Header(response, "Cross-Origin-Resource-Policy"));
            Assert.Equal("nosniff", EdgeFixture.Header(response, "X-Content-Type-Options"));
            Assert.Contains("Content-Range", EdgeFixture.Header(response, "Access-Control-Expose-Headers"), StringComparison.Ordinal);
            Assert.Equal("", EdgeFixture.Header(response, "Server"));
            if (method == HttpMethod.Head)
            {
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
                Assert.Equal(Length, response.Content.Headers.ContentLength);
                Assert.Equal("", EdgeFixture.Header(response, "Content-Range"));
            }
        }
    }

    [Fact]
    public async Task Head_Cold_AsksForMetadataAlone()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var cold = await edge.GetAsync(path, method: HttpMethod.Head);
        Assert.Equal("delivery-edge; fwd=uri-miss", EdgeFixture.Header(cold, "Cache-Status"));
        using var warm = await edge.GetAsync(path, method: HttpMethod.Head);
        Assert.Equal("delivery-edge; hit", EdgeFixture.Header(warm, "Cache-Status"));
        Assert.Equal((1, 0), (edge.Store.Finds, edge.Store.Opens.Count));
    }

    [Fact]
    public async Task RangePastTheEnd_Is416WithTheLength()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        foreach (var range in new[] { $"bytes={Length}-", "bytes=9000000-9000001", "bytes=99999999999999999999-", "bytes=-0" })
        {
            using var response = await edge.GetAsync(path, range);
            Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, response.StatusCode);
            Assert.Equal($"bytes */{Length}", EdgeFixture.Header(response, "Content-Range"));
            Assert.Equal("no-store", EdgeFixture.Header(response, "Cache-Control"));
        }
    }

    [Fact]
    public async Task Preconditions_ColdAndWarm()
    {
        await using var edge = await EdgeFixture.StartAsync();
        for (var seed = 10; seed < 12; seed++)
        {
            var path = await edge.AddFileAsync(EdgeFixture.Bytes(1000, seed));
            var etag = $"\"{path[7..47]}\"";
            for (var round = 0; round < 2; round++)
            {
                using var same = await edge.GetAsync(path, change: r => r.Headers.TryAddWithoutValidation("If-None-Match", etag));
                Assert.Equal(HttpStatusCode.NotModified, same.StatusCode);
                Assert.Equal(etag, EdgeFixture.Header(same, "ETag"));
                Assert.Empty(await same.Content.ReadAsByteArrayAsync());
                using var failed = await edge.GetAsync(path, change: r => r.Headers.TryAddWithoutValidation("If-Match", "\"x\""));
                Assert.Equal(HttpStatusCode.PreconditionFailed, failed.StatusCode);
                using var part = await edge.GetAsync(path, "bytes=0-9", r => r.Headers.TryAddWithoutValidation("If-Range", etag));
                Assert.Equal(HttpStatusCode.PartialContent, part.StatusCode);
                using var whole = await edge.GetAsync(path, "bytes=0-9", r => r.Headers.TryAddWithoutValidation("If-Range", "\"x\""));
                Assert.Equal(HttpStatusCode.OK, whole.StatusCode);
                Assert.Equal(1000, (await whole.Content.ReadAsByteArrayAsync()).Length);
            }
        }
    }

    [Fact]
    public async Task EmptyObject_IsServedAndHasNoSatisfiableRange()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync([]);
        foreach (var (range, status) in new[] { (null, 200), ("bytes=0-", 416), ("bytes=-5", 200), ("bytes=0-65535", 416) })
        {
            using var response = await edge.GetAsync(path, range);
            Assert.Equal(status, (int)response.StatusCode);
            Assert.Empty(await response.Content.ReadAsByteArrayAsync());
        }
    }

    [Fact]
    public async Task AbsentObject_Is404AndBelievedForItsTime()
    {
        await using var edge = await EdgeFixture.StartAsync();
        foreach (var status in new[] { "delivery-edge; fwd=uri-miss", "delivery-edge; hit; detail=absent" })
        {
            using var response = await edge.GetAsync("/audio/none.ogg");
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
            Assert.Equal("no-store", EdgeFixture.Header(response, "Cache-Control"));
            Assert.Equal(status, EdgeFixture.Header(response, "Cache-Status"));
        }

        Assert.Single(edge.Store.Opens);
        await edge.AddAsync("audio/none.ogg", Content);
        edge.Time.Advance(TimeSpan.FromSeconds(5));
        using var found = await edge.GetAsync("/audio/none.ogg");
        Assert.Equal(HttpStatusCode.OK, found.StatusCode);
        Assert.Equal(Content, await found.Content.ReadAsByteArrayAsync());
    }

    [Theory]
    [InlineData("x.ogg", "application/octet-stream", "audio/ogg")]
    [InlineData("x.m4a", "audio/mp4", "audio/mp4")]
    [InlineData("x.flac", "text/plain", "audio/flac")]
    [InlineData("x.m3u8", "application/vnd.apple.mpegurl", "application/vnd.apple.mpegurl")]
    public async Task ContentType_IsThePlayersBestGuess(string name, string stored, string expected)
    {
        await using var edge = await EdgeFixture.StartAsync();
        await edge.AddAsync($"audio/{name}", Content, stored);
        using var response = await edge.GetAsync($"/audio/{name}", "bytes=0-9");
        Assert.Equal(expected, EdgeFixture.Header(response, "Content-Type"));
        await response.Content.ReadAsByteArrayAsync();
    }

    [Fact]
    public async Task PartlyCached_SaysPartialAndFetchesOnlyTheRest()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using (var head = await edge.GetAsync(path, "bytes=0-65535"))
            await head.Content.ReadAsByteArrayAsync();
        await edge.SettledAsync();
        Assert.Equal(Chunk.SizeBytes, edge.Store.BytesRead);
        using var whole = await edge.GetAsync(path);
        Assert.Equal("delivery-edge; fwd=partial; stored", EdgeFixture.Header(whole, "Cache-Status"));
        Assert.Equal(Content, await whole.Content.ReadAsByteArrayAsync());
        await edge.SettledAsync();
        Assert.Equal(Length, edge.Store.BytesRead);
    }

    [Fact]
    public async Task Http2OverTls_ServesRangesAndSurvivesManyStreams()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with { CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var path = await edge.AddFileAsync(Content);
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false, SslOptions = { RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == certificate.Thumbprint } })
        {
            BaseAddress = edge.Node.TlsAddress,
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
        {
            var start = i * 4096;
            using var request = new HttpRequestMessage(HttpMethod.Get, edge.Sign(path)) { Version = HttpVersion.Version20 };
            request.Headers.TryAddWithoutValidation("Range", $"bytes={start}-{start + 65_535}");
            using var response = await client.SendAsync(request);
            Assert.Equal(HttpVersion.Version20, response.Version);
            Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
            var received = await response.Content.ReadAsByteArrayAsync();
            Assert.True(Content.AsSpan(start, 65_536).SequenceEqual(received));
        }));
        using var http1 = await client.SendAsync(new(HttpMethod.Get, edge.Sign(path)) { Version = HttpVersion.Version11, VersionPolicy = HttpVersionPolicy.RequestVersionExact });
        Assert.Equal(Content, await http1.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task KeepAliveConnection_ServesManyRequestsInARow()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var path = await edge.AddFileAsync(Content);
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        for (var i = 0; i < 50; i++)
        {
            var start = i * 997;
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes={start}-{start + 9_999}\r\n\r\n");
            var (headers, body) = await client.ReadAsync(10_000);
            Assert.StartsWith("HTTP/1.1 206 ", headers, StringComparison.Ordinal);
            Assert.True(Content.AsSpan(start, 10_000).SequenceEqual(body));
        }
    }

    [Fact]
    public async Task AdminPort_ShowsMetricsAndHealth()
    {
        await using var edge = await EdgeFixture.StartAsync();
        using (var response = await edge.GetAsync(await edge.AddFileAsync(Content)))
            await response.Content.ReadAsByteArrayAsync();
        using var admin = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        Assert.Equal("ok\n", await admin.GetStringAsync("/readyz"));
        await Poll.UntilAsync(() => edge.Node.Parts.Meter.Requests(2, Metering.CacheState.Miss) == 1);
        var metrics = await admin.GetStringAsync("/metrics");
        Assert.Contains("delivery_edge_requests_total{", metrics, StringComparison.Ordinal);
        Assert.Contains("delivery_edge_hot_tier_budget", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PortTaken_IsATypedErrorThatNamesIt()
    {
        await using var edge = await EdgeFixture.StartAsync();
        var exception = await Assert.ThrowsAsync<EdgeStartException>(() => EdgeFixture.StartAsync(o => o with { Host = "127.0.0.1", Port = edge.Node.Address.Port }));
        Assert.Equal(edge.Node.Address.Port, exception.PortInUse);
        Assert.Contains($"{edge.Node.Address.Port}", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BadOptions_AreAllReportedAtOnce()
    {
        var errors = new EdgeOptions { EdgeId = "a b", Port = 70_000, HotTierBytes = 1, CertificatePath = "/none.pem", AllowedOrigins = ["x/"], FillTimeout = TimeSpan.Zero }.Validate();
        foreach (var key in new[] { "EdgeId", "Port 70000", "HotTierBytes", "CertificatePath", "CertificateKeyPath", "AllowedOrigins", "FillTimeout", "KeyRingPath" })
            Assert.Contains(errors, e => e.Contains(key, StringComparison.Ordinal));
        Assert.Empty(new EdgeOptions { KeyRingPath = "k" }.Validate());
    }
}

/// <summary>A self-signed certificate in two PEM files.</summary>
public sealed class TestCertificate : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-cert-");

    public TestCertificate(string name = "localhost") => Renew(name);

    /// <summary>Writes another certificate with another key into the same files.</summary>
    public void Renew(string name = "localhost")
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        Thumbprint = certificate.GetCertHashString();
        File.WriteAllText(CertificatePath, certificate.ExportCertificatePem());
        File.WriteAllText(KeyPath, key.ExportPkcs8PrivateKeyPem());
    }

    public string Thumbprint { get; private set; } = "";

    /// <summary>A client that speaks HTTP/2 alone and trusts this certificate alone.</summary>
    public HttpClient Http2Client(Uri address) =>
        new(new SocketsHttpHandler { UseProxy = false, SslOptions = { RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == Thumbprint } })
        {
            BaseAddress = address,
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };

    public string CertificatePath => Path.Combine(_folder.FullName, "cert.pem");

    public string KeyPath => Path.Combine(_folder.FullName, "key.pem");

    public void Dispose() => _folder.Delete(recursive: true);
}
