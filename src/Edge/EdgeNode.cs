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
using Delivery.Edge.Proxy;
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

/// <summary>An edge node: serves signed byte ranges of <c>audio/</c> from RAM, and fills RAM from the object store; or, in http mode, any HTTP origin's responses.</summary>
public sealed partial class EdgeNode : IAsyncDisposable
{
    /// <summary>As long as a first answer may take through a slow resolver; beyond it the first listener waits instead.</summary>
    private static readonly TimeSpan WarmUpTimeout = TimeSpan.FromSeconds(2);

    /// <summary>A name that no content has, where edges may read.</summary>
    private static readonly ObjectKey WarmUpKey = ObjectKey.Parse("audio/0000000000000000000000000000000000000000.ogg");

    private readonly Ending _ending;
    private int _disposed;

    private EdgeNode(
        EdgeParts parts, FillBuffers buffers, UpstreamSet upstreams, ConnectionGuards guards, ProxyParts? proxy, PeerServer? peers, IServer server, AdminServer admin, Ending ending)
    {
        (Parts, Buffers, Upstreams, Guards, Proxy, Peers, _ending) = (parts, buffers, upstreams, guards, proxy, peers, ending);
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

    internal ConnectionGuards Guards { get; }

    /// <summary>Null but in http mode.</summary>
    internal ProxyParts? Proxy { get; }

    internal PeerServer? Peers { get; }

    /// <summary>Starts a node; when this returns, it serves.</summary>
    /// <param name="options">Validated here.</param>
    /// <param name="store">
    /// The object store of the upstream of kind <see cref="UpstreamKind.Store"/> that has no address, null when there is none; the caller keeps it and disposes it after the node. Stores by address the
    /// node opens and disposes itself.
    /// </param>
    /// <param name="log">Receives event ids 1000 to 1999.</param>
    /// <param name="time">The clock that tokens and deadlines go by.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="EdgeStartException">Bad options, a bad certificate, a port that is taken, or a store that cannot be opened.</exception>
    /// <exception cref="KeyRingException">The key ring cannot be used.</exception>
    public static Task<EdgeNode> StartAsync(EdgeOptions options, IObjectStore? store, ILoggerFactory log, TimeProvider time, CancellationToken cancellationToken)
    {
        if (options.Validate() is { Count: > 0 } errors)
            throw new EdgeStartException($"The edge's options are wrong. {string.Join(". ", errors)}.");
        if (options.Upstreams.Any(u => u is { Kind: UpstreamKind.Store, Address: null }) == store is not null)
            return StartWithAsync(options, upstream => upstream.Address is null ? store : null, log, time, cancellationToken);
        throw new EdgeStartException(store is null
            ? "An upstream is the object store that the edge is started with, and none was given."
            : "A store was given, and no upstream is of kind Store without an Address.");
    }

    /// <summary>As above, with options that are valid, and stores of the caller's: null for an upstream whose store is to be opened by its address.</summary>
    internal static async Task<EdgeNode> StartWithAsync(
        EdgeOptions options, Func<UpstreamOptions, IObjectStore?> stores, ILoggerFactory log, TimeProvider time, CancellationToken cancellationToken)
    {
        var logger = log.CreateLogger("Delivery.Edge");
        var ending = new Ending();
        try
        {
            var node = await StartAsync(options, stores, log, logger, time, ending, cancellationToken);
            LogStarted(logger, node.Address, node.TlsAddress, node.AdminAddress, node.Parts.Cache.Hot.BudgetBytes >> 20, options.CacheFolder is null ? 0 : options.DiskTierBytes >> 20);
            return node;
        }
        catch
        {
            await ending.RunAsync();
            throw;
        }
    }

    /// <summary>
    /// Drains: <c>/readyz</c> says 503 and HTTP/1.1 responses say <c>Connection: close</c>; after <see cref="EdgeOptions.UnreadyDelay"/> the node accepts no more, sends HTTP/2 clients GOAWAY, and lets
    /// responses under way end for <see cref="EdgeOptions.DrainTimeout"/>; then it cuts them, which looks broken, never short, and ends fills.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        var (options, limits) = (Parts.Options, Parts.Limits);
        // Not ready first, so that balancers send no more.
        limits.Stop();
        LogStopping(Parts.Log, Address, limits.Requests, options.UnreadyDelay, options.DrainTimeout);
        if (options.UnreadyDelay > TimeSpan.Zero)
            await Task.Delay(options.UnreadyDelay, Parts.Time);
        await _ending.RunAsync();
        LogStopped(Parts.Log, Address);
    }

