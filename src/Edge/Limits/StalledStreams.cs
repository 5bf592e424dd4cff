using System.Collections.Concurrent;

namespace Delivery.Edge.Limits;

/// <summary>
/// Finds HTTP/2 streams whose client takes nothing. Kestrel's minimum rate counts what is written to the socket; a stream whose window the client never opens writes nothing, and Kestrel would
/// hold its buffer for ever. So each request notes when it handed bytes over, and a look once a second resets those that have waited too long.
/// </summary>
internal sealed class StalledStreams : IDisposable
{
    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<ConnectionStreams, byte> _connections = [];
    private readonly TimeSpan _grace;
    private readonly int _bytesPerSecond;
    private readonly LimitMeter _meter;
    private readonly Timer _timer;

    /// <param name="options">The bounds of slow readers, which hold for HTTP/1.1 as well.</param>
    /// <param name="meter">Counts <see cref="Limit.SlowReader"/>.</param>
    public StalledStreams(EdgeOptions options, LimitMeter meter)
    {
        (_grace, _bytesPerSecond, _meter) = (options.SlowReaderGrace, options.MinResponseBytesPerSecond, meter);
        // By the machine's clock, as Kestrel's own timeouts go.
        _timer = new(_ => Look(), null, LookInterval, LookInterval);
    }

    /// <summary>A connection's requests, until <see cref="Close"/>.</summary>
    public ConnectionStreams Open()
    {
        var streams = new ConnectionStreams();
        _connections[streams] = 0;
        return streams;
    }

    public void Close(ConnectionStreams streams) => _connections.TryRemove(streams, out _);

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        var now = Environment.TickCount64;
        foreach (var (streams, _) in _connections)
        {
            foreach (var stalled in streams.Where(a => a.HasWaited(now, _grace, _bytesPerSecond)))
            {
                _meter.Limited(Limit.SlowReader);
                stalled.Reset();
            }
        }
    }
}

/// <summary>The request objects of one HTTP/2 connection; a feature of the connection. Kestrel keeps and re-uses them while the connection lasts.</summary>
internal sealed class ConnectionStreams
{
    private readonly Lock _gate = new();
    private readonly List<Allowance> _allowances = [];

    public void Add(Allowance allowance)
    {
        lock (_gate)
            _allowances.Add(allowance);
    }

    public IReadOnlyList<Allowance> Where(Predicate<Allowance> condition)
    {
        lock (_gate)
            return _allowances.FindAll(condition);
    }
}
