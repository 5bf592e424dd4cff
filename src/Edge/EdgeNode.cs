using System.Net.Sockets;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Fills;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Proxy;
using Delivery.Edge.Purges;
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

/// <summary>An edge node: serves signed byte ranges of <c>audio/</c> from RAM, and fills RAM from the object store; or, in http mode, any HTTP origin's responses.</summary>
public sealed partial class EdgeNode : IAsyncDisposable
{
    private readonly EdgeOptions _options;
    private readonly ILogger _log;
    private readonly WebApplication _host;
    private readonly IServer _server;
    private readonly AdminServer _admin;
    private readonly CancellationTokenSource _stopping;
    private readonly ChunkRepair _repair;
    private int _disposed;

    private EdgeNode(EdgeOptions options, WebApplication host, IServer server, AdminServer admin, CancellationTokenSource stopping, EdgeParts parts, FillBuffers buffers, ChunkRepair repair, ProxyParts? proxy, ILogger log)
    {
        (_options, _host, _server, _admin, _stopping, Parts, Buffers, _repair, Proxy, _log) = (options, host, server, admin, stopping, parts, buffers, repair, proxy, log);
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

    /// <summary>Null but in http mode.</summary>
    internal ProxyParts? Proxy { get; }

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
        var keys = options.Mode == EdgeMode.Http ? null : new KeyRingFile(options.KeyRingPath, time);
        var host = BuildHost(options, log);
        var buffers = new FillBuffers((int)(options.FillBufferBytes / Chunk.SizeBytes));
        var cache = OpenCache(options, time, logger);
        var objects = new ObjectTable(options.MaxObjects, cache.GenerationOf);
        var recall = new ObjectRecall(cache, objects);
        var metrics = new PrometheusExposition(EdgeMeter.Name, "Delivery.TokenAuth");
        var meter = new EdgeMeter();
        var fills = new FillTable(upstream, cache, objects, buffers, options, meter, time, logger);
        var repair = new ChunkRepair(objects, recall, fills);
        cache.MetadataOf = path => objects.FindByHash(path) is { } known ? StoredObject.Write(known) : [];
        cache.Damaged = repair.Add;
        meter.Watch(cache, objects, buffers, fills, repair);
        var purger = new Purger(cache, objects);
        var parts = new EdgeParts(options, keys, NativeScheme.Instance, objects, cache, recall, fills, meter, new(options), time, logger);
        var proxy = options.Mode == EdgeMode.Http ? new ProxyParts(options, cache, buffers, meter, parts.Fields.RetryAfter, time, logger) : null;
        var server = host.Services.GetRequiredService<IServer>();
        AdminServer? admin = null;
        var stopping = new CancellationTokenSource();
        try
        {
            await ListenAsync(() => proxy is null ? server.StartAsync(new EdgeApplication(parts), cancellationToken) : server.StartAsync(new ProxyApplication(proxy), cancellationToken), options.Port, options.CertificatePath is null ? null : options.TlsPort);
            await ListenAsync(
                async () => admin = await AdminServer.StartAsync(options.AdminPort, metrics, () => stopping.IsCancellationRequested ? ["stopping"] : [], log, cancellationToken,
                    app =>
                    {
                        if (options.AdminPurge)
                            app.MapPurge(purger);
                    }),
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
            await repair.DisposeAsync();
            fills.Dispose();
            cache.Dispose();
            buffers.Dispose();
            meter.Dispose();
            metrics.Dispose();
            stopping.Dispose();
            keys?.Dispose();
            proxy?.Dispose();
            throw;
        }

        var node = new EdgeNode(options, host, server, admin!, stopping, parts, buffers, repair, proxy, logger);
        LogStarted(logger, node.Address, node.TlsAddress, node.AdminAddress, cache.Hot.BudgetBytes >> 20, options.CacheFolder is null ? 0 : options.DiskTierBytes >> 20);
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
        if (Proxy is not null)
            await Proxy.Exchanges.StopAsync();
        await Parts.Fills.StopAsync();
        await _repair.DisposeAsync();
        await _host.DisposeAsync();
        Parts.Cache.Dispose();
        Parts.Fills.Dispose();
        Buffers.Dispose();
        Parts.Meter.Dispose();
        _stopping.Dispose();
        Parts.Keys?.Dispose();
        Proxy?.Dispose();
        LogStopped(_log, Address);
    }

    private static ChunkCache OpenCache(EdgeOptions options, TimeProvider time, ILogger log)
    {
        if (options.CacheFolder is not { } folder)
            return ChunkCache.Open(options, null, time, log);
        try
        {
            return ChunkCache.Open(options, () => LocalDisk.Open(folder), time, log);
        }
        catch (IOException exception)
        {
            throw new EdgeStartException($"The cache folder '{folder}' cannot be used: {exception.Message}", exception);
        }
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

    [LoggerMessage(1001, LogLevel.Information, "Edge serves on {Address} (TLS: {TlsAddress}), admin on {AdminAddress}, hot tier {HotTierMiB} MiB, disk tier {DiskTierMiB} MiB")]
    private static partial void LogStarted(ILogger logger, Uri address, Uri? tlsAddress, Uri adminAddress, long hotTierMiB, long diskTierMiB);

    [LoggerMessage(1002, LogLevel.Information, "Edge on {Address} stopped")]
    private static partial void LogStopped(ILogger logger, Uri address);
}
