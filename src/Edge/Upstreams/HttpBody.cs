using Delivery.Edge.Fills;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>The body of an HTTP answer: what broke it in words that a fill knows, and of a whole object only the wanted part.</summary>
/// <param name="upstream">The upstream's name.</param>
/// <param name="inner">The body as it comes.</param>
/// <param name="skip">Bytes before the wanted ones; read and dropped at the first read, so that who needs the head alone waits for none of them.</param>
/// <param name="take">Bytes wanted; null: all that come, and whoever reads finds out whether there are too many.</param>
internal sealed class HttpBody(string upstream, Stream inner, long skip, long? take) : ForwardStream
{
    private long _skip = skip;
    private long _left = take ?? long.MaxValue;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            // The caller's own buffer takes what is dropped, and the wanted bytes then overwrite it.
            while (_skip > 0)
            {
                var dropped = await inner.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _skip)], cancellationToken);
                if (dropped == 0)
                    return 0;
                _skip -= dropped;
            }

            var count = await inner.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _left)], cancellationToken);
            _left -= count;
            return count;
        }
        catch (HttpIOException exception) when (exception.HttpRequestError == HttpRequestError.ResponseEnded)
        {
            throw new UpstreamException(FillOutcome.Truncated, upstream, "It closed the connection before the end of the body.", exception);
        }
        catch (HttpIOException exception) when (exception.HttpRequestError == HttpRequestError.InvalidResponse)
        {
            throw new UpstreamException(FillOutcome.Contradictory, upstream, $"Its body cannot be read: {exception.Message}", exception);
        }
        catch (IOException exception)
        {
            throw new UpstreamException(FillOutcome.Unavailable, upstream, $"The connection broke: {exception.Message}", exception);
        }
    }

    public override async ValueTask DisposeAsync()
    {
        await inner.DisposeAsync();
        await base.DisposeAsync();
    }
}
