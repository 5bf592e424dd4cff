using Delivery.Origin.ApiKeys;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>Which roles open an endpoint: any one of them.</summary>
internal sealed record NeededRoles(IReadOnlyList<ApiRole> Any);

/// <summary>Lets a request through to its endpoint: first a key of ours (401), then a path that exists (404, 405), then a role that opens it (403).</summary>
internal sealed class RoleGate(RequestDelegate next, ApiKeyRegister keys)
{
    public async Task InvokeAsync(HttpContext context)
    {
        if (keys.Find(context.Request.Headers.Authorization) is not { } key)
        {
            await Problem.Unauthenticated().ExecuteAsync(context);
            return;
        }

        switch (context.GetEndpoint())
        {
            case null:
                await Problem.NotFound("There is no such path.").ExecuteAsync(context);
                return;

            // Routing's own answer to a wrong method; it sets the status and Allow.
            case not RouteEndpoint and { RequestDelegate: { } wrongMethod }:
                await wrongMethod(context);
                await Problem.MethodNotAllowed($"This path has no {context.Request.Method}.").ExecuteAsync(context);
                return;

            // An endpoint without roles opens to nobody.
            case { } endpoint when endpoint.Metadata.GetMetadata<NeededRoles>() is not { } needed || !needed.Any.Any(key.Roles.Contains):
                var roles = endpoint.Metadata.GetMetadata<NeededRoles>()?.Any ?? [];
                await Problem.Forbidden(key.Name, string.Join(" or ", roles.Select(OriginMetrics.Word))).ExecuteAsync(context);
                return;
        }

        await next(context);
    }
}

internal static class RoleGateExtensions
{
    public static void For(this RouteHandlerBuilder endpoint, params ApiRole[] anyOf) => endpoint.WithMetadata(new NeededRoles(anyOf));
}
