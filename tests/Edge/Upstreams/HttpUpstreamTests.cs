using System.Net;
using System.Net.Sockets;
using Delivery.Edge.Fills;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>An HTTP upstream against an origin on its worst days, asked through the set as a fill asks.</summary>
public sealed class HttpUpstreamTests : IAsyncDisposable
{
    private const int Length = 3 * 1024 * 1024 + 77;

    private readonly ManualTime _time = new();
    private readonly ScriptedOrigin _origin = new(EdgeFixture.Bytes(Length));
    private readonly UpstreamSet _set;

    public HttpUpstreamTests()
    {
        var options = new EdgeOptions
        {
            EdgeId = "edge-a",
            UpstreamRetries = 0,
            // By the machine's clock, and the machine may be busy.
            UpstreamConnectTimeout = TimeSpan.FromSeconds(30),
            Upstreams = [new() { Kind = UpstreamKind.Http, Address = $"{_origin.Address}origin/" }],
        };
        _set = UpstreamSet.Create(options, ScriptedUpstream.NoStore, null, _time, NullLogger.Instance);
    }

    private byte[] Content => _origin.Content;

    public async ValueTask DisposeAsync()
    {
        // Nothing of any test stays behind: no question, no body, no connection.
        await Poll.UntilAsync(() => _set.Asking == 0 && _set.Links[0].InFlight == 0);
        await _set.DisposeAsync();
        await Poll.UntilAsync(() => _origin.OpenConnections == 0);
        await _origin.DisposeAsync();
    }

    [Fact]
    public async Task Range_GivesItsBytesAndWhatTheHeadSays()
    {
        var digest = new byte[32];
        digest[31] = 0x2a;
        _origin.Script = (_, answer) => answer.With("Last-Modified", "Sat, 21 Nov 2026 11:00:00 GMT").With("Repr-Digest", $"md5=:AAAA:, sha-256=:{Convert.ToBase64String(digest)}:");
        await using var read = await OpenAsync(100, 1000);
        Assert.Equal(Part(100, 1000), await ReadAsync(read!));
        var info = read!.Object.Info;
        Assert.Equal((Length, "etag:\"v1\"", "audio/ogg", $"{new string('0', 62)}2a"), (info.Length, info.Version, info.ContentType, info.Sha256));
        Assert.Equal(new(2026, 11, 21, 11, 0, 0, TimeSpan.Zero), info.LastModified);
        Assert.Equal((100, 1000), (read.Offset, read.Length));
    }

