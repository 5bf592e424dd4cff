using System.Net;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Edge;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.Origin;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Cli.Up;

/// <summary>All roles in one process on embedded defaults: in-process queue, one edge, one worker, one origin, over one store or two.</summary>
internal sealed class LocalStack : IAsyncDisposable
{
    // Beside a store on the same disk: enough to outlive a restart, not to double what the store takes.
    private const long CacheBytes = 4L << 30;

    private readonly List<IAsyncDisposable> _nodes = [];

    private readonly IObjectStore _store;

    private LocalStack(UpFile endpoints, IObjectStore store) => (Endpoints, _store) = (endpoints, store);

    public UpFile Endpoints { get; }

    /// <param name="data">Where everything but the store is kept.</param>
    /// <param name="store">The store; the primary one when there are two.</param>
    /// <param name="secondary">Read from when the first one fails, and kept as it is; null: there is one store.</param>
    /// <param name="edgePort">0 for any free port; the admin port is the next one (or any free one).</param>
    /// <param name="originPort">As for the edge.</param>
    /// <param name="log">Where the nodes log.</param>
    /// <param name="cancellationToken">Stops the start.</param>
    public static async Task<LocalStack> StartAsync(
        DataFolder data, StoreUrl store, StoreUrl? secondary, int edgePort, int originPort, ILoggerFactory log, CancellationToken cancellationToken)
    {
        data.EnsureKeyRing();
        var (secret, sha256) = data.EnsureApiKey();
        var nodes = new List<IAsyncDisposable>();
        var objects = OpenStore(store, secondary, log);
        try
        {
            var queue = new InProcessJobQueue(TimeProvider.System);
            // The edge reads from both stores by itself, as edges elsewhere do.
            List<UpstreamOptions> upstreams = [new() { Kind = UpstreamKind.Store, Address = store.ToString() }];
            if (secondary is not null)
                upstreams.Add(EdgeCommand.SecondaryOf(secondary));
            var edge = await EdgeNode.StartAsync(
                new EdgeOptions
                {
                    Host = "127.0.0.1",
                    Port = edgePort,
                    AdminPort = NextPort(edgePort),
                    KeyRingPath = data.KeyRing,
                    CacheFolder = data.Cache,
                    DiskTierBytes = CacheBytes,
                    Upstreams = upstreams,
                },
                null, log, TimeProvider.System, cancellationToken);
            nodes.Add(queue);
            nodes.Add(edge);
            // The origin starts before the worker: it fills the queue from the catalog.
            var origin = await OriginNode.StartAsync(
                new OriginOptions
                {
                    Port = originPort,
                    AdminPort = NextPort(originPort),
                    KeyRingPath = data.KeyRing,
                    ApiKeys = [new ApiKey { Name = "local", Sha256 = sha256, Roles = [ApiRole.Ingest, ApiRole.Playback, ApiRole.Operate] }],
                    EdgeBases = [Base(edge.Address)],
                },
                objects,
                queue,
                log,
                TimeProvider.System,
                cancellationToken);
            nodes.Add(origin);
            nodes.Add(await TranscoderNode.StartAsync(new TranscoderOptions { WorkFolder = data.Work, AdminPort = edgePort == 0 ? 0 : 8093 }, objects, queue, log, TimeProvider.System, cancellationToken));

            var endpoints = new UpFile
            {
                Edge = Base(edge.Address),
                EdgeAdmin = Base(edge.AdminAddress),
                Origin = Base(origin.Address),
                OriginAdmin = Base(origin.AdminAddress),
                ApiKey = secret,
                KeyRing = data.KeyRing,
            };
            endpoints.Write(data.Path);
            var stack = new LocalStack(endpoints, objects);
            stack._nodes.AddRange(nodes);
            return stack;
        }
        catch
        {
            await StopAsync(nodes);
            objects.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(_nodes);
        _store.Dispose();
    }

    private static IObjectStore OpenStore(StoreUrl store, StoreUrl? secondary, ILoggerFactory log)
    {
        if (secondary is null)
            return ObjectStores.Open(store);
        // One further try of a write; a read goes to the other store.
        var options = new StoreClientOptions { Retries = 1 };
        var first = ObjectStores.Open(store, options);
        try
        {
            return FailoverStore.Open(first, ObjectStores.Open(secondary, options), new FailoverOptions { Sweeps = true }, log, TimeProvider.System);
        }
        catch
        {
            first.Dispose();
            throw;
        }
    }

    /// <summary>DESIGN §8: the admin port stands beside the public one.</summary>
    private static int NextPort(int port) => port == 0 ? 0 : port + 1;

    private static string Base(Uri address) => address.GetLeftPart(UriPartial.Authority);

    /// <summary>Worker first, so that its reports still find the origin; the edge last, so that listeners notice least.</summary>
    private static async Task StopAsync(List<IAsyncDisposable> nodes)
    {
        for (var i = nodes.Count - 1; i >= 0; i--)
            await nodes[i].DisposeAsync();
        nodes.Clear();
    }
}
