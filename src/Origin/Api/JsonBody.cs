using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Api;

/// <summary>Reads a JSON body within its bounds. The body's length is bounded by the server (<see cref="OriginOptions.MaxDocumentBytes"/>, 413).</summary>
internal static class JsonBody
{
    /// <summary>A release nests 4 deep; the rest is room for versions to come.</summary>
    public const int MaxDepth = 8;

    private static readonly JsonDocumentOptions Options = new() { MaxDepth = MaxDepth, AllowDuplicateProperties = false };

    /// <summary>Gives the body to <paramref name="read"/>, or a problem when it is not JSON.</summary>
    public static async Task<(T? Value, Problem? Problem)> ReadAsync<T>(HttpRequest request, Func<JsonElement, RequestErrors, T?> read, RequestErrors errors)
        where T : class
    {
        if (!request.HasJsonContentType())
            return (null, Problem.MediaType("The body must be application/json."));
        if (request.Headers.ContentEncoding.Count > 0)
            return (null, Problem.MediaType("A Content-Encoding is not supported."));
        try
        {
            using var document = await JsonDocument.ParseAsync(request.Body, Options, request.HttpContext.RequestAborted);
            return (read(document.RootElement, errors), null);
        }
        catch (JsonException e)
        {
            return (null, Problem.Malformed($"The body is not JSON as this call takes it: {e.Message}"));
        }
        catch (InvalidOperationException)
        {
            // JsonElement.GetString on an escaped lone surrogate, which has no UTF-8 form, or on bytes that are no UTF-8.
            return (null, Problem.Malformed("The body has a string that is not valid Unicode: bytes that are not UTF-8, or half of a surrogate pair."));
        }
    }
}
