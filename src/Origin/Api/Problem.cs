using System.Globalization;
using System.Text.Json;
using Delivery.Origin.Playback;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Delivery.Origin.Api;

/// <summary>An RFC 9457 answer. Every type that the origin gives is made here and listed in docs/api.md.</summary>
internal sealed class Problem : IResult
{
    private Problem(int status, string type, string title, string detail, IReadOnlyList<RequestError>? errors = null, PlaybackRefusal? reason = null) =>
        Document = new ProblemDocument { Type = "/problems/" + type, Title = title, Status = status, Detail = detail, Errors = errors, Reason = reason };

    public ProblemDocument Document { get; }

    public TimeSpan? RetryAfter { get; private init; }

    public static Problem Malformed(string detail) => new(400, "malformed", "Not readable", detail);

    public static Problem Unauthenticated() =>
        new(401, "unauthenticated", "No valid API key", "Send 'Authorization: Bearer dk_…' with a key that this origin knows.");

    public static Problem Forbidden(string keyName, string needed) =>
        new(403, "forbidden", "Not this key's to do", $"The key '{keyName}' lacks the role {needed}.");

    public static Problem Refused(PlaybackRefusal reason, string detail) => new(403, "playback-refused", "Playback refused", detail, reason: reason);

    public static Problem NotFound(string detail) => new(404, "not-found", "Not found", detail);

    public static Problem MethodNotAllowed(string detail) => new(405, "method-not-allowed", "Method not allowed", detail);

    public static Problem TimedOut() => new(408, "timeout", "Too slow", "The body came more slowly than this origin waits for; earlier data stays as it was.");

    public static Problem Conflict() => new(409, "conflict", "Changed by others", "Others kept changing the same manifest at the same time; repeat the request.");

    public static Problem NotFailed(string detail) => new(409, "not-failed", "Not a failed job", detail);

    public static Problem NotQueued(string detail) => new(409, "not-queued", "Not a job in work", detail);

    public static Problem LadderExists(string name) =>
        new(409, "ladder-exists", "Another ladder has this name", $"There is another ladder '{name}', and a ladder never changes: a change is a new version. Give it the next number.");

    public static Problem BackfillRunning(string ladder) =>
        new(409, "backfill-running", "Another backfill runs", $"The backfill with ladder '{ladder}' runs, and two would undo each other's work. Wait for it, or cancel it: DELETE /v1/backfills/{ladder}.");

    public static Problem TooLarge(long maxBytes) =>
        new(413, "too-large", "Too large", string.Create(CultureInfo.InvariantCulture, $"The body is larger than {maxBytes} bytes, the most that this call accepts."));

    public static Problem MediaType(string detail) => new(415, "media-type", "Unsupported media type", detail);

    public static Problem Validation(RequestErrors errors)
    {
        var list = errors.ToList();
        return new(422, "validation", "Not valid", list.Count == 1 ? "The request has one fault." : $"The request has {list.Count} faults.", errors: list);
    }

    public static Problem Validation(string pointer, string detail)
    {
        var errors = new RequestErrors();
        errors.Add(pointer, detail);
        return Validation(errors);
    }

    public static Problem EmptyMaster() => new(422, "empty-master", "Empty master", "The master has no bytes; an earlier master stays as it was.");

    public static Problem DigestMismatch() =>
        new(422, "digest-mismatch", "Digest mismatch", "The bytes that arrived are not those that the digest field names; an earlier master stays as it was.");

    public static Problem Internal() => new(500, "internal", "Internal error", "The origin failed; its log says how.");

    public static Problem Store() => new(500, "store", "Store error", "The object store refuses the origin or contradicts itself; the origin's log says how.");

    public static Problem Busy(string detail) => new(503, "busy", "Busy", detail) { RetryAfter = TimeSpan.FromSeconds(5) };

    public static Problem Unavailable(string detail) => new(503, "unavailable", "Unavailable", detail) { RetryAfter = TimeSpan.FromSeconds(2) };

    public static Problem NoChanges() =>
        new(503, "no-changes", "No changes now", "The object store takes no changes for the moment; what is published plays on. Repeat the request: what it had done already it does not do twice.")
        {
            RetryAfter = TimeSpan.FromSeconds(2),
        };

    public static Problem StorageFull() =>
        new(507, "storage-full", "Storage full", "The object store has no space left. Nothing was changed; an earlier master stays as it was.");

    public Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = Document.Status;
        response.ContentType = "application/problem+json";
        response.Headers.CacheControl = "no-store";
        if (Document.Status == 401)
            response.Headers.WWWAuthenticate = "Bearer realm=\"delivery\""; // RFC 9110 §11.6.1: a 401 names what to send.
        if (RetryAfter is { } wait)
            response.Headers[HeaderNames.RetryAfter] = ((int)wait.TotalSeconds).ToString(CultureInfo.InvariantCulture);
        return JsonSerializer.SerializeAsync(response.Body, Document, ApiJson.Default.ProblemDocument, httpContext.RequestAborted);
    }
}
