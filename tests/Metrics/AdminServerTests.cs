using System.Diagnostics.Metrics;
using System.Net;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Metrics.Tests;

public sealed class AdminServerTests : IAsyncLifetime
{
    private readonly string _name = $"Test.{Guid.NewGuid():N}";
    private readonly List<string> _reasons = [];
    private readonly HttpClient _client = new();
    private AdminServer? _server;

    public async ValueTask InitializeAsync()
    {
        _server = await AdminServer.StartAsync(0, new PrometheusExposition(_name), () => _reasons, NullLoggerFactory.Instance, TestContext.Current.CancellationToken);
        _client.BaseAddress = _server.Address;
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _server!.DisposeAsync();
    }

    [Fact]
    public void Server_ListensOnLoopbackAlone() => Assert.Equal("127.0.0.1", _server!.Address.Host);

    [Fact]
    public async Task PortAlreadyTaken_Throws() => await Assert.ThrowsAsync<IOException>(() => AdminServer.StartAsync(
        _server!.Address.Port, new PrometheusExposition(_name), () => [], NullLoggerFactory.Instance, TestContext.Current.CancellationToken));

    [Fact]
    public async Task Metrics_TextFormatWithItsContentType()
    {
        using var meter = new Meter(_name);
        meter.CreateCounter<long>("delivery.test").Add(3);
        using var response = await _client.GetAsync(new Uri("/metrics", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", response.Content.Headers.ContentType?.ToString());
        Assert.Contains("delivery_test_total 3\n", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Healthz_Ok() => Assert.Equal((HttpStatusCode.OK, "ok\n"), await GetAsync("/healthz"));

    [Fact]
    public async Task Readyz_503WithAReasonPerLine_UntilThereIsNone()
    {
        _reasons.AddRange(["the key ring is not loaded", "the store\nis away"]);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "the key ring is not loaded\nthe store is away\n"), await GetAsync("/readyz"));
        _reasons.Clear();
        Assert.Equal((HttpStatusCode.OK, "ok\n"), await GetAsync("/readyz"));
    }

    private async Task<(HttpStatusCode Status, string Body)> GetAsync(string path)
    {
        using var response = await _client.GetAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal("text/plain", response.Content.Headers.ContentType?.MediaType);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }
}
