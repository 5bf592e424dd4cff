using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// A run of bytes of an open file. The open descriptor keeps its version readable after the name has been replaced or deleted. Reads go
/// by offset straight into the caller's buffer; a buffer of our own (FileStream) would only copy once more.
/// </summary>
/// <param name="version">The version that was promised. Looked at again with the last byte: a file that somebody changed in place meanwhile would be two versions mixed.</param>
internal sealed class FileContent(SafeFileHandle file, ObjectKey key, string version, long offset, long length) : ForwardStream
{
    private long _read;

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        var wanted = (int)Math.Min(buffer.Length, length - _read);
        if (wanted == 0)
            return 0;
        try
        {
            return Account(RandomAccess.Read(file, buffer[..wanted], offset + _read));
        }
        catch (IOException e)
        {
            throw Posix.Failure($"read '{key}'", e);
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var wanted = (int)Math.Min(buffer.Length, length - _read);
        if (wanted == 0)
            return 0;
        try
        {
            return Account(await RandomAccess.ReadAsync(file, buffer[..wanted], offset + _read, cancellationToken));
        }
        catch (IOException e)
        {
            throw Posix.Failure($"read '{key}'", e);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            file.Dispose();
        base.Dispose(disposing);
    }

    private int Account(int read)
    {
        // Only somebody who cuts the file in place, behind the store's back, gets here.
        if (read == 0)
            throw new StoreException(StoreError.Corrupt, $"'{key}' ended {length - _read} bytes before the length it had when it was opened.");
        _read += read;
        if (_read == length && Posix.Status(file).Version != version)
            throw new StoreException(StoreError.Corrupt, $"'{key}' was changed in place while it was read.");
        return read;
    }
}
