using System.Buffers.Binary;

namespace Delivery.Cli.Soak;

/// <summary>
/// The bytes of one version of one object, computable at any offset: what the edge sends is judged without reading the store. Every byte depends on
/// seed, object, version and place, so one from elsewhere is seen (by chance once in 256; eight of them never).
/// </summary>
internal readonly struct SoakContent(ulong seed, int number, int version)
{
    private readonly ulong _start = Mix(Mix(Mix(seed) ^ (uint)number) ^ (uint)version);

    public void Fill(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var word = Word(offset >> 3);
            var skip = (int)(offset & 7);
            if (skip == 0 && destination.Length >= sizeof(ulong))
            {
                BinaryPrimitives.WriteUInt64LittleEndian(destination, word);
                destination = destination[sizeof(ulong)..];
                offset += sizeof(ulong);
                continue;
            }

            destination[0] = (byte)(word >> (skip * 8));
            destination = destination[1..];
            offset++;
        }
    }

    /// <summary>How many of the bytes, from the first on, are the ones at this offset.</summary>
    public int CountRight(long offset, ReadOnlySpan<byte> bytes)
    {
        for (var position = 0; position < bytes.Length;)
        {
            var word = Word((offset + position) >> 3);
            var skip = (int)((offset + position) & 7);
            if (skip == 0 && bytes.Length - position >= sizeof(ulong))
            {
                if (BinaryPrimitives.ReadUInt64LittleEndian(bytes[position..]) == word)
                {
                    position += sizeof(ulong);
                    continue;
                }
            }

            if (bytes[position] != (byte)(word >> (skip * 8)))
                return position;
            position++;
        }

        return bytes.Length;
    }

    private ulong Word(long index) => Mix(_start + (ulong)index * 0x9E3779B97F4A7C15);

    // splitmix64's finalizer: some 5 GB/s on one core, so that judging costs less than receiving.
    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}

/// <summary>An object's content as a stream, for the store to receive.</summary>
internal sealed class SoakContentStream(SoakContent content, long length) : Stream
{
    private long _position;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => length;

    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer)
    {
        var count = (int)Math.Min(buffer.Length, length - _position);
        content.Fill(_position, buffer[..count]);
        _position += count;
        return count;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(Read(buffer.Span));

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => Task.FromResult(Read(buffer.AsSpan(offset, count)));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