    // Parts in the order in which they need each other; what each needs at its end is said where it is made.
    private static async Task<EdgeNode> StartAsync(
        EdgeOptions options, Func<UpstreamOptions, IObjectStore?> stores, ILoggerFactory logs, ILogger log, TimeProvider time, Ending ending, CancellationToken cancellationToken)
    {
        var keys = options.Mode == EdgeMode.Http ? null : ending.Owns(new KeyRingFile(options.KeyRingPath, time));
        var peerKeys = options.PeerKeyRingPath is { } peerRing ? ending.Owns(new KeyRingFile(peerRing, time)) : null;
        var metrics = ending.Owns(new PrometheusExposition(EdgeMeter.Name, "Delivery.TokenAuth"));
        var limits = ending.Owns(new EdgeLimits(options, time));
        var guards = ending.Owns(new ConnectionGuards(options, limits, time, log));
        var meter = ending.Owns(new EdgeMeter());
        var buffers = ending.Owns(new FillBuffers((int)(options.FillBufferBytes / Chunk.SizeBytes)));
        var cache = OpenCache(options, time, log);
        var opened = new List<IObjectStore>();
        var upstreams = UpstreamSet.Create(options, upstream => stores(upstream) ?? OpenOwn(upstream), peerKeys, time, log);
        var objects = new ObjectTable(options.MaxObjects, cache.GenerationOf);
        var recall = new ObjectRecall(cache, objects);
        // The cache's writer gives buffers back to fills, so they outlive it.
        var fills = ending.Owns(new FillTable(upstreams, cache, objects, buffers, options, meter, time, log));
        ending.Owns(cache);
        ending.Owns(upstreams);
        var repair = ending.Owns(new ChunkRepair(objects, recall, fills));
        // Before the repair, which waits for its fill.
        ending.Add(() => new(fills.StopAsync()));
        cache.MetadataOf = path => objects.FindByHash(path) is { } known ? StoredObject.Write(known) : [];
        cache.Damaged = repair.Add;
        meter.Watch(cache, objects, buffers, fills, repair);
        var parts = new EdgeParts(options, keys, NativeScheme.Instance, objects, cache, recall, fills, meter, new(options), limits, time, log);
        var proxy = options.Mode == EdgeMode.Http ? ending.Owns(new ProxyParts(options, cache, buffers, meter, limits, parts.Fields.RetryAfter, time, log)) : null;
        if (proxy is not null)
            ending.Add(() => new(proxy.Exchanges.StopAsync()));

        var host = ending.Owns(BuildHost(options, guards.Http3, logs, kestrel => KestrelSetup.Configure(kestrel, options, guards)));
        limits.Meter.Watch(host.Services.GetRequiredService<IMeterFactory>());
        var server = host.Services.GetRequiredService<IServer>();
        var peers = peerKeys is null ? null : ending.Owns(new PeerServer(
            BuildHost(options, http3: false, logs, kestrel => KestrelSetup.ConfigurePeers(kestrel, options, guards)),
            parts with { Keys = peerKeys, Meter = new(forPeers: true), Peer = new(options, cache) }));
        await Task.WhenAll(opened.Select(store => WarmAsync(store, cancellationToken)));
        AdminServer? admin = null;
        ending.Add(() => admin?.DisposeAsync() ?? default);
        ending.Add(() => DrainAsync(peers is null ? [server] : [server, peers.Server], limits, options, log));
        await ListenAsync(
            () => proxy is null ? server.StartAsync(Application(parts), cancellationToken) : server.StartAsync(new RequestApplication<ProxyRequest>(() => new(proxy)), cancellationToken),
            options.Port,
            options.CertificatePath is null ? null : options.TlsPort);
        if (peers is not null)
        {
            await ListenAsync(() => peers.Server.StartAsync(Application(peers.Parts), cancellationToken), options.PeerPort, null);
            LogPeers(log, peers.Address);
        }

        var purger = new Purger(cache, objects);
        await ListenAsync(
            async () => admin = await AdminServer.StartAsync(options.AdminPort, metrics, () => limits.IsStopping ? ["stopping"] : [], logs, cancellationToken,
                app =>
                {
                    if (options.AdminPurge)
                        app.MapPurge(purger);
                }),
            options.AdminPort,
            null);
        return new(parts, buffers, upstreams, guards, proxy, peers, server, admin!, ending);

        IObjectStore OpenOwn(UpstreamOptions upstream)
        {
            opened.Add(ending.Owns(OpenStore(options, upstream)));
            return opened[^1];
        }
    }

