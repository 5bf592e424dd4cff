using Delivery.ObjectStore;

namespace Delivery.Bench.Farm;

/// <summary>A store of which a part of the calls fails as a network does: before anything happened, after it happened, or in the middle of a body.</summary>
internal sealed class FlakyStore(IObjectStore inner, double faults, int seed) : IObjectStore
{
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        MayFail(faults, key.Value);
        return await inner.FindAsync(key, cancellationToken);
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        MayFail(faults / 2, key.Value);
        var read = await inner.OpenReadAsync(key, range, cancellationToken);
        return read is not null && Happens(faults / 2) ? new ObjectRead(read.Info, read.Offset, read.Length, new BreakingStream(read.Content, read.Length / 2)) : read;
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        MayFail(faults / 2, key.Value);
        var info = await inner.WriteAsync(key, content, write, cancellationToken);
        MayFail(faults / 2, key.Value); // It is written, and the writer is not told.
        return info;
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        MayFail(faults, key.Value);
        return await inner.DeleteAsync(key, cancellationToken);
    }

    public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken)
    {
        MayFail(faults, prefix);
        return inner.ListAsync(prefix, startAfter, cancellationToken);
    }

    public void Dispose() => inner.Dispose();

    private bool Happens(double probability)
    {
        lock (_lock)
            return _random.NextDouble() < probability;
    }

    private void MayFail(double probability, string what)
    {
        if (Happens(probability))
            throw new StoreException(StoreError.Unavailable, $"The network failed at {what}.");
    }

    /// <summary>Ends with a fault after so many bytes.</summary>
    private sealed class BreakingStream(Stream inner, long bytes) : ForwardStream
    {
        private long _left = bytes;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_left <= 0)
                throw new StoreException(StoreError.Unavailable, "The network failed in the middle of a body.");
            var count = await inner.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _left)], cancellationToken);
            _left -= count;
            return count;
        }
    }
}
