using System.Security.Authentication;
using Delivery.Edge.Tests.Requests;
using Delivery.Edge.Tls;

namespace Delivery.Edge.Tests.Tls;

public sealed class CertificateTests : IDisposable
{
    private readonly TestCertificate _default = new("default.example");
    private readonly TestCertificate _exact = new("cdn.example");
    private readonly TestCertificate _wild = new("*.cdn.example");

    public void Dispose()
    {
        _default.Dispose();
        _exact.Dispose();
        _wild.Dispose();
    }

    [Fact]
    public async Task Handshake_GetsTheCertificateOfItsName()
    {
        await using var edge = await StartAsync();
        foreach (var (name, certificate) in new[]
        {
            ("cdn.example", _exact), ("CDN.Example", _exact), ("alt.example", _exact), ("a.cdn.example", _wild), ("B.CDN.example", _wild),
            ("a.b.cdn.example", _default), ("xcdn.example", _default), ("example", _default), ("", _default),
        })
        {
            using var client = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, name);
            Assert.True(client.Thumbprint == certificate.Thumbprint, name);
        }
    }

    [Theory]
    [InlineData(SslProtocols.Tls12, "h2")]
    [InlineData(SslProtocols.Tls12, "http/1.1")]
    [InlineData(SslProtocols.Tls13, "h2")]
    [InlineData(SslProtocols.Tls13, "http/1.1")]
    public async Task BothVersionsAndBothProtocols_AreNegotiated(SslProtocols version, string protocol)
    {
        await using var edge = await StartAsync();
        using var client = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example", version, protocol);
        Assert.Equal(version, client.Tls.SslProtocol);
        Assert.Equal(protocol, client.Tls.NegotiatedApplicationProtocol.ToString());
        // HTTP/2 in its own words: the server's SETTINGS come first.
        if (protocol == "h2")
        {
            await client.Tls.WriteAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0"u8.ToArray());
            var header = new byte[9];
            await client.Tls.ReadExactlyAsync(header);
            Assert.Equal((4, 0), (header[3], header[4]));
        }
        else
        {
            Assert.StartsWith("HTTP/1.1 204 ", await client.OptionsAsync(), StringComparison.Ordinal);
        }
    }

#pragma warning disable SYSLIB0039, CA5397 // What is retired is what is tested.
    [Fact]
    public async Task RetiredVersions_AreRefused_AndCounted()
    {
        await using var edge = await StartAsync();
        await Assert.ThrowsAnyAsync<Exception>(() => TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example", SslProtocols.Tls11));
        using (var plain = await RawClient.ConnectAsync(edge.Node.TlsAddress!))
        {
            await plain.SendAsync("GET / HTTP/1.1\r\nHost: edge\r\n\r\n");
            await plain.ReadToEndAsync();
        }

        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Count(Edge.Limits.Limit.TlsHandshake) >= 1);
        using var good = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example");
        Assert.StartsWith("HTTP/1.1 204 ", await good.OptionsAsync(), StringComparison.Ordinal);
    }
