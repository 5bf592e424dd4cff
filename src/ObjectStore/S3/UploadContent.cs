using Delivery.ObjectStore.Remote;

namespace Delivery.ObjectStore.S3;

/// <summary>
/// What the SDK sends: a part in memory, which it may read as often as it likes, or the caller's content itself, once. Each piece that it takes is a sign that the server takes the one before, and winds the timer up again.
/// </summary>
internal sealed class UploadContent : Stream
{
    /// <summary>What the SDK takes at a time.</summary>
    public const int PieceSize = 128 * 1024;

    private readonly CallTimer _timer;
    private readonly StoreClientOptions _options;
    private readonly ReadOnlyMemory<byte> _part;
    private readonly ContentReader? _rest;
    private readonly CancellationTokenSource _stop;
    private readonly SemaphoreSlim _reading = new(1, 1);
    private int _position;
    private bool _ended;

    /// <param name="part">The content, or its beginning when <paramref name="rest"/> is given.</param>
    /// <param name="rest">Held to its promises before the last bytes are given, so that no server gets a whole content that is refused.</param>
    public UploadContent(ReadOnlyMemory<byte> part, ContentReader? rest, CallTimer timer, StoreClientOptions options, CancellationToken caller)
    {
        (_part, _rest, _timer, _options) = (part, rest, timer, options);
        _stop = CancellationTokenSource.CreateLinkedTokenSource(caller);
    }

    /// <summary>Why the content itself did not come to its end: what the SDK makes of it says less.</summary>
    public StoreException? Fault { get; private set; }

    public override bool CanRead => true;

    public override bool CanSeek => _rest is null;

    public override bool CanWrite => false;

    public override long Length => _rest is null ? _part.Length : throw new NotSupportedException();

    public override long Position { get => _position; set => Seek(value, SeekOrigin.Begin); }

    /// <summary>The SDK digests what it signs before it sends it.</summary>
    public override int Read(byte[] buffer, int offset, int count)
    {
        if (_rest is not null)
            throw new NotSupportedException("A content is read asynchronously.");
        _reading.Wait();
        try
        {
            return FromPart(buffer.AsSpan(offset, count));
        }
        finally
        {
            _reading.Release();
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await _reading.WaitAsync(cancellationToken);
        try
        {
            var read = FromPart(buffer.Span);
            if (read == 0 && _rest is not null)
            {
                // The server is not to blame for how long the content takes.
                _timer.Pause();
                read = await _rest.FillAsync(buffer, _stop.Token);
            }

            _timer.Allow(read > 0 ? _options.IdleTimeout : _options.FirstByteTimeout);
            return read;
        }
        catch (StoreException e)
        {
            Fault = e;
            throw;
        }
        finally
        {
            _reading.Release();
        }
    }

    /// <summary>The HTTP client may still be reading when the call has ended: after this, neither the part's memory nor the content is touched any more.</summary>
    public override async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _reading.WaitAsync();
        _ended = true;
        _reading.Release();
        _stop.Dispose();
        await base.DisposeAsync();
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override long Seek(long offset, SeekOrigin origin) => CanSeek
        ? _position = (int)(origin switch { SeekOrigin.Begin => offset, SeekOrigin.Current => _position + offset, _ => _part.Length + offset })
        : throw new NotSupportedException();

    public override void Flush()
    {
    }

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private int FromPart(Span<byte> buffer)
    {
        ObjectDisposedException.ThrowIf(_ended, this);
        var count = Math.Min(buffer.Length, _part.Length - _position);
        _part.Span.Slice(_position, count).CopyTo(buffer);
        _position += count;
        return count;
    }
}
