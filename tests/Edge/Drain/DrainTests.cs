using System.Net;
using System.Net.Sockets;
using Delivery.Edge.Tests.Requests;

namespace Delivery.Edge.Tests.Drain;

public sealed class DrainTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(600_000);

    [Fact]
    public async Task Stopping_IsUnreadyFirst_AcceptsForTheDelay_TellsClientsToClose()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { UnreadyDelay = TimeSpan.FromSeconds(5) });
        var path = await edge.AddFileAsync(Content);
        using var kept = await RawClient.ConnectAsync(edge.Node.Address);
        await kept.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-9\r\n\r\n");
        Assert.DoesNotContain("\r\nConnection:", (await kept.ReadAsync(10)).Headers, StringComparison.Ordinal);
        using var admin = new HttpClient { BaseAddress = edge.Node.AdminAddress };
        var waiting = edge.Time.Waiting;
        var stopping = edge.Node.DisposeAsync().AsTask();
        await Poll.UntilAsync(() => edge.Time.Waiting == waiting + 1);
        using (var ready = await admin.GetAsync("/readyz"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
            Assert.Equal("stopping\n", await ready.Content.ReadAsStringAsync());
        }

        // Old connections and new ones are served, and told to go elsewhere.
        using var fresh = await RawClient.ConnectAsync(edge.Node.Address);
        foreach (var client in new[] { kept, fresh })
        {
            await client.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-9\r\n\r\n");
            var (headers, body) = await client.ReadAsync(10);
            Assert.StartsWith("HTTP/1.1 206 ", headers, StringComparison.Ordinal);
            Assert.Contains("\r\nConnection: close\r\n", headers, StringComparison.Ordinal);
            Assert.True(Content.AsSpan(0, 10).SequenceEqual(body));
            Assert.Equal("", await client.ReadToEndAsync());
        }

        Assert.False(stopping.IsCompleted);
        edge.Time.Advance(TimeSpan.FromSeconds(5));
        await stopping;
        await Assert.ThrowsAsync<SocketException>(() => RawClient.ConnectAsync(edge.Node.Address));
    }

    [Fact]
    public async Task BodyUnderWay_EndsWithinTheDrain_AndSaysClose()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with { CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var http1 = await RawClient.ConnectAsync(edge.Node.Address);
        await http1.SendAsync($"GET {edge.Sign(path)} HTTP/1.1\r\nHost: edge\r\n\r\n");
        var (_, first) = await http1.ReadAsync(1000);
        using var http2 = certificate.Http2Client(edge.Node.TlsAddress!);
        using var response = await http2.GetAsync(edge.Sign(path), HttpCompletionOption.ResponseHeadersRead);
        using var idle = await RawClient.ConnectAsync(edge.Node.Address);
        await idle.SendAsync("OPTIONS * HTTP/1.1\r\nHost: edge\r\n\r\n");
        await idle.ReadAsync(0);
        var stopping = edge.Node.DisposeAsync().AsTask();
        // The listening socket is closed and idle connections are, while bodies go on.
        Assert.Equal("", await idle.ReadToEndAsync());
        Assert.False(stopping.IsCompleted);
        edge.Store.Script.Release();
        Assert.Equal(Content, await response.Content.ReadAsByteArrayAsync());
        var rest = await http1.ReadToEndAsync();
        Assert.Equal(Content.Length - first.Length, rest.Length);
        await stopping;
    }

    [Fact]
    public async Task BodyLongerThanTheDrain_IsCut_AndLooksBroken()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => o with { DrainTimeout = TimeSpan.FromMilliseconds(300), CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var path = await edge.AddFileAsync(Content);
        edge.Store.Script = new() { HoldAfter = 1000 };
        using var http1 = await edge.GetAsync(path);
        using var http2Client = certificate.Http2Client(edge.Node.TlsAddress!);
        using var http2 = await http2Client.GetAsync(edge.Sign(path), HttpCompletionOption.ResponseHeadersRead);
        var stopping = edge.Node.DisposeAsync().AsTask();
        foreach (var response in new[] { http1, http2 })
        {
            Assert.Equal(Content.Length, response.Content.Headers.ContentLength);
            await Assert.ThrowsAnyAsync<Exception>(() => response.Content.ReadAsByteArrayAsync());
        }

        edge.Store.ReleaseAll();
        await stopping;
    }

    [Fact]
    public async Task RollingRestartOfTwoEdges_FailsNoRequestOfAClientThatFollowsReadyz()
    {
        var delay = TimeSpan.FromMilliseconds(500);
        await using var balanced = new TwoEdges(delay);
        await balanced.StartAsync();
        using var stop = new CancellationTokenSource();
        var clients = Enumerable.Range(0, 4).Select(i => balanced.RequestAsync(i, stop.Token)).ToArray();
        for (var round = 0; round < 2; round++)
        {
            for (var edge = 0; edge < 2; edge++)
            {
                var before = balanced.Served;
                await Poll.UntilAsync(() => balanced.Served > before + 50 || clients.Any(c => c.IsFaulted));
                await balanced.RestartAsync(edge);
            }
        }

        var last = balanced.Served;
        await Poll.UntilAsync(() => balanced.Served > last + 50 || clients.Any(c => c.IsFaulted));
        await stop.CancelAsync();
        await Task.WhenAll(clients);
        Assert.True(balanced.ServedBy(0) > 50 && balanced.ServedBy(1) > 50);
    }
}
