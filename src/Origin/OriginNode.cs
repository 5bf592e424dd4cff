using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin;

/// <summary>One origin: ingest, catalog and playback authorization over an object store and a job queue. Several may share both.</summary>
public sealed class OriginNode : IAsyncDisposable
{
    private OriginNode(Uri address, Uri adminAddress) => (Address, AdminAddress) = (address, adminAddress);

    /// <summary>Where the API listens.</summary>
    public Uri Address { get; }

    /// <summary>Where <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> listen.</summary>
    public Uri AdminAddress { get; }

    /// <summary>Starts serving and recovers the work that an earlier process left.</summary>
    /// <exception cref="OriginStartException">Options, ports or key ring are not usable; the message names each.</exception>
    public static Task<OriginNode> StartAsync(
        OriginOptions options, IObjectStore store, IJobQueue queue, ILoggerFactory loggers, TimeProvider time, CancellationToken cancellationToken)
    {
        var problems = options.Validate();
        return problems.Count > 0
            ? Task.FromException<OriginNode>(new OriginStartException(problems))
            : Task.FromException<OriginNode>(new OriginStartException(["the node is not built yet"]));
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
