using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Delivery.Edge.Metering;

namespace Delivery.Edge.Limits;

/// <summary>
/// What limits did, on the meter <c>Delivery.Edge</c>. What Kestrel enforces is read from Kestrel's own meter: why each connection ended. Kestrel's names are mapped to
/// <see cref="Limit"/> where they are one; the others are shown as they are.
/// </summary>
internal sealed class LimitMeter : IDisposable
{
    private const string KestrelMeter = "Microsoft.AspNetCore.Server.Kestrel";

    private static readonly Limit[] Limits = Enum.GetValues<Limit>();

    private readonly Meter _meter = new(EdgeMeter.Name);
    private readonly long[] _limited = new long[Limits.Length];
    private readonly ConcurrentDictionary<string, long> _ended = new(StringComparer.Ordinal);
    private MeterListener? _kestrel;
    private long _connections;
    private long _handshakes;

    public LimitMeter(EdgeLimits limits)
    {
        _meter.CreateObservableCounter("delivery.edge.limited", () => Limits.Select(l => new Measurement<long>(Count(l), new KeyValuePair<string, object?>("limit", EdgeMeter.Label(l)))), "{event}",
            "Requests refused, connections refused and connections cut, by the limit that was met.");
        _meter.CreateObservableCounter("delivery.edge.connections.ended", () => _ended.Select(e => new Measurement<long>(e.Value, new KeyValuePair<string, object?>("reason", e.Key))), "{connection}",
            "Connections that ended in an error, by Kestrel's reason.");
        _meter.CreateObservableGauge("delivery.edge.connections", () => Connections, "{connection}", "Connections open, the admin port's left out.");
        _meter.CreateObservableGauge("delivery.edge.handshakes", () => Volatile.Read(ref _handshakes), "{handshake}", "TLS handshakes under way.");
        _meter.CreateObservableGauge("delivery.edge.requests.running", () => limits.Requests, "{request}", "Requests in work.");
        _meter.CreateObservableGauge("delivery.edge.misses.waiting", () => limits.Misses, "{request}", "Requests that wait for upstream before their headers.");
    }

    /// <summary>Connections open.</summary>
    public long Connections => Volatile.Read(ref _connections);

    /// <summary>How often a limit was met.</summary>
    public long Count(Limit limit) => Volatile.Read(ref _limited[(int)limit]);

    /// <summary>A limit was met.</summary>
    public void Limited(Limit limit) => Interlocked.Increment(ref _limited[(int)limit]);

    /// <summary>Listens to one server's meter. Only what happens once per connection is listened to: a request costs nothing.</summary>
    /// <param name="factory">The host's: what tells its meter from those of other servers in the process.</param>
    public void Watch(IMeterFactory factory)
    {
        _kestrel = new()
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == KestrelMeter && ReferenceEquals(instrument.Meter.Scope, factory)
                    && instrument.Name is "kestrel.connection.duration" or "kestrel.active_connections" or "kestrel.rejected_connections" or "kestrel.active_tls_handshakes" or "kestrel.tls_handshake.duration")
                    listener.EnableMeasurementEvents(instrument);
            },
        };
        _kestrel.SetMeasurementEventCallback<long>((instrument, value, _, _) =>
        {
            switch (instrument.Name)
            {
                case "kestrel.active_connections":
                    Interlocked.Add(ref _connections, value);
                    break;
                case "kestrel.active_tls_handshakes":
                    Interlocked.Add(ref _handshakes, value);
                    break;
                default:
                    Limited(Limit.Connections);
                    break;
            }
        });
        _kestrel.SetMeasurementEventCallback<double>((instrument, _, tags, _) =>
        {
            if (Error(tags) is not { } error)
                return;
            if (instrument.Name == "kestrel.tls_handshake.duration")
                Limited(Limit.TlsHandshake);
            else
                Ended(error);
        });
        _kestrel.Start();
    }

    /// <summary>Shows whether HTTP/3 is offered.</summary>
    public void WatchHttp3(bool isOffered) => _meter.CreateObservableGauge("delivery.edge.http3", () => isOffered ? 1 : 0, null, "1 while HTTP/3 is offered: asked for, and the machine has a QUIC library.");

    public void Dispose()
    {
        _kestrel?.Dispose();
        _meter.Dispose();
    }

    private void Ended(string reason)
    {
        // Kestrel's reasons are a closed list; a type's name comes in for what an own middleware throws, so these are few too.
        _ended.AddOrUpdate(reason, 1, (_, count) => count + 1);
        switch (reason)
        {
            case "request_headers_timeout":
                Limited(Limit.SlowHeaders);
                break;
            case "min_response_data_rate":
                Limited(Limit.SlowReader);
                break;
            case "stream_reset_limit_exceeded" or "flow_control_queue_size_exceeded" or "output_queue_size_exceeded":
                Limited(Limit.Http2Streams);
                break;
            case "max_request_headers_total_size_exceeded" or "max_request_header_count_exceeded":
                Limited(Limit.HeaderSize);
                break;
        }
    }

    private static string? Error(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        foreach (var tag in tags)
        {
            if (tag.Key == "error.type")
                return tag.Value as string;
        }

        return null;
    }
}
