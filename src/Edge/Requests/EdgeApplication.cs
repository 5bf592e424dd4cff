using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Abstractions;
using Microsoft.AspNetCore.Http.Features;

namespace Delivery.Edge.Requests;

/// <summary>
/// What Kestrel calls for each request, in the place of the hosting pipeline (no HttpContext, no scopes, no diagnostics per request). The
/// request object is kept with its connection or stream and used again.
/// </summary>
internal sealed class EdgeApplication(EdgeParts parts) : IHttpApplication<EdgeRequest>
{
    public EdgeRequest CreateContext(IFeatureCollection contextFeatures)
    {
        var request = contextFeatures is IHostContextContainer<EdgeRequest> container
            ? container.HostContext ??= new(parts)
            : new(parts);
        request.Begin(contextFeatures);
        return request;
    }

    public Task ProcessRequestAsync(EdgeRequest context) => context.RunAsync();

    public void DisposeContext(EdgeRequest context, Exception? exception) => context.Account();
}
