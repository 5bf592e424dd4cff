using System.Net;
using System.Net.Sockets;
using System.Text;
using Delivery.Cli.Soak;

namespace Delivery.Cli.Tests.Soak;

/// <summary>The soak's judge, before servers that lie: a judge that finds nothing would pass every edge.</summary>
public sealed class SoakExchangeTests : IDisposable
{
    private const int Length = 200_000;

    private readonly SoakObject _object = new(seed: 5, number: 3, "audio/live-000003.ogg", Length, "/audio/live-000003.ogg?exp=1", isMutable: true);
    private readonly SoakTally _tally = new();

    public void Dispose() => _tally.Dispose();

    [Fact]
    public async Task RightAnswer_IsNoFault()
    {
        Assert.Equal(AnswerState.Hit, await AskAsync(Ask.Part(_object, 65_530, 70_000), Answer(206, "65530-135529", Content(0, 65_530, 70_000))));
        Assert.Equal(AnswerState.Hit, await AskAsync(Ask.Suffix(_object, Length + 5), Answer(206, $"0-{Length - 1}", Content(0, 0, Length))));
        Assert.Equal(AnswerState.Hit, await AskAsync(Ask.Whole(_object), Answer(200, null, Content(0, 0, Length))));
        Assert.Equal(0, _tally.FaultCount);
        Assert.Equal(2L * Length + 70_000, _tally.Bytes);
        Assert.Equal(3, _tally.FirstByte[AnswerState.Hit].Count);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(65_535)]
    [InlineData(69_999)]
    public async Task OneWrongByte_IsFound(int place)
    {
        var body = Content(0, 65_530, 70_000);
        body[place] ^= 1;

        Assert.Null(await AskAsync(Ask.Part(_object, 65_530, 70_000), Answer(206, "65530-135529", body)));

        var (fault, detail) = Assert.Single(_tally.Faults);
        Assert.Equal(SoakFault.WrongByte, fault);
        Assert.Contains($"byte {65_530 + place} ", detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BytesFromAnotherPlace_AreWrong() => await ExpectAsync(SoakFault.WrongByte, Ask.Part(_object, 0, 100), Answer(206, "0-99", Content(0, 8, 100)));

    [Fact]
    public async Task BytesOfAnotherObject_AreWrong()
    {
        var body = new byte[100];
        new SoakContent(5, 4, 0).Fill(0, body);
        await ExpectAsync(SoakFault.WrongByte, Ask.Part(_object, 0, 100), Answer(206, "0-99", body));
    }

    [Fact]
    public async Task WhileThePurgeIsNotAcknowledged_BothVersionsAreRight_AndAMixtureIsWrong()
    {
        Assert.Equal(1, _object.BeginReplacement());
        Assert.NotNull(await AskAsync(Ask.Whole(_object), Answer(200, null, Content(0, 0, Length), etag: "a")));
        Assert.NotNull(await AskAsync(Ask.Whole(_object), Answer(200, null, Content(1, 0, Length), etag: "b")));
        Assert.Equal(0, _tally.FaultCount);

        await ExpectAsync(SoakFault.WrongByte, Ask.Whole(_object), Answer(200, null, [.. Content(0, 0, 100_000), .. Content(1, 100_000, 100_000)], etag: "a"));
    }

    [Fact]
    public async Task AfterTheAcknowledgement_TheVersionBeforeIsStale()
    {
        _object.BeginReplacement();
        _object.EndReplacement();
        Assert.NotNull(await AskAsync(Ask.Whole(_object), Answer(200, null, Content(1, 0, Length))));

        await ExpectAsync(SoakFault.StaleVersion, Ask.Whole(_object), Answer(200, null, Content(0, 0, Length)));
    }

    [Fact]
    public async Task OneETagForTwoVersions_IsAWrongAnswer()
    {
        _object.BeginReplacement();
        Assert.NotNull(await AskAsync(Ask.Whole(_object), Answer(200, null, Content(0, 0, Length), etag: "same")));

        await ExpectAsync(SoakFault.WrongAnswer, Ask.Whole(_object), Answer(200, null, Content(1, 0, Length), etag: "same"));
    }

    [Fact]
    public async Task WrongStatus_IsAWrongAnswer() => await ExpectAsync(SoakFault.WrongAnswer, Ask.Part(_object, 0, 100), Answer(200, null, Content(0, 0, Length)));

    [Fact]
    public async Task WrongContentRange_IsAWrongAnswer() => await ExpectAsync(SoakFault.WrongAnswer, Ask.Part(_object, 0, 100), Answer(206, "0-98", Content(0, 0, 100)));

    [Fact]
    public async Task NotFound_IsAWrongAnswer_ButForTheTimeThatTheStoreIsAway()
    {
        Assert.Null(await AskAsync(Ask.Part(_object, 0, 100), Answer(404, null, []), storeIsAway: true));
        Assert.Equal(0, _tally.FaultCount);

        await ExpectAsync(SoakFault.WrongAnswer, Ask.Part(_object, 0, 100), Answer(404, null, []));
    }

    [Fact]
    public async Task ServerError_IsAFault_ButForAKilledEdge()
    {
        Assert.Null(await AskAsync(Ask.Whole(_object), Answer(503, null, []), killed: true));
        Assert.Equal(0, _tally.FaultCount);
        Assert.Equal(1, _tally.LostToKills);

        await ExpectAsync(SoakFault.ServerError, Ask.Whole(_object), Answer(503, null, []));
    }

    [Fact]
    public async Task CutBody_IsAFault_ButForAKilledEdge()
    {
        var cut = Answer(206, "0-99", Content(0, 0, 100))[..^1];
        Assert.Null(await AskAsync(Ask.Part(_object, 0, 100), cut, killed: true));
        Assert.Equal(0, _tally.FaultCount);
        Assert.Equal(1, _tally.LostToKills);

        await ExpectAsync(SoakFault.Cut, Ask.Part(_object, 0, 100), cut);
    }

    [Fact]
    public async Task CutBody_OfAnObjectThatIsReplaced_IsNone()
    {
        _object.BeginReplacement();

        Assert.Null(await AskAsync(Ask.Part(_object, 0, 100), Answer(206, "0-99", Content(0, 0, 100))[..^1]));

        Assert.Equal(0, _tally.FaultCount);
        Assert.Equal(1, _tally.CutByReplacement);
    }

    private async Task ExpectAsync(SoakFault expected, Ask ask, byte[] response)
    {
        Assert.Null(await AskAsync(ask, response));
        Assert.Equal(expected, Assert.Single(_tally.Faults).Fault);
    }

    /// <summary>One exchange with a server that sends these bytes and closes, whatever it is asked.</summary>
    private async Task<AnswerState?> AskAsync(Ask ask, byte[] response, bool storeIsAway = false, bool killed = false)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = ServeAsync(listener, response);
        using var edge = new EdgeDoor(new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}") }, 0) { Killed = killed };
        var state = await new SoakExchange(_tally).RunAsync(edge, _object, ask, storeIsAway, TestContext.Current.CancellationToken);
        await serving;
        return state;
    }

    private static async Task ServeAsync(TcpListener listener, byte[] response)
    {
        using var client = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        var stream = client.GetStream();
        var request = new byte[4096];
        var read = 0;
        while (!Encoding.ASCII.GetString(request, 0, read).EndsWith("\r\n\r\n", StringComparison.Ordinal))
            read += await stream.ReadAsync(request.AsMemory(read), TestContext.Current.CancellationToken);
        try
        {
            await stream.WriteAsync(response, TestContext.Current.CancellationToken);
        }
        catch (IOException)
        {
            // The judge has left: it had seen enough.
        }
    }

    private byte[] Content(int version, long offset, int length)
    {
        var bytes = new byte[length];
        _object.Content(version).Fill(offset, bytes);
        return bytes;
    }

    private static byte[] Answer(int status, string? range, byte[] body, string etag = "e")
    {
        var head = $"HTTP/1.1 {status} X\r\nContent-Length: {body.Length}\r\nCache-Status: delivery-edge; hit\r\nETag: \"{etag}\"\r\nConnection: close\r\n" +
            (range is null ? "" : $"Content-Range: bytes {range}/{Length}\r\n") + "\r\n";
        return [.. Encoding.ASCII.GetBytes(head), .. body];
    }
}
