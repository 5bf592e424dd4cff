using System.Net;
using Delivery.Edge.Limits;
using Delivery.Edge.Tests.Requests;

namespace Delivery.Edge.Tests.Limits;

public sealed class Http2FloodTests : IDisposable
{
    private const byte Data = 0;
    private const byte Headers = 1;
    private const byte Priority = 2;
    private const byte Settings = 4;
    private const byte Ping = 6;
    private const byte GoAway = 7;
    private const byte Continuation = 9;

    private static readonly byte[] Content = EdgeFixture.Bytes(100_000);

    private readonly TestCertificate _certificate = new();

    public void Dispose() => _certificate.Dispose();

    // CVE-2023-44487: each stream is asked for and reset in one breath, so that none is ever open for long.
    [Fact]
    public async Task RapidResets_EndTheirConnection_WhileAnotherIsServed()
    {
        await using var edge = await StartAsync(new() { MaxResets = 50 });
        var path = await edge.AddFileAsync(Content);
        using var listener = _certificate.Http2Client(edge.Node.TlsAddress!);
        await GetAsync(edge, listener, path);
        using var attacker = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        var served = 0;
        try
        {
            for (var i = 0; i < 100_000; i++)
            {
                byte[] pair = [.. attacker.Get(edge.Sign(path), out var stream), .. Http2RawClient.Reset(stream)];
                await attacker.SendAsync(pair);
                if (i % 10 == 0)
                {
                    await GetAsync(edge, listener, path);
                    served++;
                }
            }

            Assert.Fail("100,000 resets were taken.");
        }
        catch (IOException)
        {
            // Ended by the edge.
        }

        Assert.True(served > 4, $"{served}");
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.Http2Resets));
        await GetAsync(edge, listener, path);
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Requests == 0);
    }

    [Fact]
    public async Task ResetsWithinTheBound_AreAListenerWhoSeeks()
    {
        await using var edge = await StartAsync(new() { MaxResets = 50 });
        var path = await edge.AddFileAsync(Content);
        using var client = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        for (var window = 0; window < 3; window++)
        {
            for (var i = 0; i < 50; i++)
            {
                byte[] pair = [.. client.Get(edge.Sign(path), out var stream), .. Http2RawClient.Reset(stream)];
                await client.SendAsync(pair);
            }

            await client.SendAsync(client.Get(edge.Sign(path), out var asked));
            int answered;
            while ((answered = await client.UntilFrameAsync(Headers)) != asked)
                Assert.NotEqual(-1, answered);
            edge.Time.Advance(TimeSpan.FromSeconds(10));
        }

        Assert.Equal(0, edge.Node.Parts.Limits.Meter.Count(Limit.Http2Resets));
    }

    [Theory]
    [InlineData(Ping)]
    [InlineData(Settings)]
    [InlineData(Priority)]
    [InlineData(0xbb)]
    public async Task ControlFrameFlood_EndsItsConnection_WhileAnotherIsServed(byte type)
    {
        await using var edge = await StartAsync(new() { MaxControlFrames = 100 });
        var path = await edge.AddFileAsync(Content);
        using var listener = _certificate.Http2Client(edge.Node.TlsAddress!);
        await GetAsync(edge, listener, path);
        using var attacker = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        var frame = type switch
        {
            Ping => Http2RawClient.Frame(Ping, 0, 0, new byte[8]),
            Priority => Http2RawClient.Frame(Priority, 0, 1, [0, 0, 0, 3, 1]),
            _ => Http2RawClient.Frame(type, 0, 0, []),
        };
        await attacker.FloodAsync(frame);
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.Http2ControlFrames));
        await GetAsync(edge, listener, path);
    }

    // CVE-2024-27316 and its kin: a header block that never ends.
    [Fact]
    public async Task ContinuationFlood_EndsItsConnection()
    {
        await using var edge = await StartAsync(new() { MaxControlFrames = 100 });
        using var attacker = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        await attacker.SendAsync(Http2RawClient.Frame(Headers, 1, 1, [0x82, 0x87]));
        await attacker.FloodAsync(Http2RawClient.Frame(Continuation, 0, 1, []));
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.Http2ControlFrames));
    }

    // CVE-2019-9518: frames that carry nothing and end nothing. Those with content are no flood.
    [Fact]
    public async Task EmptyDataFlood_EndsItsConnection()
    {
        await using var edge = await EdgeFixture.StartAsync(o => o with
        {
            CertificatePath = _certificate.CertificatePath,
            CertificateKeyPath = _certificate.KeyPath,
            Limits = new() { MaxControlFrames = 100 },
        });
        using var attacker = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        // A GET whose content is to come: it is answered, and Kestrel keeps what the client still sends to the stream.
        await attacker.SendAsync(Http2RawClient.Frame(Headers, 4, 1, [0x82, 0x87, 0x04, 1, (byte)'/', 0x01, 4, .. "edge"u8]));
        await attacker.FloodAsync(Http2RawClient.Frame(Data, 0, 1, []));
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Connections == 0);
    }

    [Fact]
    public async Task HeaderBlockBeyondItsBound_IsRefusedByKestrel()
    {
        await using var edge = await StartAsync(new());
        using var attacker = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        await attacker.SendAsync(Http2RawClient.Frame(Headers, 1, 1, [0x82, 0x87]));
        // Literals of 1,000 bytes, 16 KiB of them and more.
        byte[] literal = [0x00, 1, (byte)'a', 0x7f, 0xe9, 0x06, .. new byte[1000]];
        literal.AsSpan(6).Fill((byte)'b');
        try
        {
            for (var i = 0; i < 200; i++)
                await attacker.SendAsync(Http2RawClient.Frame(Continuation, 0, 1, literal));
        }
        catch (IOException)
        {
            // Ended while it was being sent.
        }

        var end = await attacker.UntilFrameAsync(GoAway);
        Assert.True(end is 0 or -1, $"{end}");
        await Poll.UntilAsync(() => edge.Node.Parts.Limits.Meter.Connections == 0);
    }

    [Fact]
    public async Task FramesSplitAtEveryByte_AreCountedAlike()
    {
        await using var edge = await StartAsync(new() { MaxControlFrames = 20 });
        using var client = await Http2RawClient.ConnectAsync(edge.Node.TlsAddress!, _certificate);
        // SETTINGS and its ACK are two; the ACK may be one of the client's own.
        var ping = Http2RawClient.Frame(Ping, 0, 0, new byte[8]);
        for (var i = 0; i < 15; i++)
        {
            await client.SendAsync(ping[..(i + 1)]);
            await client.SendAsync(ping[(i + 1)..]);
            Assert.Equal(0, await client.UntilFrameAsync(Ping));
        }

        Assert.Equal(0, edge.Node.Parts.Limits.Meter.Count(Limit.Http2ControlFrames));
        await client.FloodAsync(ping[..5], ping[5..]);
        Assert.Equal(1, edge.Node.Parts.Limits.Meter.Count(Limit.Http2ControlFrames));
    }

    private Task<EdgeFixture> StartAsync(LimitOptions limits) =>
        EdgeFixture.StartAsync(o => o with { CertificatePath = _certificate.CertificatePath, CertificateKeyPath = _certificate.KeyPath, Limits = limits });

    private static async Task GetAsync(EdgeFixture edge, HttpClient client, string path)
    {
        using var response = await client.GetAsync(edge.Sign(path));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(Content, await response.Content.ReadAsByteArrayAsync());
    }
}
