using System.Diagnostics.Metrics;
using System.Net.Sockets;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Connections;
using Delivery.Edge.Fills;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Peers;
using Delivery.Edge.Purges;
using Delivery.Edge.Requests;
using Delivery.Edge.Upstreams;
using Delivery.Metrics;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
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
    private readonly ChunkRepair _repair;
    private readonly ConnectionGuards _guards;
    private int _disposed;

    private EdgeNode(EdgeOptions options, WebApplication host, IServer server, AdminServer admin, CancellationTokenSource stopping, EdgeParts parts, FillBuffers buffers, ChunkRepair repair, ConnectionGuards guards, UpstreamSet upstreams, PeerServer? peers, ILogger log)
    {
        (_options, _host, _server, _admin, _stopping, Parts, Buffers, _repair, _guards, Upstreams, Peers, _log) = (options, host, server, admin, stopping, parts, buffers, repair, guards, upstreams, peers, log);
        var addresses = AddressesOf(server);
        Address = addresses.First(a => a.Scheme == Uri.UriSchemeHttp);
        TlsAddress = addresses.FirstOrDefault(a => a.Scheme == Uri.UriSchemeHttps);
        AdminAddress = admin.Address;
    }

    /// <summary>Where other edges connect; null without <see cref="EdgeOptions.PeerKeyRingPath"/>.</summary>
    public Uri? PeerAddress => Peers?.Address;

    /// <summary>Where the plaintext port listens; <c>localhost</c> when it listens on every address.</summary>
    public Uri Address { get; }

    /// <summary>Where the TLS port listens; null without a certificate.</summary>
    public Uri? TlsAddress { get; }

    public Uri AdminAddress { get; }

    internal EdgeParts Parts { get; }

    internal FillBuffers Buffers { get; }

    internal UpstreamSet Upstreams { get; }

    internal PeerServer? Peers { get; }

    /// <summary>Starts a node; when this returns, it serves.</summary>
    /// <param name="options">Validated here.</param>
    /// <param name="store">The object store of the upstream of kind <see cref="UpstreamKind.Store"/>, null when there is none; the caller keeps it and disposes it after the node.</param>
    /// <param name="log">Receives event ids 1000 to 1999.</param>
    /// <param name="time">The clock that tokens and deadlines go by.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="EdgeStartException">Bad options, a bad certificate, or a port that is taken.</exception>
    /// <exception cref="KeyRingException">The key ring cannot be used.</exception>
    public static async Task<EdgeNode> StartAsync(EdgeOptions options, IObjectStore? store, ILoggerFactory log, TimeProvider time, CancellationToken cancellationToken)
    {
        if (options.Validate() is { Count: > 0 } errors)
            throw new EdgeStartException($"The edge's options are wrong. {string.Join(". ", errors)}.");
        if (options.Upstreams.Any(u => u.Kind == UpstreamKind.Store) != store is not null)
            throw new EdgeStartException(store is null ? "An upstream is the object store, and no store was given." : "A store was given, and no upstream is of kind Store.");
        var logger = log.CreateLogger("Delivery.Edge");
        var keys = new KeyRingFile(options.KeyRingPath, time);
        var peerKeys = options.PeerKeyRingPath is { } peerRing ? new KeyRingFile(peerRing, time) : null;
        var limits = new EdgeLimits(options, time);
        var guards = new ConnectionGuards(options, limits, time, logger);
        var host = BuildHost(options, guards.Http3, log, kestrel => KestrelSetup.Configure(kestrel, options, guards));
        limits.Meter.Watch(host.Services.GetRequiredService<IMeterFactory>());
        var buffers = new FillBuffers((int)(options.FillBufferBytes / Chunk.SizeBytes));
        var cache = OpenCache(options, time, logger);
        var objects = new ObjectTable(options.MaxObjects, cache.GenerationOf);
        var recall = new ObjectRecall(cache, objects);
        var metrics = new PrometheusExposition(EdgeMeter.Name, "Delivery.TokenAuth");
        var meter = new EdgeMeter();
        var upstreams = UpstreamSet.Create(options, store, peerKeys, time, logger);
        var fills = new FillTable(upstreams, cache, objects, buffers, options, meter, time, logger);
        var repair = new ChunkRepair(objects, recall, fills);
        cache.MetadataOf = path => objects.FindByHash(path) is { } known ? StoredObject.Write(known) : [];
        cache.Damaged = repair.Add;
        meter.Watch(cache, objects, buffers, fills, repair);
        var purger = new Purger(cache, objects);
        var parts = new EdgeParts(options, keys, NativeScheme.Instance, objects, cache, recall, fills, meter, new(options), limits, time, logger);
        var server = host.Services.GetRequiredService<IServer>();
        AdminServer? admin = null;
        PeerServer? peers = null;
        var stopping = new CancellationTokenSource();
        try
        {
            await ListenAsync(() => server.StartAsync(new EdgeApplication(parts), cancellationToken), options.Port, options.CertificatePath is null ? null : options.TlsPort);
            if (peerKeys is not null)
            {
                var door = parts with { Keys = peerKeys, Meter = new(forPeers: true), Peer = new(options, cache) };
                peers = await PeerServer.StartAsync(BuildHost(options, http3: false, log, kestrel => KestrelSetup.ConfigurePeers(kestrel, options, guards)), door, cancellationToken);
                LogPeers(logger, peers.Address);
            }

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
            if (peers is not null)
            {
                await peers.StopAsync(CancellationToken.None);
                await peers.DisposeAsync();
            }

            await server.StopAsync(CancellationToken.None);
            await host.DisposeAsync();
            await fills.StopAsync();
            await repair.DisposeAsync();
            await upstreams.DisposeAsync();
            fills.Dispose();
            cache.Dispose();
            buffers.Dispose();
            meter.Dispose();
            guards.Dispose();
            limits.Dispose();
            metrics.Dispose();
            stopping.Dispose();
            keys.Dispose();
            peerKeys?.Dispose();
            throw;
        }

        var node = new EdgeNode(options, host, server, admin!, stopping, parts, buffers, repair, guards, upstreams, peers, logger);
        LogStarted(logger, node.Address, node.TlsAddress, node.AdminAddress, cache.Hot.BudgetBytes >> 20, options.CacheFolder is null ? 0 : options.DiskTierBytes >> 20);
        return node;
    }

    /// <summary>
    /// Drains: <c>/readyz</c> says 503 and HTTP/1.1 responses say <c>Connection: close</c>; after <see cref="EdgeOptions.UnreadyDelay"/> the node accepts no more, sends HTTP/2 clients GOAWAY, and lets
    /// responses under way end for <see cref="EdgeOptions.DrainTimeout"/>; then it cuts them, which looks broken, never short, and ends fills.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        // Not ready first, so that balancers send no more.
        await _stopping.CancelAsync();
        Parts.Limits.Stop();
        LogStopping(_log, Address, Parts.Limits.Requests, _options.UnreadyDelay, _options.DrainTimeout);
        if (_options.UnreadyDelay > TimeSpan.Zero)
            await Task.Delay(_options.UnreadyDelay, Parts.Time);
        await DrainAsync();
        await _admin.DisposeAsync();
        await Parts.Fills.StopAsync();
        await _repair.DisposeAsync();
        await Upstreams.DisposeAsync();
        if (Peers is not null)
            await Peers.DisposeAsync();
        await _host.DisposeAsync();
        Parts.Cache.Dispose();
        Parts.Fills.Dispose();
        Buffers.Dispose();
        Parts.Meter.Dispose();
        _guards.Dispose();
        Parts.Limits.Dispose();
        _stopping.Dispose();
        Parts.Keys.Dispose();
        Peers?.Parts.Keys.Dispose();
        LogStopped(_log, Address);
    }

    private async Task DrainAsync()
    {
        using var drain = new CancellationTokenSource(_options.DrainTimeout);
        var left = 0L;
        using var atTheEnd = drain.Token.Register(() => left = Parts.Limits.Requests);
        await Task.WhenAll(_server.StopAsync(drain.Token), Peers?.StopAsync(drain.Token) ?? Task.CompletedTask);
        if (left > 0)
            LogCut(_log, left, _options.DrainTimeout);
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
    private static WebApplication BuildHost(EdgeOptions options, bool http3, ILoggerFactory log, Action<KestrelServerOptions> configure)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.Replace(ServiceDescriptor.Singleton(log));
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(configure);
        if (http3)
            UseQuic(builder.WebHost);
        builder.Services.Configure<SocketTransportOptions>(sockets => sockets.UnsafePreferInlineScheduling = options.InlineScheduling);
        return builder.Build();
    }

    // Apart, as its platforms are checked: ConnectionGuards.Http3 is true on these alone.
    private static void UseQuic(IWebHostBuilder host)
    {
        if (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS() || OperatingSystem.IsWindows())
            host.UseQuic();
    }

    internal static List<Uri> AddressesOf(IServer server) =>
        [.. server.Features.GetRequiredFeature<IServerAddressesFeature>().Addresses
            .Select(a => new Uri(a.Replace("[::]", "localhost", StringComparison.Ordinal).Replace("0.0.0.0", "localhost", StringComparison.Ordinal)))];

    internal static async Task ListenAsync(Func<Task> start, int port, int? tlsPort)
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

    [LoggerMessage(1025, LogLevel.Information, "Other edges connect on {Address}")]
    private static partial void LogPeers(ILogger logger, Uri address);

    [LoggerMessage(1003, LogLevel.Information, "Edge on {Address} stops: {Requests} requests in work, not ready for {UnreadyDelay}, then up to {DrainTimeout} to end them")]
    private static partial void LogStopping(ILogger logger, Uri address, long requests, TimeSpan unreadyDelay, TimeSpan drainTimeout);

    [LoggerMessage(1004, LogLevel.Warning, "Cut {Requests} requests that had not ended within {DrainTimeout}")]
    private static partial void LogCut(ILogger logger, long requests, TimeSpan drainTimeout);

    [LoggerMessage(1002, LogLevel.Information, "Edge on {Address} stopped")]
    private static partial void LogStopped(ILogger logger, Uri address);
}
