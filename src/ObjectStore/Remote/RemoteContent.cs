using System.Runtime.CompilerServices;

namespace Delivery.ObjectStore.Remote;

/// <summary>
/// The body of a server's answer: at most as many bytes as were promised, and never fewer without saying so. A broken connection, a silence and an early end are <see cref="StoreError.Unavailable"/>. Disposing it in
/// the middle costs nothing: the HTTP client drains or closes the connection by itself.
/// </summary>
/// <param name="answer">What is disposed with the body.</param>
internal sealed class RemoteContent(Stream body, IDisposable answer, ObjectKey key, long length, TimeSpan idleTimeout) : ForwardStream
{
    private readonly CancellationTokenSource _idle = new();
    private long _read;
    private bool _disposed;

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (cancellationToken.IsCancellationRequested)
            return ValueTask.FromCanceled<int>(cancellationToken);
        var wanted = (int)Math.Min(buffer.Length, length - _read);
        if (wanted == 0)
            return new(0);
        // What has come already needs neither a clock nor a state machine, and on a fast line most of it has.
        var reading = body.ReadAsync(buffer[..wanted], _idle.Token);
        if (!reading.IsCompletedSuccessfully)
            return WaitAsync(reading, cancellationToken);
        var read = reading.Result;
        _read += read;
        return read > 0 ? new(read) : throw Broken("it ended there", null);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> WaitAsync(ValueTask<int> reading, CancellationToken cancellationToken)
    {
        int read;
        try
        {
            _idle.CancelAfter(idleTimeout);
            // The source outlives the read: a caller's cancellation ends the connection, as half of a piece may be lost with it.
            await using (cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _idle))
                read = await reading;
            _idle.CancelAfter(Timeout.InfiniteTimeSpan);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(cancellationToken);
        }
        catch (OperationCanceledException e)
        {
            throw Broken($"nothing came for {idleTimeout.TotalSeconds:0.#} s", e);
        }
        catch (Exception e) when (e is not StoreException) // Connections', and those of a client library that checks what passes.
        {
            throw Broken(e.Message, e);
        }

        _read += read;
        return read > 0 ? read : throw Broken("it ended there", null);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_disposed)
        {
            _disposed = true;
            body.Dispose();
            answer.Dispose();
            _idle.Dispose();
        }

        base.Dispose(disposing);
    }

    private StoreException Broken(string how, Exception? inner) =>
        new(StoreError.Unavailable, $"The body of '{key}' broke after {_read} of {length} bytes: {how}.", inner);
}
