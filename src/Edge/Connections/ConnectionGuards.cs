using System.Net.Quic;
using Delivery.Edge.Limits;
using Delivery.Edge.Tls;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Connections;

/// <summary>What listeners' connections pass before their first request, in order: PROXY protocol, connections per client, TLS, HTTP/2 floods.</summary>
internal sealed partial class ConnectionGuards : IDisposable
{
    private readonly ProxyProtocol? _proxy;
    private readonly ClientConnections _connections;
    private readonly Http2FrameGuard _frames;

    /// <exception cref="EdgeStartException">A certificate that cannot be used.</exception>
    public ConnectionGuards(EdgeOptions options, EdgeLimits limits, TimeProvider time, ILogger log)
    {
        _connections = limits.Connections;
        _frames = new(options.Limits, limits.Streams, limits.Meter, time);
        if (options.ProxyProtocolNetworks.Count > 0)
            _proxy = new(NetworkList.Parse(options.ProxyProtocolNetworks), options.RequestHeadersTimeout, limits.Meter, time, log);
        if (options.CertificatePath is null)
            return;
        Http3 = options.Http3 && HasQuic;
        if (options.Http3 && !HasQuic)
            LogNoQuic(log);
        Certificates = new(options, Http3, time, log);
        limits.Meter.WatchHttp3(Http3);
    }

    /// <summary>Null without TLS.</summary>
    public TlsCertificates? Certificates { get; }

    /// <summary>Whether HTTP/3 is asked for and the machine can.</summary>
    public bool Http3 { get; }

    // The platforms that .NET has QUIC for, and the library (libmsquic) on this one.
    private static bool HasQuic => (OperatingSystem.IsLinux() || OperatingSystem.IsMacOS() || OperatingSystem.IsWindows()) && QuicListener.IsSupported;

    public void BeforeTls(ListenOptions listen)
    {
        if (_proxy is not null)
            listen.Use(_proxy.Then);
        listen.Use(_connections.Then);
    }

    public void AfterTls(ListenOptions listen) => listen.Use(_frames.Then);

    public void Dispose() => Certificates?.Dispose();

    [LoggerMessage(1063, LogLevel.Information, "Http3 is on, but this machine has no QUIC library that .NET can use (libmsquic): HTTP/1.1 and HTTP/2 alone")]
    private static partial void LogNoQuic(ILogger logger);
}