#pragma warning restore SYSLIB0039, CA5397

    [Fact]
    public async Task ChangedFiles_AreUsedByNewHandshakes_OldConnectionsGoOn()
    {
        await using var edge = await StartAsync();
        using var old = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example");
        var before = _exact.Thumbprint;
        _exact.Renew("cdn.example");
        Assert.NotEqual(before, _exact.Thumbprint);
        using (var unseen = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example"))
            Assert.Equal(before, unseen.Thumbprint);
        edge.Time.Advance(TlsCertificates.PollInterval);
        using var renewed = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example");
        Assert.Equal(_exact.Thumbprint, renewed.Thumbprint);
        using var other = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "a.cdn.example");
        Assert.Equal(_wild.Thumbprint, other.Thumbprint);
        Assert.StartsWith("HTTP/1.1 204 ", await old.OptionsAsync(), StringComparison.Ordinal);
        Assert.Equal(0, edge.Node.Guards.Certificates!.ReloadFailures);
    }

    [Fact]
    public async Task BadFiles_LeaveTheOldCertificate_AndAreCountedOnce()
    {
        await using var edge = await StartAsync();
        var certificates = edge.Node.Guards.Certificates!;
        var before = _exact.Thumbprint;
        var pem = await File.ReadAllTextAsync(_exact.CertificatePath);
        var failures = 0;
        var badStates = new Action[]
        {
            () => File.WriteAllText(_exact.CertificatePath, "no certificate"),
            () => File.WriteAllText(_exact.CertificatePath, pem[..(pem.Length / 2)]),
            () => File.WriteAllText(_exact.CertificatePath, ""),
            () => File.Delete(_exact.CertificatePath),
            () => File.Copy(_wild.CertificatePath, _exact.CertificatePath),
            () => File.WriteAllText(_exact.CertificatePath, new string('x', 300 * 1024)),
        };
        foreach (var spoil in badStates)
        {
            spoil();
            // One look may fall between the replacements of two files.
            certificates.CheckNow();
            Assert.Equal(failures, certificates.ReloadFailures);
            certificates.CheckNow();
            certificates.CheckNow();
            Assert.Equal(++failures, certificates.ReloadFailures);
            using var client = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example");
            Assert.Equal(before, client.Thumbprint);
        }

        _exact.Renew("cdn.example");
        certificates.CheckNow();
        using var renewed = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example");
        Assert.Equal(_exact.Thumbprint, renewed.Thumbprint);
        using var admin = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        var metrics = await admin.GetStringAsync("/metrics");
        Assert.Contains($"delivery_edge_certificates_reload_failures_total {failures}\n", metrics, StringComparison.Ordinal);
        Assert.Contains("delivery_edge_certificates_remaining_seconds{certificate=\"cdn.example\"} ", metrics, StringComparison.Ordinal);
        Assert.Contains("delivery_edge_http3 0\n", metrics, StringComparison.Ordinal);
    }

    // A real client, as .NET's own does not say whether it resumed.
    [Theory]
    [InlineData("-tls1_2", "TLSv1.2")]
    [InlineData("-tls1_3", "TLSv1.3")]
    public async Task Sessions_AreResumed(string flag, string version)
    {
        await using var edge = await StartAsync();
        var folder = Directory.CreateTempSubdirectory("edge-tls-");
        try
        {
            foreach (var name in new[] { "cdn.example", "nowhere.example" })
            {
                var session = Path.Combine(folder.FullName, name);
                var target = $"{edge.Node.TlsAddress!.Host}:{edge.Node.TlsAddress.Port}";
                var first = await OpenSsl.RunAsync("OPTIONS * HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n", "s_client", "-connect", target, "-servername", name, flag, "-ign_eof", "-sess_out", session);
                Assert.Contains($"New, {version}", first, StringComparison.Ordinal);
                Assert.Contains("HTTP/1.1 204 ", first, StringComparison.Ordinal);
                var second = await OpenSsl.RunAsync("OPTIONS * HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n", "s_client", "-connect", target, "-servername", name, flag, "-ign_eof", "-sess_in", session);
                Assert.Contains($"Reused, {version}", second, StringComparison.Ordinal);
                Assert.Contains("HTTP/1.1 204 ", second, StringComparison.Ordinal);
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Http3AskedFor_OnAMachineWithoutQuic_StartsWithTheRest()
    {
        Assert.SkipWhen(System.Net.Quic.QuicListener.IsSupported, "This machine has QUIC.");
        await using var edge = await EdgeFixture.StartAsync(o => Options(o) with { Http3 = true });
        Assert.False(edge.Node.Guards.Http3);
        using var client = await TlsClient.ConnectAsync(edge.Node.TlsAddress!, "cdn.example", SslProtocols.None, "h2");
        Assert.Equal("h2", client.Tls.NegotiatedApplicationProtocol.ToString());
    }

    [Fact]
    public async Task BadFilesAtTheStart_AreATypedErrorThatNamesThem()
    {
        await File.WriteAllTextAsync(_wild.KeyPath, await File.ReadAllTextAsync(_exact.KeyPath));
        var error = await Assert.ThrowsAsync<EdgeStartException>(StartAsync);
        Assert.Contains(_wild.CertificatePath, error.Message, StringComparison.Ordinal);
        Assert.Contains(_wild.KeyPath, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BadOptions_AreNamed()
    {
        var errors = new EdgeOptions
        {
            KeyRingPath = "k",
            ProxyProtocolNetworks = ["10.0.0.0/8", "everybody"],
            Certificates =
            [
                new() { Hosts = ["a.example", "*.*.example"], CertificatePath = "/none.pem", KeyPath = "/none.key" },
                new() { Hosts = ["A.example"], CertificatePath = _exact.CertificatePath, KeyPath = _exact.KeyPath },
                new() { CertificatePath = _exact.CertificatePath, KeyPath = _exact.KeyPath },
            ],
        }.Validate();
        Assert.Equal(
            ["Certificates", "Certificates[0].Hosts", "Certificates[0].CertificatePath", "Certificates[0].KeyPath", "Certificates[2].Hosts", "Certificates", "ProxyProtocolNetworks"],
            errors.Select(e => e.Split(' ', ':')[0]));
    }

    private Task<EdgeFixture> StartAsync() => EdgeFixture.StartAsync(Options);

    private EdgeOptions Options(EdgeOptions options) => options with
    {
        CertificatePath = _default.CertificatePath,
        CertificateKeyPath = _default.KeyPath,
        Certificates =
        [
            new() { Hosts = ["cdn.example", "alt.example"], CertificatePath = _exact.CertificatePath, KeyPath = _exact.KeyPath },
            new() { Hosts = ["*.cdn.example"], CertificatePath = _wild.CertificatePath, KeyPath = _wild.KeyPath },
        ],
    };
}
