using System.Numerics;

namespace Delivery.Edge.Limits;

/// <summary>The node's limits and what is used of them. Each request goes by its own <see cref="Allowance"/>.</summary>
internal sealed class EdgeLimits : IDisposable
{
    // 1 MiB, for 65,536 clients that are active within their burst time.
    private const int MinCells = 1 << 16;

    // Clients that have left are still in debt for a while.
    private const int CellsPerConnection = 4;

    private readonly LimitOptions _options;
    private readonly TimeProvider _time;
    private readonly long _origin;
    private long _requests;
    private long _misses;

    public EdgeLimits(EdgeOptions options, TimeProvider time)
    {
        (_options, _time, _origin) = (options.Limits, time, time.GetTimestamp());
        var cells = Math.Max(MinCells, (int)BitOperations.RoundUpToPowerOf2((uint)(options.MaxConnections * CellsPerConnection)));
        Clients = Table(_options.ClientRequestsPerSecond, _options.ClientBytesPerSecond);
        Sessions = Table(_options.SessionRequestsPerSecond, _options.SessionBytesPerSecond);
        Signatures = Table(_options.SignatureRequestsPerSecond, _options.SignatureBytesPerSecond);
        Exempt = NetworkList.Parse(_options.ExemptNetworks);
        Meter = new(this);
        Connections = new(_options.ConnectionsPerClient, Exempt, Meter);
        Streams = new(options, Meter);

        RateTable? Table(int requests, long bytes) => requests == 0 && bytes == 0 ? null : new(cells, requests, bytes, _options.BurstTime);
    }

    public LimitMeter Meter { get; }

    public ClientConnections Connections { get; }

    public StalledStreams Streams { get; }

    /// <summary>Networks that no rate holds.</summary>
    public NetworkList Exempt { get; }

    /// <summary>Rates by client; null when both are off.</summary>
    public RateTable? Clients { get; }

    /// <summary>Rates by <c>sid</c>; null when both are off.</summary>
    public RateTable? Sessions { get; }

    /// <summary>Rates by signature, of tokens without <c>sid</c>; null when both are off.</summary>
    public RateTable? Signatures { get; }

    /// <summary>Requests in work.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Requests that wait for upstream before their headers.</summary>
    public long Misses => Volatile.Read(ref _misses);

    /// <summary>Whether the node stops: responses tell HTTP/1.1 clients to go elsewhere.</summary>
    public bool IsStopping { get; private set; }

    public void Stop() => IsStopping = true;

    /// <summary>The clock in <see cref="RateTable.Units"/>; from a timestamp that was taken already.</summary>
    public ulong Now(long timestamp) => RateTable.Units(_time.GetElapsedTime(_origin, timestamp));

    public ulong Now() => Now(_time.GetTimestamp());

    public bool TryStartRequest() => TryStart(ref _requests, _options.MaxConcurrentRequests);

    public void EndRequest() => Interlocked.Decrement(ref _requests);

    public bool TryStartMiss() => TryStart(ref _misses, _options.MaxConcurrentMisses);

    public void EndMiss() => Interlocked.Decrement(ref _misses);

    public void Dispose()
    {
        Streams.Dispose();
        Meter.Dispose();
    }

    private static bool TryStart(ref long count, int max)
    {
        if (Interlocked.Increment(ref count) <= max)
            return true;
        Interlocked.Decrement(ref count);
        return false;
    }
}
