using System.Net;
using System.Xml;
using Amazon.Runtime;
using Amazon.Runtime.Internal;
using Delivery.ObjectStore.Remote;

namespace Delivery.ObjectStore.S3;

/// <summary>The one table from what S3 and its SDK say to a <see cref="StoreError"/>. Codes: "Error responses" of the Amazon S3 API reference, and RadosGW's.</summary>
internal static class S3Errors
{
    /// <summary>Null for what is not a failure of the store: a cancellation, or a fault of ours.</summary>
    /// <param name="action">After "Could not".</param>
    public static StoreException? From(string action, Exception e, CallTimer timer) => e switch
    {
        StoreException => null,
        // A body that broke in the middle of its XML.
        AmazonUnmarshallingException or XmlException => new(StoreError.Unavailable, $"Could not {action}: the answer cannot be read: {e.Message}", e),
        AmazonServiceException { StatusCode: not 0 } service => From(action, service),
        // No answer at all: the connection, or no credentials, which the SDK looks for at the first call.
        AmazonClientException or AmazonServiceException => timer.Failure(action, e.InnerException ?? e)
            ?? new(StoreError.Denied, $"Could not {action}: {e.Message.ReplaceLineEndings(" ")}", e),
        _ => timer.Failure(action, e),
    };

    /// <summary>Whether the server has said that it did nothing.</summary>
    public static bool WasRefused(StoreException e) =>
        e.InnerException is AmazonServiceException { StatusCode: HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests or HttpStatusCode.Conflict };

    /// <summary>
    /// RadosGW's answer to a conditional write when the object changed between its look and its commit (ECANCELED, which it has no code for): as good as a failed precondition, though it says the same of any failure that it has no code for.
    /// </summary>
    public static bool LostRace(StoreException e) => e.InnerException is AmazonServiceException { ErrorCode: "UnknownError" };

    private static StoreException From(string action, AmazonServiceException e)
    {
        var (error, hint) = e.ErrorCode switch
        {
            "PreconditionFailed" => (StoreError.PreconditionFailed, ""),
            "InvalidRange" => (StoreError.RangeNotSatisfiable, ""),
            "RequestTimeTooSkewed" or "RequestExpired" => (StoreError.ClockSkewed, "this machine's clock differs too much from the store's"),
            "NoSuchBucket" => (StoreError.Misconfigured, "there is no such bucket"),
            "PermanentRedirect" or "TemporaryRedirect" or "AuthorizationHeaderMalformed" or "IllegalLocationConstraintException" or "InvalidRegionName" =>
                (StoreError.Misconfigured, $"the bucket lies in {Header(e, "x-amz-bucket-region") ?? "another region"}: set 'region' in the store's URL"),
            "InvalidBucketName" or "MethodNotAllowed" => (StoreError.Misconfigured, ""),
            "XAmzContentSHA256Mismatch" or "NotImplemented" or "InvalidChunkSizeError" or "MissingContentLength" =>
                (StoreError.Misconfigured, "a server that does not know AWS's trailing checksums needs 'checksums=whenRequired' in the store's URL"),
            "QuotaExceeded" or "TooManyBuckets" or "UserSuspended" or "StorageQuotaExceeded" or "XMinioStorageFull" or "InsufficientStorage" or "EntityTooLarge" =>
                (StoreError.Full, ""),
            "KeyTooLongError" => (StoreError.KeyRefused, ""),
            "ExpiredToken" or "InvalidToken" or "TokenRefreshRequired" => (StoreError.Denied, ""),
            "BadDigest" or "IncompleteBody" or "RequestTimeout" or "NoSuchUpload" or "InvalidPart" => (StoreError.Unavailable, "what arrived is not what was sent"),
            // Another write or delete of the key was under way; the server says to try again.
            "ConditionalRequestConflict" or "OperationAborted" => (StoreError.Unavailable, "it met another change of the same object"),
            "AccessDenied" => (StoreError.Denied, "without the permission to list, S3 says this of an absent object too"),
            _ => (e.StatusCode switch
            {
                HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => StoreError.Denied,
                HttpStatusCode.PreconditionFailed => StoreError.PreconditionFailed,
                HttpStatusCode.RequestedRangeNotSatisfiable => StoreError.RangeNotSatisfiable,
                HttpStatusCode.InsufficientStorage => StoreError.Full,
                HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or HttpStatusCode.Conflict or >= HttpStatusCode.InternalServerError => StoreError.Unavailable,
                _ => StoreError.Misconfigured,
            }, ""),
        };
        return new(error, $"Could not {action}: {hint}{(hint.Length > 0 ? " " : "")}({(int)e.StatusCode} {e.ErrorCode}{Said(e)}{(e.RequestId is { Length: > 0 } id ? $", request {id}" : "")}).", e);
    }

    // RadosGW sends no message; of an answer without a body the SDK says so, at length.
    private static string Said(AmazonServiceException e) =>
        e.Message.Length == 0 || e.Message.StartsWith("Error making request", StringComparison.Ordinal) ? "" : $", {e.Message.TrimEnd('.')}";

    private static string? Header(AmazonServiceException e, string name) =>
        (e.InnerException as HttpErrorResponseException)?.Response is { } answer && answer.IsHeaderPresent(name) ? answer.GetHeaderValue(name) : null;
}
