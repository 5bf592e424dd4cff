using System.Net;
using System.Net.Sockets;
using Delivery.Metrics;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Backfills;
using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Origin.Ingest;
using Delivery.Origin.Playback;
using Delivery.Origin.Webhooks;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using Delivery.Transcoder.Ladders;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin;

/// <summary>One origin: ingest, catalog and playback authorization over an object store and a job queue. Several may share both.</summary>
public sealed partial class OriginNode : IAsyncDisposable
{
    /// <summary>How long a stopping node waits for requests under way; an upload that takes longer is cut, and its client repeats it.</summary>
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(10);

    private readonly Stack<IDisposable> _owned = new();
    private readonly CancellationTokenSource _stopping = new();
    private WebApplication? _api;
    private AdminServer? _admin;
    private Task _background = Task.CompletedTask;
    private bool _disposed;

    private OriginNode()
    {
    }

    /// <summary>Where the API listens.</summary>
    public Uri Address { get; private set; } = null!;

    /// <summary>Where <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> listen.</summary>
    public Uri AdminAddress { get; private set; } = null!;

    /// <summary>The API's endpoints, for the tests that go through all of them.</summary>
    internal IReadOnlyList<RouteEndpoint> Endpoints =>
        [.. _api!.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()];

    /// <summary>
    /// Starts serving, then recovers in the background what an earlier process left. The store and the queue stay the caller's; the node's
    /// disposal ends its work with both.
    /// </summary>
    /// <exception cref="OriginStartException">Options, ports or key ring are not usable; the message names each.</exception>
    public static async Task<OriginNode> StartAsync(
        OriginOptions options, IObjectStore store, IJobQueue queue, ILoggerFactory loggers, TimeProvider time, CancellationToken cancellationToken)
    {
        var problems = options.Validate();
        if (problems.Count > 0)
            throw new OriginStartException(problems);
        var node = new OriginNode();
        try
        {
            await node.RunAsync(options, store, queue, loggers, time, cancellationToken);
            return node;
        }
        catch
        {
            await node.DisposeAsync();
            throw;
        }
    }

    /// <summary>Stops listening, lets requests under way finish for <see cref="DrainTime"/>, and ends the background work.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        using var drained = new CancellationTokenSource(DrainTime);
        if (_api is not null)
        {
            await _api.StopAsync(drained.Token);
            await _api.DisposeAsync();
        }

        if (_admin is not null)
            await _admin.DisposeAsync();

