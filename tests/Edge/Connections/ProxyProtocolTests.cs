using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using Delivery.Edge.Connections;
using Delivery.Edge.Limits;
using Delivery.Edge.Tests.Requests;
using Delivery.TokenAuth;

namespace Delivery.Edge.Tests.Connections;

public sealed class ProxyProtocolTests
{
    private const string Client = "198.51.100.7";

    private static readonly byte[] Content = EdgeFixture.Bytes(5000);

    [Theory]
    [InlineData("198.51.100.7", 4711)]
    [InlineData("2001:db8::7", 65_535)]
    public void Header_SaysTheClient_SplitAtEveryByte(string address, int port)
    {
        byte[] tlvs = [0x04, 0x00, 0x03, 1, 2, 3];
        var bytes = Header(IPAddress.Parse(address), port, tlvs);
        for (var cut = 0; cut < bytes.Length; cut++)
        {
            Assert.Equal(ProxyHeaderParse.Incomplete, ProxyHeader.Parse(new(bytes.AsMemory(0, cut)), out var none, out _));
            Assert.Null(none);
            var input = Split([.. bytes, 1, 2], cut);
            Assert.Equal(ProxyHeaderParse.Complete, ProxyHeader.Parse(input, out var source, out var end));
            Assert.Equal(new IPEndPoint(IPAddress.Parse(address), port), source);
            Assert.Equal(2, input.Slice(end).Length);
        }
    }

    [Fact]
    public void HeadersWithoutAnAddress_LeaveTheSocketsOwn()
    {
        foreach (var (command, family, length) in new[] { (0x20, 0x00, 0), (0x20, 0x11, 12), (0x20, 0xff, 3), (0x21, 0x00, 0), (0x21, 0x31, 216), (0x21, 0x12, 12) })
        {
            byte[] bytes = [.. Signature, (byte)command, (byte)family, 0, (byte)length, .. new byte[length], 9];
            var input = new ReadOnlySequence<byte>(bytes);
            Assert.Equal(ProxyHeaderParse.Complete, ProxyHeader.Parse(input, out var source, out var end));
            Assert.Null(source);
            Assert.Equal(1, input.Slice(end).Length);
        }
    }

    [Fact]
    public void WrongHeaders_AreInvalidAtTheFirstWrongByte()
    {
        var good = Header(IPAddress.Parse(Client), 1);
        for (var i = 0; i < 13; i++)
        {
            var bad = good.ToArray();
            bad[i] ^= 0x80;
            Assert.Equal(ProxyHeaderParse.Invalid, ProxyHeader.Parse(new(bad.AsMemory(0, i + 1)), out _, out _));
        }

        // Version 1, a version 3, a command, a family and a transport that nobody has defined, an address that does not fit.
        Invalid(Encoding.ASCII.GetBytes("PROXY TCP4 198.51.100.7 198.51.100.8 1 2\r\n"));
        Invalid([.. Signature, 0x31, 0x11, 0, 12, .. new byte[12]]);
        Invalid([.. Signature, 0x22, 0x11, 0, 12, .. new byte[12]]);
        Invalid([.. Signature, 0x21, 0x41, 0, 12, .. new byte[12]]);
        Invalid([.. Signature, 0x21, 0x13, 0, 12, .. new byte[12]]);
        Invalid([.. Signature, 0x21, 0x11, 0, 11, .. new byte[11]]);
        Invalid([.. Signature, 0x21, 0x21, 0, 12, .. new byte[12]]);
        // As soon as the length is said.
        Invalid([.. Signature, 0x21, 0x11, 0x0f, 0xf1]);
        Invalid([.. Signature, 0x20, 0x00, 0xff, 0xff]);

        static void Invalid(byte[] bytes) => Assert.Equal(ProxyHeaderParse.Invalid, ProxyHeader.Parse(new(bytes), out _, out _));
    }

    [Fact]
    public void RandomBytes_AreNeverReadBeyondTheirEnd()
    {
        var random = new Random(20_261_121);
        for (var i = 0; i < 50_000; i++)
        {
            byte[] bytes = [.. Signature, .. new byte[random.Next(60)]];
            random.NextBytes(bytes.AsSpan(random.Next(2) == 0 ? 12 : random.Next(12)));
            if (bytes.Length > 12 && random.Next(2) == 0)
                bytes[12] = 0x21;
            if (ProxyHeader.Parse(new(bytes), out var source, out var end) == ProxyHeaderParse.Complete)
                Assert.True(new ReadOnlySequence<byte>(bytes).Slice(end).Length <= bytes.Length - 16);
            else
                Assert.Null(source);
        }
    }