    [Fact]
    public async Task Request_CarriesItsOwnFieldsAndNoOthers()
    {
        await using (var read = await OpenAsync(5, 10, path: "/audio/a b/ü+'é.ogg"))
            await ReadAsync(read!);
        var request = Assert.Single(_origin.Requests);
        Assert.Equal("/origin/audio/a%20b/%C3%BC+'%C3%A9.ogg", request.Target);
        Assert.Equal(["Accept-Encoding", "CDN-Loop", "Host", "Range"], request.Headers.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(("identity", "edge-a", "bytes=5-14"), (request.Headers["Accept-Encoding"], request.Headers["CDN-Loop"], request.Headers["Range"]));
    }

    [Fact]
    public async Task RangeThatRunsPastTheEnd_IsCutThere()
    {
        await using var read = await OpenAsync(Length - 7, 1000);
        Assert.Equal(7, read!.Length);
        Assert.Equal(Part(Length - 7, 7), await ReadAsync(read));
    }

    [Fact]
    public async Task WholeObject_ToARangeFromItsStart_IsUsed()
    {
        _origin.Script = (_, answer) => answer.With("Content-Range", null).With("Content-Length", $"{Length}") with { Status = 200, Body = Content };
        await using var read = await OpenAsync(0, 1000);
        Assert.Equal(1000, read!.Length);
        Assert.Equal(Part(0, 1000), await ReadAsync(read));
    }

    [Fact]
    public async Task WholeObject_IsSkippedToTheRangeUpToTheBound()
    {
        _origin.Script = (_, answer) => answer.With("Content-Range", null).With("Content-Length", $"{Length}") with { Status = 200, Body = Content };
        await using (var read = await OpenAsync(HttpRangeClient.MaxSkippedBytes, 1000))
            Assert.Equal(Part((int)HttpRangeClient.MaxSkippedBytes, 1000), await ReadAsync(read!));
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(HttpRangeClient.MaxSkippedBytes + 1, 1000)).Outcome);
        Assert.Equal(FillOutcome.PastEnd, (await FailureAsync(Length, 1000)).Outcome);
    }

    [Fact]
    public async Task WholeObject_OfUnknownLength_IsRefused()
    {
        _origin.Script = (_, answer) => answer.With("Content-Range", null).With("Content-Length", null).With("Transfer-Encoding", "chunked") with { Status = 200, Body = Content, Chunked = true };
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(0, 1000)).Outcome);
    }

    [Theory]
    [InlineData("bytes 100-1099/3145805", true)]
    [InlineData("Bytes 100-1099/3145805", true)]
    [InlineData(null, false)]
    [InlineData("bytes 101-1100/3145805", false)]
    [InlineData("bytes 99-1098/3145805", false)]
    [InlineData("bytes 100-1098/3145805", false)]
    [InlineData("bytes 100-1100/3145805", false)]
    [InlineData("bytes 100-1099/*", false)]
    [InlineData("bytes 100-1099/1099", false)]
    [InlineData("bytes 1099-100/3145805", false)]
    [InlineData("bytes 100-1099/99999999999999999999", false)]
    [InlineData("bytes 100-99999999999999999999/3145805", false)]
    [InlineData("bytes -100-1099/3145805", false)]
    [InlineData("bytes +100-1099/3145805", false)]
    [InlineData("bytes=100-1099/3145805", false)]
    [InlineData("bytes 100-1099", false)]
    [InlineData("items 100-1099/3145805", false)]
    [InlineData("bytes */3145805", false)]
    public async Task ContentRange_IsBelievedOnlyWhenItIsWhatWasAskedFor(string? field, bool good)
    {
        _origin.Script = (_, answer) => answer.With("Content-Range", field);
        if (!good)
        {
            Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(100, 1000)).Outcome);
            return;
        }

        await using var read = await OpenAsync(100, 1000);
        Assert.Equal(Part(100, 1000), await ReadAsync(read!));
    }

    [Fact]
    public async Task ContentRange_Twice_IsRefused()
    {
        _origin.Script = (_, answer) => answer with { MoreHeaders = $"Content-Range: {answer.Headers["Content-Range"]}\r\n" };
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(100, 1000)).Outcome);
    }

    [Theory]
    [InlineData("999")]
    [InlineData("1001")]
    [InlineData("10000000000000000000000")]
    [InlineData("-1")]
    public async Task ContentLength_ThatDisagrees_IsRefused(string length)
    {
        _origin.Script = (_, answer) => answer.With("Content-Length", length) with { Close = true };
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(100, 1000)).Outcome);
    }

    [Fact]
    public async Task Unsatisfiable_IsPastTheEnd_WhenItSaysTheLength()
    {
        Assert.Equal(FillOutcome.PastEnd, (await FailureAsync(Length, 1000)).Outcome);
        _origin.Script = (_, answer) => answer.With("Content-Range", null);
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(Length, 1000)).Outcome);
        _origin.Script = (_, answer) => answer.With("Content-Range", $"bytes */{Length + 1}");
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(Length, 1000)).Outcome);
        _origin.Script = (_, answer) => answer.With("Content-Range", "bytes */99999999999999999999");
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(Length, 1000)).Outcome);
        // The range's end is no failure of the upstream.
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.PastEnd));
    }

    [Theory]
    [InlineData(404)]
    [InlineData(410)]
    public async Task Absent_IsAnAnswer(int status)
    {
        _origin.Script = (_, _) => new() { Status = status, Headers = { ["Content-Length"] = "0" } };
        Assert.Null(await OpenAsync(0, 1000));
        Assert.Null(await FindAsync());
        Assert.Equal(2, _set.Meter.Requests("http", FillOutcome.Absent));
    }

    [Theory]
    [InlineData(400, "Denied", false)]
    [InlineData(401, "Denied", false)]
    [InlineData(403, "Denied", false)]
    [InlineData(408, "Unavailable", true)]
    [InlineData(429, "Unavailable", false)]
    [InlineData(500, "Unavailable", true)]
    [InlineData(501, "Unavailable", false)]
    [InlineData(503, "Unavailable", true)]
    [InlineData(301, "Contradictory", false)]
    [InlineData(204, "Contradictory", false)]
    public async Task Status_SaysWhoseFaultItIsAndWhetherToAskAgain(int status, string outcome, bool canRetry)
    {
        _origin.Script = (_, _) => new() { Status = status, Headers = status == 204 ? [] : new() { ["Content-Length"] = "0", ["Location"] = "/elsewhere" } };
        var failure = await FailureAsync(0, 1000);
        Assert.Equal((outcome, canRetry), (failure.Outcome.ToString(), failure.CanRetry));
        Assert.Single(_origin.Requests);
    }

    [Fact]
    public async Task RetryAfter_IsNotAskedAgainAtOnce()
    {
        _origin.Script = (_, _) => new() { Status = 503, Headers = { ["Content-Length"] = "0", ["Retry-After"] = "7" } };
        Assert.False((await FailureAsync(0, 1000)).CanRetry);
    }

    [Fact]
    public async Task SeveralRanges_AreRefused()
    {
        _origin.Script = (_, answer) => answer.With("Content-Type", "multipart/byteranges; boundary=x");
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(0, 1000)).Outcome);
    }

    [Theory]
    [InlineData("gzip", false)]
    [InlineData("identity, br", false)]
    [InlineData("identity", true)]
    public async Task CodedContent_IsRefused(string coding, bool good)
    {
        _origin.Script = (_, answer) => answer.With("Content-Encoding", coding);
        if (!good)
        {
            Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(0, 1000)).Outcome);
            return;
        }

        await using var read = await OpenAsync(0, 1000);
        Assert.Equal(Part(0, 1000), await ReadAsync(read!));
    }

    [Theory]
    [InlineData("\"v1\"", "Sat, 21 Nov 2026 11:00:00 GMT", "etag:\"v1\"")]
    [InlineData("W/\"v1\"", "Sat, 21 Nov 2026 11:00:00 GMT", "lm:1795258800:3145805")]
    [InlineData(null, "Sat, 21 Nov 2026 11:00:00 GMT", "lm:1795258800:3145805")]
    [InlineData("v1", "Sat, 21 Nov 2026 11:00:00 GMT", "lm:1795258800:3145805")]
    [InlineData("\"v1\"", null, "etag:\"v1\"")]
    public async Task Version_IsTheStrongTagElseTheTimeOfChangeAndLength(string? tag, string? modified, string version)
    {
        _origin.Script = (_, answer) => answer.With("ETag", tag).With("Last-Modified", modified);
        await using var read = await OpenAsync(0, 1000);
        Assert.Equal(version, read!.Object.Info.Version);
        Assert.Equal(version, (await FindAsync())!.Info.Version);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("W/\"v1\"")]
    public async Task NoVersion_IsRefused_UnlessTheNameIsOne(string? tag)
    {
        _origin.Script = (_, answer) => answer.With("ETag", tag);
        Assert.Equal(FillOutcome.Uncacheable, (await FailureAsync(0, 1000)).Outcome);
        await using var read = await OpenAsync(0, 1000, path: "/audio/0123456789012345678901234567890123456789.ogg");
        Assert.Equal("name:3145805", read!.Object.Info.Version);
    }

    [Fact]
    public async Task ExpectedVersion_IsAskedForByIfRange_AndAnotherOneIsSeenWithoutItsBytes()
    {
        var known = (await FindAsync())!.Info;
        await using (var read = await OpenAsync(2 << 20, 1000, expected: known))
            Assert.Equal(Part(2 << 20, 1000), await ReadAsync(read!));
        Assert.Equal("\"v1\"", _origin.Requests[^1].Headers["If-Range"]);
        _origin.ETag = "\"v2\"";
        // Behind the bound of what is skipped: nobody wants these bytes.
        await using (var changed = await OpenAsync(2 << 20, 1000, expected: known))
            Assert.Equal("etag:\"v2\"", changed!.Object.Info.Version);
        // A server that ignores both is refused here: its version is the expected one.
        _origin.ETag = "\"v1\"";
        _origin.Script = (_, answer) => answer.With("Content-Range", null).With("Content-Length", $"{Length}") with { Status = 200, Body = Content };
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(2 << 20, 1000, expected: known)).Outcome);
    }

    [Fact]
    public async Task WeakVersion_IsNotAskedForByIfRange()
    {
        _origin.Script = (_, answer) => answer.With("ETag", null).With("Last-Modified", "Sat, 21 Nov 2026 11:00:00 GMT");
        var known = (await FindAsync())!.Info;
        await using var read = await OpenAsync(0, 1000, expected: known);
        Assert.DoesNotContain("If-Range", _origin.Requests[^1].Headers.Keys);
    }

    [Fact]
    public async Task BodyCutByAClose_IsTruncated()
    {
        _origin.Script = (_, answer) => answer with { CutAfter = 600 };
        await using var read = await OpenAsync(0, 1000);
        var failure = await Assert.ThrowsAsync<UpstreamException>(() => ReadAsync(read!));
        Assert.Equal(FillOutcome.Truncated, failure.Outcome);
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.Truncated));
    }

    [Fact]
    public async Task BodyCutByAReset_IsUnavailable()
    {
        var seen = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _origin.Script = (_, answer) => answer with { CutAfter = 600, Reset = true, BeforeReset = seen.Task };
        await using var read = await OpenAsync(0, 1000);
        await read!.Content.ReadExactlyAsync(new byte[600]);
        seen.SetResult();
        var failure = await Assert.ThrowsAsync<UpstreamException>(() => ReadAsync(read));
        Assert.Equal(FillOutcome.Unavailable, failure.Outcome);
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.Unavailable));
    }

    [Fact]
    public async Task BodyLongerThanPromised_IsContradictory()
    {
        _origin.Script = (_, answer) => answer.With("Content-Length", null).With("Transfer-Encoding", "chunked") with { Chunked = true, Body = [.. answer.Body, 1] };
        await using (var read = await OpenAsync(0, 1000))
            Assert.Equal(1001, (await ReadAsync(read!)).Length);
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.Contradictory));
    }

    [Fact]
    public async Task ChunkedBodyThatEndsEarly_IsTruncated()
    {
        _origin.Script = (_, answer) => answer.With("Content-Length", null).With("Transfer-Encoding", "chunked") with { Chunked = true, Body = answer.Body[..999] };
        await using (var read = await OpenAsync(0, 1000))
            Assert.Equal(999, (await ReadAsync(read!)).Length);
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.Truncated));
    }

    [Fact]
    public async Task InterimResponses_AreNotTheAnswer()
    {
        _origin.Script = (_, answer) => answer with { Interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" };
        await using var read = await OpenAsync(0, 1000);
        Assert.Equal(Part(0, 1000), await ReadAsync(read!));
    }

    [Fact]
    public async Task SlowHead_TimesOut()
    {
        _origin.Script = (_, answer) => answer with { BeforeHead = new TaskCompletionSource().Task };
        var asking = FailureAsync(0, 1000);
        await Poll.UntilAsync(() => _origin.Requests.Count == 1 && _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(5));
        var failure = await asking;
        Assert.Equal((FillOutcome.TimedOut, false), (failure.Outcome, failure.CanRetry));
    }

    [Fact]
    public async Task BodyThatStandsStill_TimesOut_AndOneThatMovesDoesNot()
    {
        var more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _origin.Script = (request, answer) => answer with { HoldAfter = 600, Held = request.Range!.Value.First == 0 ? more.Task : new TaskCompletionSource().Task };
        await using var slow = await OpenAsync(0, 1000);
        await using var dead = await OpenAsync(1, 1000);
        await slow!.Content.ReadExactlyAsync(new byte[600]);
        await dead!.Content.ReadExactlyAsync(new byte[600]);
        // The time between two reads is the reader's.
        _time.Advance(TimeSpan.FromSeconds(20));
        var buffer = new byte[1];
        var moving = slow.Content.ReadAsync(buffer).AsTask();
        await Poll.UntilAsync(() => _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(4.9));
        more.SetResult();
        Assert.Equal(1, await moving);
        var standing = ReadAsync(dead);
        await Poll.UntilAsync(() => _time.Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(FillOutcome.TimedOut, (await Assert.ThrowsAsync<UpstreamException>(() => standing)).Outcome);
    }

    [Fact]
    public async Task NobodyListens_IsUnavailable()
    {
        using var unused = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        unused.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var options = new EdgeOptions { UpstreamRetries = 0, Upstreams = [new() { Kind = UpstreamKind.Http, Address = $"http://{unused.LocalEndPoint}" }] };
        await using var set = UpstreamSet.Create(options, ScriptedUpstream.NoStore, null, _time, NullLogger.Instance);
        var failure = await Assert.ThrowsAsync<UpstreamException>(async () => await set.FindAsync(Query("/audio/x.ogg", null), CancellationToken.None));
        Assert.Equal((FillOutcome.Unavailable, true), (failure.Outcome, failure.CanRetry));
    }

    [Fact]
    public async Task ConnectionClosedInThePlaceOfAnAnswer_IsUnavailable()
    {
        _origin.Script = (_, _) => new() { Status = 0 };
        var failure = await FailureAsync(0, 1000);
        Assert.Equal((FillOutcome.Unavailable, true), (failure.Outcome, failure.CanRetry));
    }

    [Fact]
    public async Task HeadBeyondItsBound_IsRefused()
    {
        _origin.Script = (_, answer) => answer with { MoreHeaders = $"X-Long: {new string('x', 32 * 1024)}\r\n" };
        Assert.Equal(FillOutcome.Contradictory, (await FailureAsync(0, 1000)).Outcome);
    }

    [Fact]
    public async Task Find_AsksForTheHead()
    {
        var found = (await FindAsync())!;
        Assert.Equal((Length, "etag:\"v1\""), (found.Info.Length, found.Info.Version));
        Assert.Equal("HEAD", Assert.Single(_origin.Requests).Method);
    }

    [Theory]
    [InlineData(405)]
    [InlineData(501)]
    [InlineData(200)]
    public async Task Find_AsksForOneByte_WhereAHeadDoesNotSayTheLength(int status)
    {
        _origin.Script = (request, answer) => request.Method != "HEAD" ? answer : status == 200 ? answer.With("Content-Length", null) : new() { Status = status };
        var found = (await FindAsync())!;
        Assert.Equal((Length, "etag:\"v1\""), (found.Info.Length, found.Info.Version));
        Assert.Equal(["HEAD ", "GET bytes=0-0"], _origin.Requests.Select(r => $"{r.Method} {r.Headers.GetValueOrDefault("Range")}"));
    }

    [Theory]
    [InlineData("Cache-Control", "no-store")]
    [InlineData("Cache-Control", "private, max-age=60")]
    [InlineData("CDN-Cache-Control", "no-store")]
    [InlineData("Vary", "*")]
    public async Task WhatMayNotBeKept_IsRefused(string name, string value)
    {
        _origin.Script = (_, answer) => answer.With(name, value);
        var failure = await FailureAsync(0, 1000);
        Assert.Equal((FillOutcome.Uncacheable, false), (failure.Outcome, failure.CanRetry));
        // It works, and says so.
        Assert.Equal(BreakerState.Closed, _set.Links[0].Breaker.State);
    }

    [Fact]
    public async Task Freshness_IsWhatTheOriginSays()
    {
        Assert.Null((await FindAsync())!.Freshness);
        _origin.Script = (_, answer) => answer.With("Cache-Control", "max-age=60, stale-while-revalidate=30, stale-if-error=3600").With("Age", "20");
        var said = (await FindAsync())!.Freshness!;
        Assert.Equal((60, 30, 3600, 20, 40), (Seconds(said.Lifetime), Seconds(said.StaleWhileRevalidate), Seconds(said.StaleIfError), Seconds(said.InitialAge), Seconds(said.FreshFor(_time.GetUtcNow()))));
        _origin.Script = (_, answer) => answer.With("Cache-Control", "max-age=60").With("CDN-Cache-Control", "max-age=600");
        Assert.Equal(600, Seconds((await FindAsync())!.Freshness!.Lifetime));
        _origin.Script = (_, answer) => answer.With("Cache-Control", "no-cache");
        Assert.True((await FindAsync())!.Freshness!.NoCache);
        _origin.Script = (_, answer) => answer.With("Date", "Sat, 21 Nov 2026 12:00:00 GMT").With("Expires", "Sat, 21 Nov 2026 12:05:00 GMT");
        Assert.Equal(300, Seconds((await FindAsync())!.Freshness!.Lifetime));

        static int Seconds(TimeSpan time) => (int)time.TotalSeconds;
    }

    [Fact]
    public async Task Connection_IsUsedAgain_AndGivenUpWithABodyThatNobodyWants()
    {
        for (var i = 0; i < 10; i++)
        {
            await using var read = await OpenAsync(i, 1000);
            await ReadAsync(read!);
        }

        Assert.Equal(1, _origin.Accepted);
        await using (var unread = await OpenAsync(0, 1 << 20))
            await unread!.Content.ReadExactlyAsync(new byte[10]);
        await Poll.UntilAsync(() => _origin.OpenConnections == 0);
    }

    [Fact]
    public async Task HedgedRead_GivesTheLosersConnectionUp()
    {
        for (var i = 0; i < FirstByteTimes.MinSamples; i++)
        {
            await using var read = await OpenAsync(i, 10);
            await ReadAsync(read!);
        }

        var asked = 0;
        _origin.Script = (_, answer) => Interlocked.Increment(ref asked) == 1 ? answer with { BeforeHead = new TaskCompletionSource().Task } : answer;
        var opening = OpenAsync(7, 1000).AsTask();
        // Its deadline, and the moment for the second question.
        await Poll.UntilAsync(() => _time.Waiting == 2 && Volatile.Read(ref asked) == 1);
        _time.Advance(FirstByteTimes.Floor);
        await using (var hedged = await opening)
            Assert.Equal(Part(7, 1000), await ReadAsync(hedged!));
        Assert.Equal((1, 1), (_set.Meter.HedgesSent, _set.Meter.HedgesWon));
        await Poll.UntilAsync(() => _set.Asking == 0 && _set.Links[0].InFlight == 0 && _origin.OpenConnections == 1);
        Assert.Equal(1, _set.Meter.Requests("http", FillOutcome.Running));
    }

    [Fact]
    public async Task CallersCancellation_IsTheirs_AndNoFailureOfTheUpstream()
    {
        _origin.Script = (_, answer) => answer with { BeforeHead = new TaskCompletionSource().Task };
        using var cancel = new CancellationTokenSource();
        var asking = _set.OpenAsync(Query("/audio/x.ogg", null), new(0, 10), cancel.Token).AsTask();
        await Poll.UntilAsync(() => _origin.Requests.Count == 1);
        await cancel.CancelAsync();
        var thrown = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
        Assert.Equal(cancel.Token, thrown.CancellationToken);
        Assert.Equal(0, _set.Meter.Requests("http", FillOutcome.TimedOut));
    }

    private byte[] Part(int offset, int length) => Content[offset..(offset + length)];

    private static UpstreamQuery Query(string path, ObjectInfo? expected) => new(path, ObjectKey.Parse(path[1..]), 0) { Expected = expected };

    private ValueTask<UpstreamRead?> OpenAsync(long offset, long length, ObjectInfo? expected = null, string path = "/audio/x.ogg") =>
        _set.OpenAsync(Query(path, expected), new(offset, length), TestContext.Current.CancellationToken);

    private ValueTask<UpstreamObject?> FindAsync() => _set.FindAsync(Query("/audio/x.ogg", null), TestContext.Current.CancellationToken);

    private async Task<UpstreamException> FailureAsync(long offset, long length, ObjectInfo? expected = null) =>
        await Assert.ThrowsAsync<UpstreamException>(async () => await OpenAsync(offset, length, expected));

    private static async Task<byte[]> ReadAsync(UpstreamRead read)
    {
        using var all = new MemoryStream();
        await read.Content.CopyToAsync(all);
        return all.ToArray();
    }
}
