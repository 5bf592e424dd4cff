using Delivery.ObjectStore;

namespace Delivery.Cli.Stores;

/// <summary>Bytes by a seed, of a length that the reader is not told, as an upload's body is; it breaks where it is told to.</summary>
/// <param name="seed">Tells contents apart.</param>
/// <param name="length">Bytes.</param>
/// <param name="breakAfter">Bytes after which reading throws; null: never.</param>
internal sealed class SampleContent(int seed, long length, long? breakAfter = null) : ForwardStream
{
    private readonly Random _random = new(seed);
    private readonly byte[] _word = new byte[sizeof(long)];
    private long _position;

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        if (_position >= breakAfter)
            throw new IOException("The content breaks here, as the check wants it.");
        // Whole words, so that the bytes do not depend on how they are read.
        var count = 0;
        while (count < buffer.Length && _position < length)
        {
            if (_position % sizeof(long) == 0)
                BitConverter.TryWriteBytes(_word, _random.NextInt64());
            buffer[count++] = _word[_position++ % sizeof(long)];
        }

        return count;
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return new(Read(buffer.Span));
    }
}
