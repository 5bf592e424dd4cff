using System.Security.Cryptography;

namespace Delivery.Transcoder.Verification;

/// <summary>Digests of a whole file and of its aligned chunks, in one read.</summary>
/// <param name="Length">Bytes.</param>
/// <param name="Sha256">Lower-case hex.</param>
/// <param name="ChunkSha256">Lower-case hex, one per <see cref="ChunkBytes"/>; the last chunk may be shorter.</param>
internal sealed record FileDigests(long Length, string Sha256, IReadOnlyList<string> ChunkSha256)
{
    /// <summary>The edge's chunk.</summary>
    public const int ChunkBytes = 131_072;

    public static async Task<FileDigests> ComputeAsync(string path, CancellationToken cancellationToken)
    {
        await using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.Asynchronous | FileOptions.SequentialScan);
        using var whole = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var chunks = new List<string>();
        var buffer = new byte[ChunkBytes];
        long length = 0;
        int read;
        while ((read = await file.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken)) > 0)
        {
            var chunk = buffer.AsSpan(0, read);
            whole.AppendData(chunk);
            chunks.Add(Convert.ToHexStringLower(SHA256.HashData(chunk)));
            length += read;
        }

        return new FileDigests(length, Convert.ToHexStringLower(whole.GetHashAndReset()), chunks);
    }
}
