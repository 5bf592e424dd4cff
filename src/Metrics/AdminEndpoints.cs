using System.Net.Mime;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Metrics;

/// <summary>What every role serves on its admin port.</summary>
internal static class AdminEndpoints
{
    /// <summary>
    /// Maps GET <c>/metrics</c> (Prometheus text format), <c>/healthz</c> (200 <c>ok</c> while the process answers), and <c>/readyz</c> (200 <c>ok</c>,
    /// or 503 with one reason per line).
    /// </summary>
    /// <param name="app">The admin port's routes.</param>
    /// <param name="metrics">What <c>/metrics</c> shows.</param>
    /// <param name="notReadyReasons">Asked at each <c>/readyz</c>; empty means ready.</param>
    public static void MapAdmin(this IEndpointRouteBuilder app, PrometheusExposition metrics, Func<IReadOnlyList<string>> notReadyReasons)
    {
        app.MapGet("/metrics", async context =>
        {
            context.Response.ContentType = PrometheusText.ContentType;
            metrics.WriteTo(context.Response.BodyWriter);
            await context.Response.BodyWriter.FlushAsync(context.RequestAborted);
        });
        app.MapGet("/healthz", context => WriteLinesAsync(context, StatusCodes.Status200OK, ["ok"]));
        app.MapGet("/readyz", context =>
        {
            var reasons = notReadyReasons();
            return reasons.Count == 0
                ? WriteLinesAsync(context, StatusCodes.Status200OK, ["ok"])
                : WriteLinesAsync(context, StatusCodes.Status503ServiceUnavailable, reasons);
        });
    }

    private static Task WriteLinesAsync(HttpContext context, int status, IReadOnlyList<string> lines)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = MediaTypeNames.Text.Plain;
        // Probes ask for the state now.
        context.Response.Headers.CacheControl = "no-store";
        // A reason is one line, whatever an exception's message holds.
        return context.Response.WriteAsync(string.Concat(lines.Select(line => line.ReplaceLineEndings(" ") + "\n")), context.RequestAborted);
    }
}
