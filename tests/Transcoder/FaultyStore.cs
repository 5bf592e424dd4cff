using Delivery.ObjectStore;

namespace Delivery.Transcoder.Tests;

/// <summary>A store that fails when the test says so, and is the real one otherwise.</summary>
internal sealed class FaultyStore(IObjectStore inner) : IObjectStore
{
    /// <summary>Asked before each write with its key; an exception to throw, or null.</summary>
    public Func<string, StoreException?> OnWrite { get; set; } = _ => null;

    /// <summary>Asked before each call, writes included, with its key.</summary>
    public Func<string, StoreException?> OnCall { get; set; } = _ => null;

    /// <summary>Told after each write that was committed, with its key.</summary>
    public Func<string, Task> OnWritten { get; set; } = _ => Task.CompletedTask;

    /// <summary>Asked at each read with its key and range: after how many bytes its body breaks, or null.</summary>
    public Func<string, ObjectRange?, int?> OnBody { get; set; } = (_, _) => null;

    public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) =>
        OnCall(key.Value) is { } fault ? throw fault : inner.FindAsync(key, cancellationToken);

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        if (OnCall(key.Value) is { } fault)
            throw fault;
        var read = await inner.OpenReadAsync(key, range, cancellationToken);
        return read is not null && OnBody(key.Value, range) is { } bytes ? new ObjectRead(read.Info, read.Offset, read.Length, new BreakingStream(read.Content, bytes)) : read;
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        if ((OnCall(key.Value) ?? OnWrite(key.Value)) is { } fault)
            throw fault;
        var info = await inner.WriteAsync(key, content, write, cancellationToken);
        await OnWritten(key.Value);
        return info;
    }

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

    public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => inner.ListAsync(prefix, startAfter, cancellationToken);

    public void Dispose() => inner.Dispose();

    private sealed class BreakingStream(Stream inner, int bytes) : Stream
    {
        private int _left = bytes;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_left == 0)
                throw new StoreException(StoreError.Unavailable, "the connection broke");
            var count = await inner.ReadAsync(buffer[..Math.Min(buffer.Length, _left)], cancellationToken);
            _left -= count;
            return count;
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
