using System.Buffers;
using System.Security.Cryptography;

namespace Delivery.ObjectStore.Remote;

/// <summary>
/// The caller's content on its way into a store: counted, digested, and held to what was promised of it. Whatever goes wrong here is the content's fault, and said so.
/// </summary>
internal sealed class ContentReader(ObjectKey key, Stream content, ObjectWrite write, bool withCrc32C = false) : IDisposable
{
    /// <summary>What <see cref="FillAsync"/> reads ahead, so that it knows the last bytes when it gives them.</summary>
    private const int AheadBytes = 64 * 1024;

    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private byte[]? _ahead;
    private int _aheadCount;
    private string? _sha256;

    /// <summary>Bytes that were read.</summary>
    public long Length { get; private set; }

    /// <summary>Everything has been given, and it is what was promised.</summary>
    public bool AtEnd => _sha256 is not null && _aheadCount == 0;

    /// <summary>Of the whole content, lower-case hex, once it has ended.</summary>
    public string Sha256 => _sha256 ?? throw new InvalidOperationException("The content has not been read to its end.");

    /// <summary>Of what was read, when it was asked for.</summary>
    public uint Crc32C { get; private set; }

    /// <summary>Reads a piece as it comes; 0 at the end, when every promise has been kept.</summary>
    /// <exception cref="StoreException"><see cref="StoreError.ContentFailed"/>, <see cref="StoreError.LengthMismatch"/>, <see cref="StoreError.DigestMismatch"/>.</exception>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (_sha256 is not null)
            return 0;
        int read;
        try
        {
            read = await content.ReadAsync(buffer, cancellationToken);
        }
        catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            throw new StoreException(StoreError.ContentFailed, $"The content of '{key}' failed after {Length} bytes: {e.Message}", e);
        }

        if (read == 0)
        {
            End();
            return 0;
        }

        if (Length + read > write.ExpectedLength)
            throw new StoreException(StoreError.LengthMismatch, $"The content of '{key}' is longer than the {write.ExpectedLength} bytes promised.");
        Length += read;
        _hash.AppendData(buffer.Span[..read]);
        if (withCrc32C)
            Crc32C = ObjectStore.Crc32C.Append(Crc32C, buffer.Span[..read]);
        return read;
    }

    /// <summary>
    /// Fills the buffer, unless the content ends in it. When it gives the last bytes it has seen the end (<see cref="AtEnd"/>) and judged the promises: a server never gets a whole content that is refused.
    /// </summary>
    /// <inheritdoc cref="ReadAsync" path="/exception"/>
    public async ValueTask<int> FillAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        _ahead ??= ArrayPool<byte>.Shared.Rent(AheadBytes);
        var filled = Math.Min(_aheadCount, buffer.Length);
        _ahead.AsSpan(0, filled).CopyTo(buffer.Span);
        _ahead.AsSpan(filled, _aheadCount - filled).CopyTo(_ahead);
        _aheadCount -= filled;
        while (filled < buffer.Length && _sha256 is null)
            filled += await ReadAsync(buffer[filled..], cancellationToken);
        if (_aheadCount == 0)
            _aheadCount = await ReadAsync(_ahead.AsMemory(0, AheadBytes), cancellationToken);
        return filled;
    }

    public void Dispose()
    {
        _hash.Dispose();
        if (_ahead is not null)
            ArrayPool<byte>.Shared.Return(_ahead);
        _ahead = null;
    }

    private void End()
    {
        if (write.ExpectedLength is { } expected && expected != Length)
            throw new StoreException(StoreError.LengthMismatch, $"The content of '{key}' has {Length} bytes, not the {expected} promised.");
        var sha256 = Convert.ToHexStringLower(_hash.GetHashAndReset());
        if (write.ExpectedSha256 is { } digest && digest != sha256)
            throw new StoreException(StoreError.DigestMismatch, $"The content of '{key}' has SHA-256 {sha256}, not the {digest} promised.");
        _sha256 = sha256;
    }
}
