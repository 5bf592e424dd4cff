using System.Net.Sockets;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Policy;
using Delivery.Edge.Fills;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Requests;
using Delivery.Metrics;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge;

/// <summary>An edge node: serves signed byte ranges of <c>audio/</c> from RAM, and fills RAM from the object store.</summary>
public sealed partial class EdgeNode : IAsyncDisposable
{
    private readonly EdgeOptions _options;
    private readonly ILogger _log;
    private readonly WebApplication _host;
    private readonly IServer _server;
    private readonly AdminServer _admin;
    private readonly CancellationTokenSource _stopping;
    private int _disposed;

    private EdgeNode(EdgeOptions options, WebApplication host, IServer server, AdminServer admin, CancellationTokenSource stopping, EdgeParts parts, FillBuffers buffers, ILogger log)
    {
        (_options, _host, _server, _admin, _stopping, Parts, Buffers, _log) = (options, host, server, admin, stopping, parts, buffers, log);
        var addresses = server.Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Select(a => new Uri(a.Replace("[::]", "localhost", StringComparison.Ordinal).Replace("0.0.0.0", "localhost", StringComparison.Ordinal))).ToList();
        Address = addresses.First(a => a.Scheme == Uri.UriSchemeHttp);
        TlsAddress = addresses.FirstOrDefault(a => a.Scheme == Uri.UriSchemeHttps);
        AdminAddress = admin.Address;
    }

    /// <summary>Where the plaintext port listens; <c>localhost</c> when it listens on every address.</summary>
    public Uri Address { get; }

    /// <summary>Where the TLS port listens; null without a certificate.</summary>
    public Uri? TlsAddress { get; }

    public Uri AdminAddress { get; }

    internal EdgeParts Parts { get; }

    internal FillBuffers Buffers { get; }

    /// <summary>Starts a node; when this returns, it serves.</summary>
    /// <param name="options">Validated here.</param>
    /// <param name="upstream">Where objects are; the caller keeps it and disposes it after the node.</param>
    /// <param name="log">Receives event ids 1000 to 1999.</param>
    /// <param name="time">The clock that tokens and deadlines go by.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="EdgeStartException">Bad options, a bad certificate, or a port that is taken.</exception>
    /// <exception cref="KeyRingException">The key ring cannot be used.</exception>
    public static async Task<EdgeNode> StartAsync(EdgeOptions options, IObjectStore upstream, ILoggerFactory log, TimeProvider time, CancellationToken cancellationToken)
    {
        if (options.Validate() is { Count: > 0 } errors)
            throw new EdgeStartException($"The edge's options are wrong. {string.Join(". ", errors)}.");
        var logger = log.CreateLogger("Delivery.Edge");
        var keys = new KeyRingFile(options.KeyRingPath, time);
        var host = BuildHost(options, log);
        var buffers = new FillBuffers((int)(options.FillBufferBytes / Chunk.SizeBytes));
        // Room for every buffer there is: a chunk that is refused here is filled again by the reader who had not reached it yet, so the bound that
        // bites first must be the buffers', for which fills wait.
        var policy = new CachePolicy(CachePolicyOptions.For(options.HotTierBytes, diskBytes: 0));
        var hot = new HotTierStore(options.HotTierBytes, buffers.Capacity, policy, new(), logger);
        var objects = new ObjectTable(options.MaxObjects);
        var metrics = new PrometheusExposition(EdgeMeter.Name, "Delivery.TokenAuth");
        var meter = new EdgeMeter();
        var fills = new FillTable(upstream, hot, objects, buffers, options, meter, time, logger);
        meter.Watch(hot, objects, buffers, fills);
        var parts = new EdgeParts(options, keys, NativeScheme.Instance, objects, hot, fills, meter, new(options), time, logger);
        var server = host.Services.GetRequiredService<IServer>();
        AdminServer? admin = null;
        var stopping = new CancellationTokenSource();
        try
        {
            await ListenAsync(() => server.StartAsync(new EdgeApplication(parts), cancellationToken), options.Port, options.CertificatePath is null ? null : options.TlsPort);
            await ListenAsync(
                async () => admin = await AdminServer.StartAsync(options.AdminPort, metrics, () => stopping.IsCancellationRequested ? ["stopping"] : [], log, cancellationToken),
                options.AdminPort,
                null);
        }
        catch
        {
            if (admin is not null)
                await admin.DisposeAsync();
            await server.StopAsync(CancellationToken.None);
            await host.DisposeAsync();
            await fills.StopAsync();
            fills.Dispose();
            hot.Dispose();
            buffers.Dispose();
            meter.Dispose();
            metrics.Dispose();
            stopping.Dispose();
            keys.Dispose();
            throw;
        }

        var node = new EdgeNode(options, host, server, admin!, stopping, parts, buffers, logger);
        LogStarted(logger, node.Address, node.TlsAddress, node.AdminAddress, hot.BudgetBytes >> 20);
        return node;
    }

    /// <summary>Stops accepting, lets responses under way end for <see cref="EdgeOptions.DrainTimeout"/>, then ends them, and ends fills.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        // Not ready first, so that balancers send no more.
        await _stopping.CancelAsync();
        using var drain = new CancellationTokenSource(_options.DrainTimeout);
        await _server.StopAsync(drain.Token);
        await _admin.DisposeAsync();
        await Parts.Fills.StopAsync();
        await _host.DisposeAsync();
        Parts.Hot.Dispose();
        Parts.Fills.Dispose();
        Buffers.Dispose();
        Parts.Meter.Dispose();
        _stopping.Dispose();
        Parts.Keys.Dispose();
        LogStopped(_log, Address);
    }

    // Only the server is taken from this host: it is never started itself, so it adds no middleware, no configuration files and no
    // environment variables to what the options say.
    private static WebApplication BuildHost(EdgeOptions options, ILoggerFactory log)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.Replace(ServiceDescriptor.Singleton(log));
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel => KestrelSetup.Configure(kestrel, options));
        builder.Services.Configure<SocketTransportOptions>(sockets => sockets.UnsafePreferInlineScheduling = options.InlineScheduling);
        return builder.Build();
    }

    private static async Task ListenAsync(Func<Task> start, int port, int? tlsPort)
    {
        try
        {
            await start();
        }
        catch (Exception exception) when (exception is IOException { InnerException: AddressInUseException } or SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse })
        {
            // Kestrel names the address in its message; with two ports, that tells which.
            var taken = tlsPort is { } tls && exception.Message.Contains($":{tls}", StringComparison.Ordinal) ? tls : port;
            throw new EdgeStartException($"Port {taken} is taken by another process.", exception) { PortInUse = taken };
        }
        catch (SocketException exception)
        {
            throw new EdgeStartException($"Port {port} cannot be opened: {exception.Message}", exception);
        }
    }

    [LoggerMessage(1001, LogLevel.Information, "Edge serves on {Address} (TLS: {TlsAddress}), admin on {AdminAddress}, hot tier {HotTierMiB} MiB")]
    private static partial void LogStarted(ILogger logger, Uri address, Uri? tlsAddress, Uri adminAddress, long hotTierMiB);

    [LoggerMessage(1002, LogLevel.Information, "Edge on {Address} stopped")]
    private static partial void LogStopped(ILogger logger, Uri address);
}