    private static async ValueTask DrainAsync(IReadOnlyList<IServer> servers, EdgeLimits limits, EdgeOptions options, ILogger log)
    {
        using var drain = new CancellationTokenSource(options.DrainTimeout);
        var left = 0L;
        using var atTheEnd = drain.Token.Register(() => left = limits.Requests);
        await Task.WhenAll(servers.Select(server => server.StopAsync(drain.Token)));
        if (left > 0)
            LogCut(log, left, options.DrainTimeout);
    }

    private static RequestApplication<EdgeRequest> Application(EdgeParts parts) => new(() => new(parts));

    private static IObjectStore OpenStore(EdgeOptions options, UpstreamOptions upstream)
    {
        try
        {
            // No tries of its own: UpstreamSet tries again, elsewhere and beside, and pays for it from one budget.
            return ObjectStores.Open(StoreUrl.Parse(upstream.Address!), new()
            {
                ConnectTimeout = options.UpstreamConnectTimeout,
                FirstByteTimeout = options.UpstreamFirstByteTimeout,
                IdleTimeout = options.UpstreamIdleTimeout,
                MaxConnections = options.UpstreamMaxConnections,
                Retries = 0,
            });
        }
        catch (StoreException exception)
        {
            throw new EdgeStartException($"The store '{upstream.Address}' of upstream '{upstream.CalledName}' cannot be used: {exception.Message}", exception);
        }
    }

    /// <summary>
    /// A question whose answer does not count, before the first listener is let in: name look-up, TLS, credentials and the compiler take a cold bucket's first answer beyond 200 ms. A store that is away costs the
    /// start <see cref="WarmUpTimeout"/>.
    /// </summary>
    private static async Task WarmAsync(IObjectStore store, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(WarmUpTimeout);
        try
        {
            if (await store.OpenReadAsync(WarmUpKey, new ObjectRange(0, Chunk.SizeBytes), timeout.Token) is { } read)
                await read.DisposeAsync();
        }
        catch (Exception e) when (e is StoreException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            // Listeners' own requests will say so, with a retry, a failover and a log line.
        }
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
        builder.Services.Configure<SocketTransportOptions>(sockets =>
        {
            sockets.UnsafePreferInlineScheduling = options.InlineScheduling;
            sockets.CreateBoundListenSocket = KestrelSetup.Bind;
        });
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

    /// <summary>What is to be ended, in the opposite order of its making: the same when starting fails and when the node stops.</summary>
    private sealed class Ending
    {
        private readonly Stack<Func<ValueTask>> _steps = [];

        public T Owns<T>(T part)
            where T : class
        {
            _steps.Push(part switch
            {
                IAsyncDisposable asynchronous => asynchronous.DisposeAsync,
                IDisposable disposable => () =>
                {
                    disposable.Dispose();
                    return default;
                }
                ,
                _ => throw new ArgumentException("It has no end.", nameof(part)),
            });
            return part;
        }

        public void Add(Func<ValueTask> step) => _steps.Push(step);

        public async ValueTask RunAsync()
        {
            while (_steps.TryPop(out var step))
                await step();
        }
    }
}
