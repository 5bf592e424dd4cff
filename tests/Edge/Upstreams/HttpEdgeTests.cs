using System.Net;
using Delivery.Edge.Fills;
using Delivery.Edge.Tests.Requests;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore.Failover;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>A whole edge in front of an HTTP origin on its worst days: what a listener gets of it.</summary>
public sealed class HttpEdgeTests : IAsyncLifetime
{
    private const string Path = "/audio/track.ogg";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("edge-http-");
    private readonly ManualTime _time = new();
    private readonly KeyRing _ring = KeyRing.Generate();
    private readonly ScriptedOrigin _origin = new(EdgeFixture.Bytes(7 * Chunk.SizeBytes + 77));
    private readonly HttpClient _client = new(new SocketsHttpHandler { UseProxy = false });
    private EdgeNode _edge = null!;

    private UpstreamLink Link => _edge.Upstreams.Links[0];

    public async ValueTask InitializeAsync()
    {
        var keys = System.IO.Path.Combine(_folder.FullName, "keys.json");
        await File.WriteAllTextAsync(keys, _ring.ToJson());
        var options = new EdgeOptions
        {
            Host = "localhost",
            Port = 0,
            AdminPort = 0,
            KeyRingPath = keys,
            HotTierBytes = EdgeOptions.MinHotTierBytes,
            FillBufferBytes = 16 << 20,
            UpstreamRetries = 0,
            // By the machine's clock, and the machine may be busy.
            UpstreamConnectTimeout = TimeSpan.FromSeconds(30),
            Upstreams = [new() { Kind = UpstreamKind.Http, Name = "origin", Address = _origin.Address.ToString() }],
        };
        _edge = await EdgeNode.StartAsync(options, null, NullLoggerFactory.Instance, _time, CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        await SettledAsync();
        _client.Dispose();
        await _edge.DisposeAsync();
        Assert.Equal(0, _edge.Parts.Cache.Hot.SessionsInUse);
        await Poll.UntilAsync(() => _origin.OpenConnections == 0);
        await _origin.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Object_IsFetchedOnce_AndServedFromHereThen()
    {
        Assert.Equal(_origin.Content, await ReadAsync());
        await SettledAsync();
        var asked = _origin.Requests.Count;
        Assert.Equal(_origin.Content, await ReadAsync());
        Assert.Equal(_origin.Content[1000..2000], await ReadAsync("bytes=1000-1999"));
        Assert.Equal(asked, _origin.Requests.Count);
        Assert.Equal(_origin.Content.Length, _edge.Parts.Meter.FilledBytes);
        // Nothing of the listener's request has gone up.
        Assert.All(_origin.Requests, r => Assert.DoesNotContain(r.Headers.Keys, name => name is not ("Host" or "Range" or "If-Range" or "Accept-Encoding" or "CDN-Loop")));
    }

    [Fact]
    public async Task BodiesThatAreCut_AreTakenUp_AndNobodyNotices()
    {
        var answers = 0;
        _origin.Script = (_, answer) => Interlocked.Increment(ref answers) % 2 == 1 ? answer with { CutAfter = Math.Min(answer.Body.Length - 1, 50_000) } : answer;
        Assert.Equal(_origin.Content, await ReadAsync());
        Assert.True(_edge.Upstreams.Meter.Requests("origin", FillOutcome.Truncated) > 0);
        Assert.Equal(BreakerState.Closed, Link.Breaker.State);
    }

    [Fact]
    public async Task VersionThatChangesBetweenRuns_IsNeverMixed()
    {
        var old = _origin.Content;
        var fresh = EdgeFixture.Bytes(old.Length, 99);
        var changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var seen = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        // The first run is of the old version; before the second is answered, there is another. It waits until the client has read the first: a reset overtakes what is on its way.
        _origin.Script = (request, answer) =>
        {
            if (request.Range!.Value.First == 0 || changed.Task.IsCompleted)
                return answer;
            (_origin.Content, _origin.ETag) = (fresh, "\"v2\"");
            changed.SetResult();
            return new() { Status = 200, Headers = new() { ["ETag"] = "\"v2\"", ["Content-Type"] = "audio/ogg", ["Content-Length"] = $"{fresh.Length}" }, Body = fresh, BeforeHead = seen.Task };
        };
        using var client = await RawClient.ConnectAsync(_edge.Address);
        await client.SendAsync($"GET {Sign()} HTTP/1.1\r\nHost: edge\r\n\r\n");
        var (headers, begin) = await client.ReadAsync(Chunk.SizeBytes);
        Assert.Contains($"Content-Length: {old.Length}", headers, StringComparison.Ordinal);
        Assert.Equal(old[..Chunk.SizeBytes], begin);
        seen.SetResult();
        // Cut, and not a byte of the new version.
        Assert.Equal("", (await client.ReadToEndAsync()).Replace("<reset>", "", StringComparison.Ordinal));
        Assert.Equal(fresh, await ReadAsync());
    }

    [Fact]
    public async Task OriginWithoutRanges_IsServedInRangesAllTheSame()
    {
        _origin.Script = (_, answer) => answer.With("Content-Range", null).With("Content-Length", $"{_origin.Content.Length}") with { Status = 200, Body = _origin.Content };
        Assert.Equal(_origin.Content[300_000..400_000], await ReadAsync("bytes=300000-399999"));
        Assert.Equal(_origin.Content, await ReadAsync());
        // What is behind the wanted part is not waited for: its connection is given up.
        await SettledAsync();
        Assert.Equal(_origin.Content.Length, _edge.Parts.Meter.FilledBytes);
    }

    [Theory]
    [InlineData(404, 404, "")]
    [InlineData(403, 502, "proxy_configuration_error")]
    [InlineData(500, 503, "destination_unavailable")]
    [InlineData(302, 502, "http_protocol_error")]
    public async Task OriginsStatus_BecomesTheEdges(int origin, int edge, string error)
    {
        _origin.Script = (_, _) => new() { Status = origin, Headers = { ["Content-Length"] = "0", ["Location"] = "http://elsewhere.example/" } };
        using var response = await GetAsync();
        Assert.Equal(edge, (int)response.StatusCode);
        Assert.Equal(edge == 503 ? "1" : "", EdgeFixture.Header(response, "Retry-After"));
        Assert.Contains(error, EdgeFixture.Header(response, "Proxy-Status"), StringComparison.Ordinal);
        // What contradicts itself may have been replaced in that moment, and is asked for twice more.
        Assert.Equal(error == "http_protocol_error" ? 3 : 1, _origin.Requests.Count);
    }

    [Fact]
    public async Task WhatMayNotBeKept_Is502_AndTheOriginIsNotBlamed()
    {
        _origin.Script = (_, answer) => answer.With("Cache-Control", "no-store");
        for (var i = 0; i < 10; i++)
        {
            using var response = await GetAsync();
            Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        }

        Assert.Equal(10, _edge.Parts.Meter.Fills(FillOutcome.Uncacheable));
        Assert.Equal(BreakerState.Closed, Link.Breaker.State);
    }

    [Fact]
    public async Task OriginThatIsDown_IsLeftAlone_AndComesBack()
    {
        _origin.Script = (_, _) => new() { Status = 0 };
        // Its connection breaks each time, whatever is asked for.
        for (var i = 0; i < 8; i++)
        {
            using var response = await GetAsync($"/audio/{i}.ogg");
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
            Assert.Equal("1", EdgeFixture.Header(response, "Retry-After"));
        }

        Assert.Equal(BreakerState.Open, Link.Breaker.State);
        Assert.Equal(CircuitBreaker.FailuresToOpen, _edge.Upstreams.Meter.Requests("origin", FillOutcome.Unavailable));
        _origin.Script = null;
        _time.Advance(CircuitBreaker.OpenFor);
        Assert.Equal(_origin.Content, await ReadAsync());
        Assert.Equal(BreakerState.Closed, Link.Breaker.State);
    }

    private string Sign(string path = Path) => NativeScheme.Instance.Sign(_ring, path, new() { Expires = _time.GetUtcNow().AddHours(1) });

    private Task<HttpResponseMessage> GetAsync(string path = Path, string? range = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, new Uri(_edge.Address, Sign(path)));
        request.Headers.TryAddWithoutValidation("Cookie", "a=b");
        request.Headers.TryAddWithoutValidation("X-Forwarded-For", "192.0.2.1");
        if (range is not null)
            request.Headers.TryAddWithoutValidation("Range", range);
        return _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
    }

    private async Task<byte[]> ReadAsync(string? range = null)
    {
        using var response = await GetAsync(range: range);
        Assert.Equal(range is null ? HttpStatusCode.OK : HttpStatusCode.PartialContent, response.StatusCode);
        return await response.Content.ReadAsByteArrayAsync();
    }

    private Task SettledAsync() => Poll.UntilAsync(() => _edge.Parts.Fills is { Running: 0, Joinable: 0 } && _edge.Buffers.InUse == 0 && _edge.Upstreams.Asking == 0 && Link.InFlight == 0);
}
