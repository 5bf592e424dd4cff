using System.Net;

namespace Delivery.Edge.Proxy;

/// <summary>A request's body on its way upstream: read as upstream takes it, with the length that the client gave, else in chunks.</summary>
internal sealed class RequestBody(Stream body, long? length) : HttpContent
{
    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => body.CopyToAsync(stream);

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken) => body.CopyToAsync(stream, cancellationToken);

    protected override bool TryComputeLength(out long computed)
    {
        computed = length ?? 0;
        return length is not null;
    }
}
