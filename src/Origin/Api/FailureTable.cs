using Delivery.ObjectStore;
using Delivery.Origin.Catalog;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Api;

/// <summary>The one table from exceptions to answers, at the outer end of the pipeline. What is our side's fault is logged here, once.</summary>
internal sealed partial class FailureTable(RequestDelegate next, ILogger<FailureTable> logger)
{
    public async Task InvokeAsync(HttpContext context)
    {
        context.Response.Headers.CacheControl = "no-store";
        try
        {
            await next(context);
        }
        catch (Exception e)
        {
            if (context.RequestAborted.IsCancellationRequested || e is ConnectionResetException)
                return; // Nobody is there to answer; a client that leaves is not an error.
            var problem = Answer(e, context);
            if (problem.Document.Status >= 500)
                LogFailed(logger, e, context.Request.Method, context.Request.Path, problem.Document.Status);
            if (context.Response.HasStarted)
            {
                context.Abort(); // A cut connection is the only sign left that the answer is not whole.
                return;
            }

            await problem.ExecuteAsync(context);
        }
    }

    public static Problem Answer(Exception exception, HttpContext context) => exception switch
    {
        BadHttpRequestException { StatusCode: 413 } => Problem.TooLarge(context.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize ?? 0),
        BadHttpRequestException { StatusCode: 408 } => Problem.TimedOut(),
        BadHttpRequestException e => Problem.Malformed(e.Message),
        StoreException e => e.Error switch
        {
            StoreError.Full => Problem.StorageFull(),
            StoreError.Unavailable => Away(context, "The object store does not answer; repeat the request."),
            StoreError.PreconditionFailed => Problem.Conflict(),
            StoreError.DigestMismatch => Problem.DigestMismatch(),
            _ => Problem.Store(),
        },
        CatalogConflictException => Problem.Conflict(),
        CatalogCorruptException => Problem.Store(),
        OperationCanceledException => Away(context, "The object store did not answer in time; repeat the request."),
        _ => Problem.Internal(),
    };

    // A store made of two still answers reads when its primary is away, and takes no change: whoever wants one is told so.
    private static Problem Away(HttpContext context, string detail) =>
        HttpMethods.IsGet(context.Request.Method) || context.GetEndpoint()?.Metadata.GetMetadata<OnlyReads>() is not null ? Problem.Unavailable(detail) : Problem.NoChanges();

    [LoggerMessage(2001, LogLevel.Error, "{Method} {Path} failed and was answered with {Status}")]
    private static partial void LogFailed(ILogger logger, Exception exception, string method, string path, int status);
}
