using System.Net;
using System.Text;
using Delivery.Edge.Metering;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Proxy;

/// <summary>
/// The HTTP origins of this edge in their order of failover, and the connections to them. A request goes out as it came: no redirect is followed, no cookie kept, nothing decompressed, no
/// field added but Via, CDN-Loop and the X-Forwarded- ones.
/// </summary>
internal sealed class OriginPool : IDisposable
{
    private readonly EdgeOptions _options;
    private readonly EdgeMeter _meter;
    private readonly ProxyMeter _proxyMeter;
    private readonly TimeProvider _time;
    private readonly HttpMessageInvoker _invoker;
    private readonly string[] _bases;

    public OriginPool(EdgeOptions options, EdgeMeter meter, ProxyMeter proxyMeter, TimeProvider time)
    {
        (_options, _meter, _proxyMeter, _time) = (options, meter, proxyMeter, time);
        _bases = [.. options.Upstreams.Select(u => u.Address!.TrimEnd('/'))];
        var proxy = options.Proxy;
        _invoker = new(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = false,
            AutomaticDecompression = DecompressionMethods.None,
            ActivityHeadersPropagator = null,
            ConnectTimeout = proxy.ConnectTimeout,
            MaxConnectionsPerServer = proxy.MaxUpstreamConnections,
            // In KiB, and 1 KiB of it is the status line's.
            MaxResponseHeadersLength = Math.Max(1, proxy.MaxResponseHeaderBytes / 1024),
            // Fields are bytes (RFC 9110 §5.5): Latin-1 brings each one through unchanged.
            RequestHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            // What is left of a response that nobody wants: reading a little is cheaper than a new connection, reading all is not.
            MaxResponseDrainSize = 64 * 1024,
            ResponseDrainTimeout = TimeSpan.FromSeconds(1),
        });
    }

    /// <summary>Asks the first origin, and for safe methods the next one when it cannot be reached or says that it cannot answer. Never throws but when cancelled.</summary>
    public async Task<UpstreamReply> SendAsync(UpstreamCall call, CancellationToken cancellationToken)
    {
        for (var i = 0; ; i++)
        {
            var reply = await SendAsync(_bases[i], call, cancellationToken);
            if (reply.Failure != UpstreamFailure.None)
                _proxyMeter.Failed(reply.Failure);
            if (!reply.IsGatewayFailure || !call.IsSafe || i == _bases.Length - 1)
                return reply;
            reply.Dispose();
        }
    }

    public void Dispose() => _invoker.Dispose();

    private async Task<UpstreamReply> SendAsync(string origin, UpstreamCall call, CancellationToken cancellationToken)
    {
        // CancelAfter on a source that was made with a TimeProvider goes by that provider's clock; a linked source would not.
        using var deadline = new CancellationTokenSource(_options.Proxy.ResponseTimeout, _time);
        using var left = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
        HttpResponseMessage? message = null;
        try
        {
            var requestedAt = _time.GetUtcNow();
            using var request = Message(origin, call);
            message = await _invoker.SendAsync(request, deadline.Token);
            // RFC 9112 §6.1: none but chunked can be undone here, and what cannot be undone is not understood.
            if (message.Headers.NonValidated.TryGetValues("Transfer-Encoding", out var codings) && !(codings.Count == 1 && codings.ToString().Equals("chunked", StringComparison.OrdinalIgnoreCase)))
            {
                message.Dispose();
                return UpstreamReply.Failed(UpstreamFailure.HttpProtocolError);
            }

            return await UpstreamReply.OpenAsync(message, call.Method, requestedAt, _time, _options.Proxy.BodyIdleTimeout, _meter.Filled, deadline.Token);
        }
        catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException or IOException or InvalidOperationException or FormatException)
        {
            message?.Dispose();
            cancellationToken.ThrowIfCancellationRequested();
            var failure = UpstreamFailures.Of(exception, timedOut: deadline.IsCancellationRequested);
            return UpstreamReply.Failed(failure, ClientStatusOf(exception));
        }
    }

    private static HttpRequestMessage Message(string origin, UpstreamCall call)
    {
        // The target goes out as it came in: what a path means is the origin's to say.
        var request = new HttpRequestMessage(new HttpMethod(call.Method), new Uri(origin + call.Target, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }))
        {
            Version = HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = call.Body,
        };
        request.Headers.TryAddWithoutValidation("Host", call.Host);
        foreach (var (name, values) in call.Fields)
        {
            var lines = ForwardedFields.Lines(values);
            if (!request.Headers.TryAddWithoutValidation(name, lines))
                request.Content?.Headers.TryAddWithoutValidation(name, lines);
        }

        return request;
    }

    private static int ClientStatusOf(Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException!)
        {
            if (inner is BadHttpRequestException bad)
                return bad.StatusCode;
        }

        return StatusCodes.Status400BadRequest;
    }
}
