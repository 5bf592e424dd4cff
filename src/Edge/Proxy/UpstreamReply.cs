using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Proxy;

/// <summary>A request as it goes upstream. It holds nothing of the client's connection but a body that is read while the client waits.</summary>
internal sealed record UpstreamCall(string Method, string Host, string Target, IHeaderDictionary Fields)
{
    public HttpContent? Body { get; init; }

    /// <summary>RFC 9110 §9.2.1: may be asked of another upstream when one fails.</summary>
    public bool IsSafe => Method is "GET" or "HEAD" or "OPTIONS";
}

/// <summary>What upstream answered, its body still to be read; or how it failed. Whoever holds it disposes it.</summary>
internal sealed class UpstreamReply : IDisposable
{
    private readonly HttpResponseMessage? _message;
    private readonly Stream? _content;
    private readonly CancellationTokenSource? _idle;
    private readonly TimeSpan _idleTimeout;
    private readonly Action<int> _received;

    private UpstreamReply(HttpResponseMessage? message, Stream? content, CancellationTokenSource? idle, TimeSpan idleTimeout, Action<int> received) =>
        (_message, _content, _idle, _idleTimeout, _received) = (message, content, idle, idleTimeout, received);

    public UpstreamFailure Failure { get; private set; }

    /// <summary>What the client's own request came to, when <see cref="Failure"/> is its fault.</summary>
    public int ClientStatus { get; private init; } = StatusCodes.Status400BadRequest;

    public int Status { get; private init; }

    /// <summary>Without those of the hop.</summary>
    public IHeaderDictionary Fields { get; private init; } = new HeaderDictionary();

    /// <summary>Bytes of the body as promised; null when its end shows only when it comes.</summary>
    public long? Length { get; private init; }

    /// <summary>RFC 9110 §6.4.1.</summary>
    public bool HasBody { get; private init; }

    public DateTimeOffset RequestedAt { get; private init; }

    public DateTimeOffset ReceivedAt { get; private init; }

    /// <summary>RFC 5861 §4: what stale-if-error counts as an error.</summary>
    public bool IsServerError => Status is 500 or 502 or 503 or 504;

    /// <summary>RFC 9110 §15.6.3 to §15.6.5: another upstream may do better.</summary>
    public bool IsGatewayFailure => Failure is not (UpstreamFailure.None or UpstreamFailure.HttpRequestError) || Status is 502 or 503 or 504;

    public static UpstreamReply Failed(UpstreamFailure failure, int clientStatus = StatusCodes.Status400BadRequest) =>
        new(null, null, null, default, static _ => { }) { Failure = failure, ClientStatus = clientStatus };

    public static async Task<UpstreamReply> OpenAsync(
        HttpResponseMessage message, string method, DateTimeOffset requestedAt, TimeProvider time, TimeSpan idleTimeout, Action<int> received, CancellationToken cancellationToken)
    {
        var status = (int)message.StatusCode;
        var hasBody = method != "HEAD" && status is not (204 or 304) && status >= 200;
        var chunked = message.Headers.NonValidated.Contains("Transfer-Encoding");
        return new(message, await message.Content.ReadAsStreamAsync(cancellationToken), new CancellationTokenSource(Timeout.InfiniteTimeSpan, time), idleTimeout, received)
        {
            Status = status,
            Fields = ForwardedFields.Of(message),
            Length = chunked ? null : message.Content.Headers.ContentLength,
            HasBody = hasBody,
            RequestedAt = requestedAt,
            ReceivedAt = time.GetUtcNow(),
        };
    }

    /// <summary>Returns when <see cref="ReadAsync"/> has something to give, without holding memory meanwhile.</summary>
    public async ValueTask WaitAsync(CancellationToken cancellationToken) => await ReadAsync(Memory<byte>.Empty, cancellationToken);

    /// <summary>The next bytes of the body; 0 at its end, -1 when it breaks off: then <see cref="Failure"/> says why.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        if (!HasBody)
            return 0;
        try
        {
            using var left = cancellationToken.UnsafeRegister(static idle => ((CancellationTokenSource)idle!).Cancel(), _idle);
            _idle!.CancelAfter(_idleTimeout);
            var count = await _content!.ReadAsync(destination, _idle.Token);
            _idle.CancelAfter(Timeout.InfiniteTimeSpan);
            _received(count);
            return count;
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException or HttpRequestException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Failure = exception is OperationCanceledException ? UpstreamFailure.HttpResponseTimeout : UpstreamFailure.HttpResponseIncomplete;
            return -1;
        }
    }

    public void Dispose()
    {
        // A connection whose response was not read to its end is closed by this.
        _message?.Dispose();
        _idle?.Dispose();
    }
}
