namespace Delivery.Edge.Limits;

/// <summary>A bound that was met: the label of <c>delivery.edge.limited</c>.</summary>
internal enum Limit
{
    /// <summary><see cref="LimitOptions.ClientRequestsPerSecond"/>: 429.</summary>
    ClientRequests,

    /// <summary><see cref="LimitOptions.ClientBytesPerSecond"/>: 429.</summary>
    ClientBytes,

    /// <summary><see cref="LimitOptions.SessionRequestsPerSecond"/>, <see cref="LimitOptions.SignatureRequestsPerSecond"/>: 429.</summary>
    TokenRequests,

    /// <summary><see cref="LimitOptions.SessionBytesPerSecond"/>, <see cref="LimitOptions.SignatureBytesPerSecond"/>: 429.</summary>
    TokenBytes,

    /// <summary><see cref="LimitOptions.ConnectionsPerClient"/>: closed at accept.</summary>
    ClientConnections,

    /// <summary><see cref="EdgeOptions.MaxConnections"/>: closed at accept.</summary>
    Connections,

    /// <summary><see cref="LimitOptions.MaxConcurrentRequests"/>: 503.</summary>
    Requests,

    /// <summary><see cref="LimitOptions.MaxConcurrentMisses"/>: 503.</summary>
    Misses,

    /// <summary><see cref="LimitOptions.MaxResets"/>: connection aborted.</summary>
    Http2Resets,

    /// <summary><see cref="LimitOptions.MaxControlFrames"/>: connection aborted.</summary>
    Http2ControlFrames,

    /// <summary>Kestrel's own bound of streams that were reset and are not over yet: GOAWAY with ENHANCE_YOUR_CALM.</summary>
    Http2Streams,

    /// <summary><see cref="EdgeOptions.RequestHeadersTimeout"/> within headers: connection closed.</summary>
    SlowHeaders,

    /// <summary>A TLS handshake that failed, or took longer than <see cref="EdgeOptions.RequestHeadersTimeout"/>: connection closed.</summary>
    TlsHandshake,

    /// <summary><see cref="EdgeOptions.MinResponseBytesPerSecond"/>: connection aborted.</summary>
    SlowReader,

    /// <summary>Line, headers or their number beyond Kestrel's bounds (<see cref="KestrelSetup"/>): 414 or 431, then closed.</summary>
    HeaderSize,

    /// <summary>A listed sender without a valid PROXY header in time: connection closed.</summary>
    ProxyHeader,
}
