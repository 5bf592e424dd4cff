namespace Delivery.ObjectStore.Gcs;

/// <summary>A whole object on its way to its reader: its last bytes are given only when all of them have the CRC32C that the service keeps of it.</summary>
internal sealed class Crc32CStream(Stream body, ObjectKey key, long length, uint expected) : Stream
{
    private long _read;
    private uint _crc;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await body.ReadAsync(buffer, cancellationToken);
        _crc = Crc32C.Append(_crc, buffer.Span[..count]);
        _read += count;
        return _read < length || _crc == expected ? count
            : throw new StoreException(StoreError.Corrupt, $"'{key}' came with CRC32C {GcsObject.FormatCrc32C(_crc)}, and Cloud Storage keeps {GcsObject.FormatCrc32C(expected)}.");
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("What comes over a network is read asynchronously.");

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            body.Dispose();
        base.Dispose(disposing);
    }
}
