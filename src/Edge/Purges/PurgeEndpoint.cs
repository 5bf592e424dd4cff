using System.Globalization;
using Delivery.TokenAuth;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Edge.Purges;

/// <summary>
/// <c>POST /purge?path=/audio/…[&amp;sequence=N]</c> or <c>POST /purge?all=true</c> on the admin port, when <see cref="EdgeOptions.AdminPurge"/> opens it: 204 when the purge is durable.
/// </summary>
internal static class PurgeEndpoint
{
    public static void MapPurge(this IEndpointRouteBuilder app, Purger purger) => app.MapPost("/purge", context =>
    {
        // A page in a browser on this machine can post to loopback, and browsers say so (Fetch §3.2): no page purges.
        if (context.Request.Headers.ContainsKey("Origin") || context.Request.Headers.ContainsKey("Sec-Fetch-Site"))
            return AnswerAsync(context, StatusCodes.Status403Forbidden, "not from a web page");
        var query = context.Request.Query;
        var all = query["all"] == "true";
        var path = query["path"].ToString();
        if (all == (path.Length > 0) || (!all && (!RequestTarget.TrySplit(path, out var whole, out _) || whole.Length != path.Length)))
            return AnswerAsync(context, StatusCodes.Status400BadRequest, "one of path (as in a signed URL, without its query) and all=true");
        var sequence = purger.Sequence + 1;
        if (query.TryGetValue("sequence", out var text) && (!long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out sequence) || sequence == 0))
            return AnswerAsync(context, StatusCodes.Status400BadRequest, "sequence is a whole number from 1");
        try
        {
            if (all)
                purger.PurgeAll(sequence);
            else
                purger.Purge(Uri.UnescapeDataString(path), sequence);
        }
        catch (IOException exception)
        {
            return AnswerAsync(context, StatusCodes.Status503ServiceUnavailable, $"purged, but not durably; repeat it: {exception.Message}");
        }

        context.Response.StatusCode = StatusCodes.Status204NoContent;
        return Task.CompletedTask;
    });

    private static Task AnswerAsync(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain";
        return context.Response.WriteAsync(text + "\n", context.RequestAborted);
    }
}
