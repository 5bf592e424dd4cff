using System.Net.Sockets;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Proxy;

/// <summary>How asking upstream failed. The name is also the metric label; RFC 9209 §2.3 gives each its token and status.</summary>
internal enum UpstreamFailure
{
    None,
    DnsError,
    ConnectionRefused,
    ConnectionTimeout,
    ConnectionTerminated,
    TlsProtocolError,
    HttpResponseTimeout,
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize,
    HttpProtocolError,

    /// <summary>The request's own body failed on its way: the client's fault.</summary>
    HttpRequestError,

    /// <summary>The edge is stopping.</summary>
    ProxyInternalResponse,
}

internal static class UpstreamFailures
{
    public static UpstreamFailure Of(Exception exception, bool timedOut)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is BadHttpRequestException)
                return UpstreamFailure.HttpRequestError;
        }

        return exception switch
        {
            // SocketsHttpHandler's own: ConnectTimeout has passed.
            OperationCanceledException { InnerException: TimeoutException } when !timedOut => UpstreamFailure.ConnectionTimeout,
            OperationCanceledException => timedOut ? UpstreamFailure.HttpResponseTimeout : UpstreamFailure.ProxyInternalResponse,
            HttpRequestException request => request.HttpRequestError switch
            {
                HttpRequestError.NameResolutionError => UpstreamFailure.DnsError,
                HttpRequestError.ConnectionError => request.InnerException is SocketException { SocketErrorCode: SocketError.TimedOut } ? UpstreamFailure.ConnectionTimeout : UpstreamFailure.ConnectionRefused,
                HttpRequestError.SecureConnectionError => UpstreamFailure.TlsProtocolError,
                HttpRequestError.ConfigurationLimitExceeded => UpstreamFailure.HttpResponseHeaderSectionSize,
                HttpRequestError.InvalidResponse => UpstreamFailure.HttpProtocolError,
                _ => UpstreamFailure.ConnectionTerminated,
            },
            _ => UpstreamFailure.ConnectionTerminated,
        };
    }

    /// <summary>RFC 9209's token.</summary>
    public static string Token(this UpstreamFailure failure) => failure switch
    {
        UpstreamFailure.DnsError => "dns_error",
        UpstreamFailure.ConnectionRefused => "connection_refused",
        UpstreamFailure.ConnectionTimeout => "connection_timeout",
        UpstreamFailure.TlsProtocolError => "tls_protocol_error",
        UpstreamFailure.HttpResponseTimeout => "http_response_timeout",
        UpstreamFailure.HttpResponseIncomplete => "http_response_incomplete",
        UpstreamFailure.HttpResponseHeaderSectionSize => "http_response_header_section_size",
        UpstreamFailure.HttpProtocolError => "http_protocol_error",
        UpstreamFailure.HttpRequestError => "http_request_error",
        UpstreamFailure.ProxyInternalResponse => "proxy_internal_response",
        _ => "connection_terminated",
    };

    public static int Status(this UpstreamFailure failure) => failure switch
    {
        UpstreamFailure.ConnectionTimeout or UpstreamFailure.HttpResponseTimeout => StatusCodes.Status504GatewayTimeout,
        UpstreamFailure.ProxyInternalResponse => StatusCodes.Status503ServiceUnavailable,
        UpstreamFailure.HttpRequestError => StatusCodes.Status400BadRequest,
        _ => StatusCodes.Status502BadGateway,
    };
}
