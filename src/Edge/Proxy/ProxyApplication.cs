using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Abstractions;
using Microsoft.AspNetCore.Http.Features;

namespace Delivery.Edge.Proxy;

/// <summary>What Kestrel calls for each request in http mode; as <see cref="Requests.EdgeApplication"/> does for audio.</summary>
internal sealed class ProxyApplication(ProxyParts parts) : IHttpApplication<ProxyRequest>
{
    public ProxyRequest CreateContext(IFeatureCollection contextFeatures)
    {
        var request = contextFeatures is IHostContextContainer<ProxyRequest> container
            ? container.HostContext ??= new(parts)
            : new(parts);
        request.Begin(contextFeatures);
        return request;
    }

    public Task ProcessRequestAsync(ProxyRequest context) => context.RunAsync();

    public void DisposeContext(ProxyRequest context, Exception? exception) => context.Account();
}