        await _stopping.CancelAsync();
        await _background.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (_owned.TryPop(out var owned))
            owned.Dispose();
        _stopping.Dispose();
    }

    private async Task RunAsync(
        OriginOptions options, IObjectStore store, IJobQueue queue, ILoggerFactory loggers, TimeProvider time, CancellationToken cancellationToken)
    {
        var metrics = Own(new OriginMetrics());
        var keyRing = OpenKeyRing(options, time);
        var catalog = new CatalogStore(store);
        var model = new ReadModel(catalog, store, loggers.CreateLogger<ReadModel>());
        var tracks = new CatalogCache<TrackManifest>(options.PlaybackCacheEntries, options.PlaybackCacheFreshness, options.StoreTimeout, time, static track => track.MayBeStale, catalog.PeekTrackAsync);
        var releases = new CatalogCache<ReleaseManifest>(options.PlaybackCacheEntries, options.PlaybackCacheFreshness, options.StoreTimeout, time, static release => release.MayBeStale, catalog.PeekReleaseAsync);
        var watch = new CatalogWatch(model, releases, tracks);
        var live = new LiveJobs(options.MaxLiveJobs, time);
        var dispatcher = new JobDispatcher(queue, catalog, watch, model, live, options.JobRepairInterval, time, loggers.CreateLogger<JobDispatcher>());
        var webhooks = Own(new WebhookOutbox(options.ReadWebhooks([]), catalog, watch, model, options, metrics, time, loggers.CreateLogger<WebhookOutbox>()));
        var publisher = new RenditionPublisher(catalog, watch, dispatcher, webhooks, live, options.Quality, metrics, time, loggers.CreateLogger<RenditionPublisher>());
        var reports = new ReportReader(queue, live, publisher, time, loggers.CreateLogger<ReportReader>());
        var backfill = Own(new BackfillRun(queue, catalog, model, dispatcher, live, options, time, loggers.CreateLogger<BackfillRun>()));
        var signals = new FarmSignals(queue, model, live, backfill, metrics, time, loggers.CreateLogger<FarmSignals>());
        var upkeep = new CatalogUpkeep(model, dispatcher, publisher, options.ReadModelRefresh, time, loggers.CreateLogger<CatalogUpkeep>());

        var deadline = new RequestDeadline(options.StoreTimeout, time);
        var views = new StatusViews(live);
        var stale = new StaleAnswers(metrics);
        var ladders = new LadderStore(store);
        var intake = new MasterIntake(store, catalog, watch, dispatcher, options, time, loggers.CreateLogger<MasterIntake>());
        var master = Own(new MasterEndpoint(catalog, intake, ladders, views, options, metrics, deadline));
        _api = Build(loggers, kestrel => Limit(kestrel, options), options.Host, options.Port);
        // A request's way: 1 whatever fails is answered, 2 which endpoint, 3 who may, 4 the endpoint.
        _api.UseMiddleware<FailureTable>();
        _api.UseRouting();
        _api.UseMiddleware<RoleGate>(new ApiKeyRegister(options.ApiKeys));
        new ReleaseEndpoints(catalog, model, new ReleaseIntake(catalog, watch, metrics, time), views, stale, deadline).Map(_api);
        new WaveformEndpoint(tracks, store, stale, deadline).Map(_api);
        master.Map(_api);
        new JobEndpoints(catalog, watch, model, live, dispatcher, webhooks, views, stale, metrics, deadline, time).Map(_api);
        new LadderEndpoints(ladders, options, deadline).Map(_api);
        new BackfillEndpoints(catalog, model, ladders, backfill, deadline, time).Map(_api);
        new PlaybackEndpoint(new PlaybackGrants(tracks, releases, keyRing, options.EdgeBases, time), metrics, stale, time).Map(_api);

        Address = await ListenAsync(
            async () =>
            {
                await _api.StartAsync(cancellationToken);
                return new Uri(_api.Urls.Single());
            },
            nameof(options.Port),
            options.Host,
            options.Port);
        AdminAddress = await ListenAsync(
            async () =>
            {
                var metrics = new PrometheusExposition(OriginMetrics.MeterName, KeyRingFile.MeterName, FailoverStore.MeterName, RabbitJobQueue.MeterName);
                _admin = await AdminServer.StartAsync(options.AdminPort, metrics, () => model.Built.IsCompleted ? [] : ["the catalog is still being read"], loggers, cancellationToken);
                return _admin.Address;
            },
            nameof(options.AdminPort),
            "127.0.0.1",
            options.AdminPort);
        _background = Task.WhenAll(
            upkeep.RunAsync(_stopping.Token), dispatcher.RunAsync(_stopping.Token), reports.RunAsync(_stopping.Token), backfill.RunAsync(_stopping.Token), webhooks.RunAsync(_stopping.Token), signals.RunAsync(_stopping.Token));
        LogStarted(loggers.CreateLogger<OriginNode>(), Address, AdminAddress, options.ApiKeys.Count);
    }

    private KeyRingFile OpenKeyRing(OriginOptions options, TimeProvider time)
    {
        try
        {
            return Own(new KeyRingFile(options.KeyRingPath, time));
        }
        catch (KeyRingException e)
        {
            throw new OriginStartException([.. e.Problems.Select(p => $"KeyRingPath: {p}")], e);
        }
    }

    private static WebApplication Build(ILoggerFactory loggers, Action<KestrelServerOptions> configure, string host, int port)
    {
        // The empty builder: no configuration files, environment variables or signal handlers that the process's owner did not ask for.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(host == "localhost" ? IPAddress.Loopback : IPAddress.Parse(host), port, listen => listen.Protocols = HttpProtocols.Http1);
            configure(kestrel);
        });
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(loggers);
        builder.Services.AddSingleton<IHostLifetime, OwnersLifetime>();
        return builder.Build();
    }

    private static void Limit(KestrelServerOptions kestrel, OriginOptions options)
    {
        var limits = kestrel.Limits;
        limits.MaxConcurrentConnections = options.MaxConnections;
        limits.MaxRequestBodySize = options.MaxDocumentBytes;
        limits.MinRequestBodyDataRate = new MinDataRate(options.MinUploadBytesPerSecond, options.UploadGrace);
        limits.MaxRequestHeadersTotalSize = 32 * 1024;
        limits.MaxRequestHeaderCount = 64;
        limits.MaxRequestLineSize = 8 * 1024;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
    }

    private static async Task<Uri> ListenAsync(Func<Task<Uri>> start, string option, string host, int port)
    {
        try
        {
            return await start();
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            throw new OriginStartException([$"{option}: {host}:{port} cannot be listened on: {e.GetBaseException().Message}"], e);
        }
    }

    private T Own<T>(T disposable)
        where T : IDisposable
    {
        _owned.Push(disposable);
        return disposable;
    }

    [LoggerMessage(2002, LogLevel.Information, "Origin listens on {Address}, admin on {AdminAddress}, with {Keys} API keys")]
    private static partial void LogStarted(ILogger logger, Uri address, Uri adminAddress, int keys);

    /// <summary>The process's signals are its owner's; the default lifetime would take SIGINT and SIGTERM for itself.</summary>
    private sealed class OwnersLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
