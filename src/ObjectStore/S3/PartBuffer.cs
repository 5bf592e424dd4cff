using System.Buffers;

namespace Delivery.ObjectStore.S3;

/// <summary>Pooled memory for one part at a time.</summary>
internal sealed class PartBuffer : IDisposable
{
    private byte[] _rented = [];

    /// <summary>So many bytes; what stood in them may be lost.</summary>
    public Memory<byte> Of(int size)
    {
        if (_rented.Length < size)
        {
            Dispose();
            _rented = ArrayPool<byte>.Shared.Rent(size);
        }

        return _rented.AsMemory(0, size);
    }

    public void Dispose()
    {
        if (_rented.Length > 0)
            ArrayPool<byte>.Shared.Return(_rented);
        _rented = [];
    }
}
