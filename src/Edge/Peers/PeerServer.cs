using Delivery.Edge.Requests;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.Extensions.DependencyInjection;

namespace Delivery.Edge.Peers;

/// <summary>
/// The port where other edges ask (docs/formats/peer.md): the same requests, cache and fills as a listener's, behind another key ring and with metrics of its own. A server of its own, so
/// that no listener's connection can reach it.
/// </summary>
/// <param name="host">Has the server.</param>
/// <param name="parts">The listeners', with what differs here.</param>
internal sealed class PeerServer(WebApplication host, EdgeParts parts) : IAsyncDisposable
{
    public EdgeParts Parts { get; } = parts;

    public IServer Server { get; } = host.Services.GetRequiredService<IServer>();

    /// <summary>Where it listens, once it does; <c>localhost</c> when it listens on every address.</summary>
    public Uri Address => EdgeNode.AddressesOf(Server).Single();

    public async ValueTask DisposeAsync()
    {
        await host.DisposeAsync();
        Parts.Meter.Dispose();
    }
}
