using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Delivery.Metrics;

/// <summary>A role's admin port: <see cref="AdminEndpoints"/> on loopback alone, as what it tells is for operators (ADR 0007).</summary>
public sealed class AdminServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly PrometheusExposition _metrics;

    private AdminServer(WebApplication app, PrometheusExposition metrics) => (_app, _metrics, Address) = (app, metrics, new Uri(app.Urls.Single()));

    public Uri Address { get; }

    /// <summary>Starts listening.</summary>
    /// <param name="port">0 takes any free one.</param>
    /// <param name="metrics">What <c>/metrics</c> shows; disposed with the server.</param>
    /// <param name="notReadyReasons">Asked at each <c>/readyz</c>; empty means ready.</param>
    /// <param name="log">Receives what the web server logs.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <param name="map">Adds the role's own routes.</param>
    /// <exception cref="IOException">The port is taken.</exception>
    /// <exception cref="SocketException">The port cannot be opened.</exception>
    public static async Task<AdminServer> StartAsync(
        int port, PrometheusExposition metrics, Func<IReadOnlyList<string>> notReadyReasons, ILoggerFactory log, CancellationToken cancellationToken,
        Action<IEndpointRouteBuilder>? map = null)
    {
        // The empty builder: no configuration files, environment variables or signal handlers that the process's owner did not ask for.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(IPAddress.Loopback, port);
        });
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(log);
        builder.Services.AddSingleton<IHostLifetime, OwnersLifetime>();
        var app = builder.Build();
        try
        {
            app.MapAdmin(metrics, notReadyReasons);
            map?.Invoke(app);
            await app.StartAsync(cancellationToken);
            return new AdminServer(app, metrics);
        }
        catch
        {
            await app.DisposeAsync();
            metrics.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _metrics.Dispose();
    }

    /// <summary>The process's signals are its owner's; the default lifetime would take SIGINT and SIGTERM for itself.</summary>
    private sealed class OwnersLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
