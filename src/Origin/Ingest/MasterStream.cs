using System.Security.Cryptography;
using Delivery.ObjectStore;
using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Ingest;

/// <summary>An upload's body on its way to the store: counts, hashes, holds to its bound, and remembers how its source failed, however the store wraps that.</summary>
internal sealed class MasterStream(Stream body, long maxBytes) : ForwardStream
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public long Bytes { get; private set; }

    /// <summary>What the client's side threw; null when the body was fine.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Lower-case hex of what was read so far.</summary>
    public string Sha256() => Convert.ToHexStringLower(_hash.GetCurrentHash());

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            var read = await body.ReadAsync(buffer, cancellationToken);
            _hash.AppendData(buffer.Span[..read]);
            Bytes += read;
            // The server's own bound counts the framing of chunks as well, so it would refuse a master of exactly the bound.
            return Bytes <= maxBytes ? read : throw new BadHttpRequestException("The master is too large.", StatusCodes.Status413PayloadTooLarge);
        }
        catch (Exception e)
        {
            Failure = e;
            throw;
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _hash.Dispose();
        base.Dispose(disposing);
    }
}
