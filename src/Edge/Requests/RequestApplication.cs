using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Abstractions;
using Microsoft.AspNetCore.Http.Features;

namespace Delivery.Edge.Requests;

/// <summary>One request's life: <see cref="EdgeRequest"/>, or <see cref="Proxy.ProxyRequest"/> in http mode.</summary>
internal interface IRequest
{
    void Begin(IFeatureCollection features);

    Task RunAsync();

    /// <summary>After the response has ended.</summary>
    void Account();
}

/// <summary>
/// What Kestrel calls for each request, in the place of the hosting pipeline (no HttpContext, no scopes, no diagnostics per request). The
/// request object is kept with its connection or stream and used again.
/// </summary>
internal sealed class RequestApplication<TRequest>(Func<TRequest> create) : IHttpApplication<TRequest>
    where TRequest : class, IRequest
{
    public TRequest CreateContext(IFeatureCollection contextFeatures)
    {
        var request = contextFeatures is IHostContextContainer<TRequest> container
            ? container.HostContext ??= create()
            : create();
        request.Begin(contextFeatures);
        return request;
    }

    public Task ProcessRequestAsync(TRequest context) => context.RunAsync();

    public void DisposeContext(TRequest context, Exception? exception) => context.Account();
}
