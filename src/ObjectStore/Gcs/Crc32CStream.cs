namespace Delivery.ObjectStore.Gcs;

/// <summary>A whole object on its way to its reader: its last bytes are given only when all of them have the CRC32C that the service keeps of it.</summary>
internal sealed class Crc32CStream(Stream body, ObjectKey key, long length, uint expected) : ForwardStream
{
    private long _read;
    private uint _crc;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await body.ReadAsync(buffer, cancellationToken);
        _crc = Crc32C.Append(_crc, buffer.Span[..count]);
        _read += count;
        return _read < length || _crc == expected ? count
            : throw new StoreException(StoreError.Corrupt, $"'{key}' came with CRC32C {GcsObject.FormatCrc32C(_crc)}, and Cloud Storage keeps {GcsObject.FormatCrc32C(expected)}.");
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            body.Dispose();
        base.Dispose(disposing);
    }
}
