using Delivery.Edge.Requests;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.Extensions.DependencyInjection;

namespace Delivery.Edge.Peers;

/// <summary>
/// The port where other edges ask (docs/formats/peer.md): the same requests, cache and fills as a listener's, behind another key ring and with metrics of its own. A server of its own, so
/// that no listener's connection can reach it.
/// </summary>
internal sealed class PeerServer : IAsyncDisposable
{
    private readonly WebApplication _host;
    private readonly IServer _server;

    private PeerServer(WebApplication host, EdgeParts parts)
    {
        (_host, Parts) = (host, parts);
        _server = host.Services.GetRequiredService<IServer>();
    }

    public EdgeParts Parts { get; }

    /// <summary>Where it listens; <c>localhost</c> when it listens on every address.</summary>
    public Uri Address => EdgeNode.AddressesOf(_server).Single();

    /// <param name="host">Has its server, which is not started.</param>
    /// <param name="parts">The listeners', with what differs here.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    public static async Task<PeerServer> StartAsync(WebApplication host, EdgeParts parts, CancellationToken cancellationToken)
    {
        var peers = new PeerServer(host, parts);
        try
        {
            await EdgeNode.ListenAsync(() => peers._server.StartAsync(new EdgeApplication(parts), cancellationToken), parts.Options.PeerPort, null);
            return peers;
        }
        catch
        {
            await peers._server.StopAsync(CancellationToken.None);
            await peers.DisposeAsync();
            throw;
        }
    }

    /// <summary>Stops accepting and lets responses under way end, until the token ends them.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => _server.StopAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        Parts.Meter.Dispose();
    }
}
