using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Delivery.Edge.Connections;
using Delivery.Edge.Tls;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace Delivery.Edge;

/// <summary>Kestrel's limits, each with its reason: step 1 of a request's life.</summary>
internal static class KestrelSetup
{
    // A signed URL with every claim is below 1 KiB; RequestTarget refuses above 8,192 characters, which leaves room for the method and version.
    private const int MaxRequestLineBytes = 8 * 1024 + 64;

    // Browsers send 1 to 2 KiB of headers; no request needs cookies here.
    private const int MaxRequestHeadersBytes = 16 * 1024;

    private const int MaxRequestHeaders = 64;

    private const int MaxProxyRequestHeadersBytes = 32 * 1024;

    private const int MaxProxyRequestBufferBytes = 128 * 1024;

    // A response's flush waits while more than this is unsent; with flushes of one chunk (128 KiB) a slow client holds at most one chunk and
    // this. A 64 KiB range with its headers stays below, so the most common response never waits.
    private const int MaxUnsentBytes = 128 * 1024;

    // The kernel lets a fast connection's send buffer grow to megabytes. What lies there when a player drops an open range was fetched for nobody, so a socket takes no more than this
    // beyond what is on its way to the client.
    private const int MaxUnsentInKernelBytes = 64 * 1024;

    /// <summary>Where listeners connect.</summary>
    public static void Configure(KestrelServerOptions kestrel, EdgeOptions options, ConnectionGuards guards)
    {
        Limit(kestrel, options);
        if (options.Mode == EdgeMode.Http)
            ConfigureProxy(kestrel, options);
        Listen(kestrel, options.Host, options.Port, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            guards.BeforeTls(listen);
        });
        if (guards.Certificates is not { } certificates)
            return;
        Listen(kestrel, options.Host, options.TlsPort, listen =>
        {
            listen.Protocols = guards.Http3 ? HttpProtocols.Http1AndHttp2AndHttp3 : HttpProtocols.Http1AndHttp2;
            guards.BeforeTls(listen);
            listen.UseHttps(Tls(options, certificates));
            guards.AfterTls(listen);
        });
    }

    /// <summary>Where other edges connect. HTTP/1.1 alone: one body per connection, so that a slow one holds up no other.</summary>
    public static void ConfigurePeers(KestrelServerOptions kestrel, EdgeOptions options, ConnectionGuards guards)
    {
        Limit(kestrel, options);
        Listen(kestrel, options.PeerHost ?? options.Host, options.PeerPort, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            if (options.PeerTls)
                listen.UseHttps(PeerTls(options, guards.Certificates!));
        });
    }

    /// <summary>Kestrel's own socket, with TCP_NOTSENT_LOWAT (tcp(7)) where there is one; accepted sockets inherit it.</summary>
    public static Socket Bind(EndPoint endpoint)
    {
        const int TcpNotSentLowat = 25;
        var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endpoint);
        if (OperatingSystem.IsLinux() && endpoint is IPEndPoint)
            socket.SetRawSocketOption((int)SocketOptionLevel.Tcp, TcpNotSentLowat, MemoryMarshal.AsBytes([MaxUnsentInKernelBytes]));
        return socket;
    }

    private static void Limit(KestrelServerOptions kestrel, EdgeOptions options)
    {
        kestrel.AddServerHeader = false;
        kestrel.AllowSynchronousIO = false;
        var limits = kestrel.Limits;
        limits.MaxConcurrentConnections = options.MaxConnections;
        limits.MaxConcurrentUpgradedConnections = 0;
        limits.MaxRequestLineSize = MaxRequestLineBytes;
        limits.MaxRequestHeadersTotalSize = MaxRequestHeadersBytes;
        limits.MaxRequestHeaderCount = MaxRequestHeaders;
        // Requests have no body (refused in step 2), so none is ever buffered.
        limits.MaxRequestBodySize = 0;
        limits.MaxRequestBufferSize = MaxRequestHeadersBytes + MaxRequestLineBytes;
        limits.MaxResponseBufferSize = MaxUnsentBytes;
        limits.KeepAliveTimeout = options.KeepAliveTimeout;
        limits.RequestHeadersTimeout = options.RequestHeadersTimeout;
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = new(options.MinResponseBytesPerSecond, options.SlowReaderGrace);
        limits.Http2.MaxStreamsPerConnection = options.MaxStreamsPerConnection;
        // RFC 7541: a table for the few headers that players repeat; Kestrel's default, named because it is memory per connection.
        limits.Http2.HeaderTableSize = 4096;
        limits.Http2.MaxRequestHeaderFieldSize = MaxRequestLineBytes;
        // Requests carry no data, so the smallest windows serve.
        limits.Http2.InitialConnectionWindowSize = 65_535;
        limits.Http2.InitialStreamWindowSize = 65_535;
        limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(30);
        limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
        // Listeners use the URL as signed, so what cannot be a path is for RequestTarget to refuse, not for a host filter.
        kestrel.AllowAlternateSchemes = false;
    }

    // Requests of http mode are any client's: cookies, credentials, bodies.
    private static void ConfigureProxy(KestrelServerOptions kestrel, EdgeOptions options)
    {
        var defaults = new KestrelServerLimits();
        var limits = kestrel.Limits;
        limits.MaxRequestHeadersTotalSize = MaxProxyRequestHeadersBytes;
        limits.MaxRequestHeaderCount = defaults.MaxRequestHeaderCount;
        limits.MaxRequestBodySize = options.Proxy.MaxRequestBodyBytes;
        // Of a body, no more than this waits for upstream.
        limits.MaxRequestBufferSize = MaxProxyRequestBufferBytes;
        limits.MinRequestBodyDataRate = new(options.Proxy.MinRequestBytesPerSecond, TimeSpan.FromSeconds(5));
        limits.Http2.InitialConnectionWindowSize = defaults.Http2.InitialConnectionWindowSize;
        limits.Http2.InitialStreamWindowSize = defaults.Http2.InitialStreamWindowSize;
        // Fields are bytes (RFC 9110 §5.5): Latin-1 brings each one through unchanged.
        kestrel.RequestHeaderEncodingSelector = static _ => Encoding.Latin1;
        kestrel.ResponseHeaderEncodingSelector = static _ => Encoding.Latin1;
    }

    private static TlsHandshakeCallbackOptions Tls(EdgeOptions options, TlsCertificates certificates) => new()
    {
        OnConnection = handshake => ValueTask.FromResult(certificates.Select(handshake.ClientHelloInfo.ServerName)),
        HandshakeTimeout = options.RequestHeadersTimeout,
    };

    // The listeners' options offer HTTP/2 as well, which this port does not speak.
    private static TlsHandshakeCallbackOptions PeerTls(EdgeOptions options, TlsCertificates certificates) => new()
    {
        OnConnection = handshake =>
        {
            var listeners = certificates.Select(handshake.ClientHelloInfo.ServerName);
            return ValueTask.FromResult(new SslServerAuthenticationOptions
            {
                ServerCertificateContext = listeners.ServerCertificateContext,
                EnabledSslProtocols = listeners.EnabledSslProtocols,
                ApplicationProtocols = [SslApplicationProtocol.Http11],
            });
        },
        HandshakeTimeout = options.RequestHeadersTimeout,
    };

    private static void Listen(KestrelServerOptions kestrel, string host, int port, Action<ListenOptions> configure)
    {
        // Port 0 with "localhost" would mean two addresses and so two ports; one loopback address is meant.
        if (host == "*")
            kestrel.ListenAnyIP(port, configure);
        else if (host == "localhost")
            kestrel.Listen(IPAddress.Loopback, port, configure);
        else
            kestrel.Listen(IPAddress.Parse(host), port, configure);
    }
}
