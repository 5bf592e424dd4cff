using System.Net;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Cli.Stores;
using Delivery.Edge;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder;
using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging;

namespace Delivery.Cli.Up;

/// <summary>All roles in one process on embedded defaults: one edge, one worker, one origin, a queue between them or a broker's, over one store or two.</summary>
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
    /// <param name="broker">Where jobs and reports go; null: they stay in this process.</param>
    /// <param name="transcoder">Whether a worker is among the roles.</param>
    /// <param name="edgePort">0 for any free port; the admin port is the next one (or any free one).</param>
    /// <param name="originPort">As for the edge.</param>
    /// <param name="log">Where the nodes log.</param>
    /// <param name="cancellationToken">Stops the start.</param>
    public static async Task<LocalStack> StartAsync(
        DataFolder data, StoreUrl store, StoreUrl? secondary, BrokerOptions? broker, bool transcoder, int edgePort, int originPort, ILoggerFactory log, CancellationToken cancellationToken)
    {
        data.EnsureKeyRing();
        var (secret, sha256) = data.EnsureApiKey();
        var nodes = new List<IAsyncDisposable>();
        var objects = StoreFlags.OpenNode(store, secondary, sweeps: true, log);
        try
        {
            var queue = BrokerFlags.Open(broker, readsReports: true, log);
            nodes.Add(queue);
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
            if (transcoder)
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
