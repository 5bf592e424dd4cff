using System.Net;

namespace Delivery.ObjectStore.Remote;

/// <summary>The connections to a store's host, of which each open store has its own.</summary>
internal static class RemoteHttp
{
    /// <summary>So that a changed address of the host is followed, as clouds move theirs.</summary>
    private static readonly TimeSpan ConnectionLifetime = TimeSpan.FromMinutes(5);

    /// <summary>Below the 60 s after which common balancers close what is idle, so that they do not close it under a new request.</summary>
    private static readonly TimeSpan IdleConnectionLifetime = TimeSpan.FromSeconds(50);

    /// <summary>Time-outs of calls are the drivers' (<see cref="CallTimer"/>), so the client has none.</summary>
    public static HttpClient Client(StoreClientOptions options) => Client(Handler(options));

    /// <summary>With something between the client and <see cref="Handler"/>.</summary>
    public static HttpClient Client(HttpMessageHandler handler) => new(handler) { Timeout = Timeout.InfiniteTimeSpan };

    public static SocketsHttpHandler Handler(StoreClientOptions options) => new()
    {
        ConnectTimeout = options.ConnectTimeout,
        MaxConnectionsPerServer = options.MaxConnections,
        PooledConnectionLifetime = ConnectionLifetime,
        PooledConnectionIdleTimeout = IdleConnectionLifetime,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        UseCookies = false,
    };
}
