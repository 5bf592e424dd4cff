using System.Diagnostics.Metrics;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Delivery.Metrics.Tests;

public sealed class AdminEndpointsTests : IAsyncLifetime
{
    private readonly string _name = $"Test.{Guid.NewGuid():N}";
    private readonly List<string> _reasons = [];
    private readonly HttpClient _client = new();
    private PrometheusExposition? _exposition;
    private WebApplication? _app;

    public async ValueTask InitializeAsync()
    {
        _exposition = new PrometheusExposition(_name);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        _app = builder.Build();
        _app.Urls.Add("http://127.0.0.1:0");
        _app.MapAdmin(_exposition, () => _reasons);
        await _app.StartAsync(TestContext.Current.CancellationToken);
        var addresses = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>();
        _client.BaseAddress = new Uri(addresses!.Addresses.Single());
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _app!.DisposeAsync();
        _exposition!.Dispose();
    }

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