    [Fact]
    public async Task ListedSender_TokensGoByTheAnnouncedAddress()
    {
        await using var edge = await EdgeFixture.StartAsync(Listed);
        var path = await edge.AddFileAsync(Content);
        foreach (var (client, claim) in new[] { (Client, "198.51.100.0/24"), ("2001:db8::7", "2001:db8::/64") })
        {
            var signed = NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), Address = claim });
            Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, Header(IPAddress.Parse(client), 4711), signed), StringComparison.Ordinal);
            Assert.StartsWith("HTTP/1.1 403 ", await AskAsync(edge, Header(IPAddress.Parse("203.0.113.1"), 4711), signed), StringComparison.Ordinal);
            // The sender's own address: LOCAL, as health checks send it.
            Assert.StartsWith("HTTP/1.1 403 ", await AskAsync(edge, [.. Signature, 0x20, 0, 0, 0], signed), StringComparison.Ordinal);
        }

        var own = NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), Address = "127.0.0.1" });
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, [.. Signature, 0x20, 0, 0, 0], own), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ListedSender_SplitHeader_IsRead()
    {
        await using var edge = await EdgeFixture.StartAsync(Listed);
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        var header = Header(IPAddress.Parse(Client), 4711, new byte[300]);
        foreach (var cut in new[] { 1, 11, 12, 13, 15, 16, 17, 27, 28, 327 })
        {
            using var client = await RawClient.ConnectAsync(edge.Node.Address);
            client.NoDelay = true;
            await client.Stream.WriteAsync(header.AsMemory(0, cut));
            await client.Stream.WriteAsync(header.AsMemory(cut));
            await client.SendAsync($"GET {signed} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 200 ", await client.ReadToEndAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task ListedSender_RatesGoByTheAnnouncedAddress()
    {
        await using var edge = await EdgeFixture.StartAsync(o => Listed(o) with { Limits = new() { ClientRequestsPerSecond = 1, BurstTime = TimeSpan.FromSeconds(1), ConnectionsPerClient = 1 } });
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, Header(IPAddress.Parse(Client), 1), signed), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 429 ", await AskAsync(edge, Header(IPAddress.Parse(Client), 2), signed), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, Header(IPAddress.Parse("198.51.100.8"), 3), signed), StringComparison.Ordinal);
        // And so do connections.
        using var holding = await RawClient.ConnectAsync(edge.Node.Address);
        await holding.Stream.WriteAsync(Header(IPAddress.Parse("203.0.113.1"), 4));
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Connections.Clients == 1);
        using var second = await RawClient.ConnectAsync(edge.Node.Address);
        await second.Stream.WriteAsync(Header(IPAddress.Parse("203.0.113.1"), 5));
        Assert.Equal("", await second.ReadToEndAsync());
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.ClientConnections));
    }

    [Fact]
    public async Task ListedSender_WithoutAValidHeader_IsClosedWithoutAWord()
    {
        await using var edge = await EdgeFixture.StartAsync(Listed);
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        byte[][] bad =
        [
            Encoding.ASCII.GetBytes($"GET {signed} HTTP/1.1\r\nHost: edge\r\n\r\n"),
            Encoding.ASCII.GetBytes($"PROXY TCP4 {Client} 127.0.0.1 1 2\r\nGET {signed} HTTP/1.1\r\nHost: edge\r\n\r\n"),
            [.. Signature, 0x21, 0x11, 0xff, 0xff, .. new byte[70_000]],
            [.. Signature, 0x21, 0x99, 0, 12, .. new byte[12]],
            [0],
        ];
        foreach (var bytes in bad)
        {
            using var client = await RawClient.ConnectAsync(edge.Node.Address);
            try
            {
                await client.Stream.WriteAsync(bytes);
            }
            catch (IOException)
            {
                // Closed while it was being sent.
            }

            var answer = await client.ReadToEndAsync();
            Assert.True(answer is "" or "<reset>", answer);
        }

        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Count(Limit.ProxyHeader) == bad.Length);
    }

    [Fact]
    public async Task ListedSender_ThatStalls_IsClosedInTime_OthersAreServed()
    {
        await using var edge = await EdgeFixture.StartAsync(Listed);
        var signed = edge.Sign(await edge.AddFileAsync(Content));
        var timers = edge.Time.Waiting;
        var stalled = new List<RawClient>();
        foreach (var count in new[] { 0, 5, 16, 20 })
        {
            stalled.Add(await RawClient.ConnectAsync(edge.Node.Address));
            await stalled[^1].Stream.WriteAsync(Header(IPAddress.Parse(Client), 1).AsMemory(0, count));
        }

        await Poll.UntilAsync(() => edge.Time.Waiting == timers + stalled.Count);
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, Header(IPAddress.Parse(Client), 1), signed), StringComparison.Ordinal);
        edge.Time.Advance(TimeSpan.FromSeconds(10));
        foreach (var client in stalled)
        {
            Assert.Equal("", await client.ReadToEndAsync());
            client.Dispose();
        }

        Assert.Equal(stalled.Count, edge.Node.Parts.Limits.Meter.Count(Limit.ProxyHeader));
    }

    [Fact]
    public async Task UnlistedSender_HeaderIsABadRequest_AndItsOwnAddressHolds()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with { ProxyProtocolNetworks = ["192.0.2.0/24"] });
        var path = await edge.AddFileAsync(Content);
        var signed = NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), Address = Client });
        var answer = await AskAsync(edge, Header(IPAddress.Parse(Client), 4711), signed);
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.DoesNotContain(" 200 ", answer, StringComparison.Ordinal);
        var plain = edge.Sign(path);
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(edge, [], plain), StringComparison.Ordinal);
        Assert.Equal(0, edge.Node.Parts.Limits.Meter.Count(Limit.ProxyHeader));
    }

    [Fact]
    public async Task ListedSender_OverTls_HeaderComesBeforeTheHandshake()
    {
        using var certificate = new TestCertificate();
        await using var edge = await EdgeFixture.StartAsync(o => Listed(o) with { CertificatePath = certificate.CertificatePath, CertificateKeyPath = certificate.KeyPath });
        var path = await edge.AddFileAsync(Content);
        var signed = NativeScheme.Instance.Sign(edge.Ring, path, new() { Expires = edge.Time.GetUtcNow() + TimeSpan.FromHours(1), Address = Client });
        using var tcp = new TcpClient();
        await tcp.ConnectAsync(edge.Node.TlsAddress!.Host, edge.Node.TlsAddress.Port);
        await tcp.GetStream().WriteAsync(Header(IPAddress.Parse(Client), 4711));
        await using var tls = new SslStream(tcp.GetStream(), false, (_, presented, _, _) => presented?.GetCertHashString() == certificate.Thumbprint);
        await tls.AuthenticateAsClientAsync("localhost");
        await tls.WriteAsync(Encoding.ASCII.GetBytes($"GET {signed} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n"));
        using var reader = new StreamReader(tls, Encoding.Latin1);
        Assert.StartsWith("HTTP/1.1 200 ", await reader.ReadToEndAsync(), StringComparison.Ordinal);
    }

    private static ReadOnlySpan<byte> Signature => [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

    private static EdgeOptions Listed(EdgeOptions options) => options with { ProxyProtocolNetworks = ["127.0.0.1"] };

    private static byte[] Header(IPAddress source, int port, byte[]? tlvs = null)
    {
        var isV4 = source.AddressFamily == AddressFamily.InterNetwork;
        var ports = new byte[4];
        BinaryPrimitives.WriteUInt16BigEndian(ports, (ushort)port);
        BinaryPrimitives.WriteUInt16BigEndian(ports.AsSpan(2), 443);
        byte[] block = [.. source.GetAddressBytes(), .. (isV4 ? IPAddress.Loopback : IPAddress.IPv6Loopback).GetAddressBytes(), .. ports, .. tlvs ?? []];
        return [.. Signature, 0x21, (byte)(isV4 ? 0x11 : 0x21), (byte)(block.Length >> 8), (byte)block.Length, .. block];
    }

    private static ReadOnlySequence<byte> Split(byte[] bytes, int at)
    {
        var first = new Segment(bytes.AsMemory(0, at), 0);
        var last = new Segment(bytes.AsMemory(at), at);
        first.Link(last);
        return new(first, 0, last, bytes.Length - at);
    }

    private static async Task<string> AskAsync(EdgeFixture edge, byte[] header, string signed)
    {
        using var client = await RawClient.ConnectAsync(edge.Node.Address);
        await client.Stream.WriteAsync(header);
        await client.SendAsync($"GET {signed} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
        return await client.ReadToEndAsync();
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(ReadOnlyMemory<byte> memory, long index) => (Memory, RunningIndex) = (memory, index);

        public void Link(Segment next) => Next = next;
    }
}
