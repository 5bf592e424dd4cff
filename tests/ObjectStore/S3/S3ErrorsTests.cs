using System.Net;
using Amazon.Runtime;
using Amazon.S3;
using Delivery.ObjectStore.Remote;

namespace Delivery.ObjectStore.S3;

/// <summary>What AWS says and RadosGW does not, by the API reference's table of errors.</summary>
public sealed class S3ErrorsTests
{
    [Theory]
    [InlineData("SlowDown", HttpStatusCode.ServiceUnavailable, StoreError.Unavailable)]
    [InlineData("InternalError", HttpStatusCode.InternalServerError, StoreError.Unavailable)]
    [InlineData("RequestTimeout", HttpStatusCode.BadRequest, StoreError.Unavailable)]
    [InlineData("TooManyRequests", HttpStatusCode.TooManyRequests, StoreError.Unavailable)]
    [InlineData("ConditionalRequestConflict", HttpStatusCode.Conflict, StoreError.Unavailable)]
    [InlineData("PreconditionFailed", HttpStatusCode.PreconditionFailed, StoreError.PreconditionFailed)]
    [InlineData("AccessDenied", HttpStatusCode.Forbidden, StoreError.Denied)]
    [InlineData("InvalidAccessKeyId", HttpStatusCode.Forbidden, StoreError.Denied)]
    [InlineData("ExpiredToken", HttpStatusCode.BadRequest, StoreError.Denied)]
    [InlineData("AccountProblem", HttpStatusCode.Forbidden, StoreError.Denied)]
    [InlineData("RequestTimeTooSkewed", HttpStatusCode.Forbidden, StoreError.ClockSkewed)]
    [InlineData("NoSuchBucket", HttpStatusCode.NotFound, StoreError.Misconfigured)]
    [InlineData("PermanentRedirect", HttpStatusCode.MovedPermanently, StoreError.Misconfigured)]
    [InlineData("AuthorizationHeaderMalformed", HttpStatusCode.BadRequest, StoreError.Misconfigured)]
    [InlineData("QuotaExceeded", HttpStatusCode.Forbidden, StoreError.Full)]
    [InlineData("KeyTooLongError", HttpStatusCode.BadRequest, StoreError.KeyRefused)]
    [InlineData("InvalidRange", HttpStatusCode.RequestedRangeNotSatisfiable, StoreError.RangeNotSatisfiable)]
    public void Code_HasItsError(string code, HttpStatusCode status, StoreError expected)
    {
        using var timer = new CallTimer(CancellationToken.None);
        var mapped = S3Errors.From("try", new AmazonS3Exception("told why", ErrorType.Unknown, code, "request-1", status), timer)!;
        Assert.Equal(expected, mapped.Error);
        Assert.Contains(code, mapped.Message);
        Assert.Contains("told why", mapped.Message);
        Assert.Contains("request-1", mapped.Message);
    }

    [Fact]
    public void Failure_OfTheConnection_AndOfCredentials_AreToldApart_AndACancellationIsNone()
    {
        using var cancelled = new CancellationTokenSource();
        using var timer = new CallTimer(cancelled.Token);
        Assert.Equal(StoreError.Unavailable, S3Errors.From("try", new HttpRequestException("refused"), timer)!.Error);
        Assert.Equal(StoreError.Unavailable, S3Errors.From("try", new AmazonServiceException("cut", new IOException("reset")), timer)!.Error);
        Assert.Equal(StoreError.Unavailable, S3Errors.From("try", new TimeoutException("connect"), timer)!.Error);
        Assert.Equal(StoreError.Denied, S3Errors.From("try", new AmazonClientException("Failed to resolve AWS credentials."), timer)!.Error);
        Assert.Null(S3Errors.From("try", new InvalidOperationException("a fault of ours"), timer));
        cancelled.Cancel();
        Assert.Null(S3Errors.From("try", new OperationCanceledException(cancelled.Token), timer));
    }
}
