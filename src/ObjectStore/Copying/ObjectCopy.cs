using System.Buffers;
using System.Security.Cryptography;

namespace Delivery.ObjectStore.Copying;

/// <summary>How <see cref="ObjectCopy.EnsureAsync"/> ended. The name is also the metric label and the log word.</summary>
public enum CopyOutcome
{
    /// <summary>The target has the source's bytes now, and had others or none before.</summary>
    Copied,

    /// <summary>The target had them already.</summary>
    Equal,

    /// <summary>Both have as many bytes, no digest tells whether the same ones, and nobody asked to read them all (<see cref="CopyOptions.Verify"/>).</summary>
    NotCompared,

    /// <summary>The source has no such object. Of the target nothing was changed.</summary>
    Absent,

    /// <summary>The source has no such object, and now the target has none either.</summary>
    Deleted,
}

/// <param name="Outcome">How it ended.</param>
/// <param name="Bytes">Of the object, when it was copied; else 0.</param>
public readonly record struct CopyResult(CopyOutcome Outcome, long Bytes);

/// <summary>How to copy and to compare.</summary>
public sealed record CopyOptions
{
    public static CopyOptions Default { get; } = new();

    /// <summary>Read and hash objects in both stores where they do not both tell a digest, whatever their size; what was copied is then read back.</summary>
    public bool Verify { get; init; }

    /// <summary>Delete the target's object when the source has none. Only for who knows that it was deleted: an absence may be a fault.</summary>
    public bool DeleteWhenAbsent { get; init; }

    /// <summary>Told of bytes as they go over, from several threads. Bytes of a copy that fails and is made again are told twice.</summary>
    public Action<long>? BytesCopied { get; init; }
}

/// <summary>Makes one object of a store what it is in another: verified, in constant memory, and converging whoever else does the same.</summary>
public static class ObjectCopy
{
    /// <summary>Up to here an object is read into memory and hashed, so that the target learns its digest and a comparison needs none.</summary>
    public const int SmallBytes = 1 << 20;

    /// <summary>How often it begins again because the object changes under it. Each one is somebody else's write that got through.</summary>
    public const int MaxRounds = 16;

    private const int MaxUnlike = 3;

    private const string UnknownType = "application/octet-stream";

    private static readonly TimeSpan MaxPause = TimeSpan.FromMilliseconds(40);

    /// <summary>Makes <paramref name="key"/> in <paramref name="to"/> what it is in <paramref name="from"/>.</summary>
    /// <remarks>
    /// <code>
    /// 1 what the target has (T) ─▶ 2 what the source has (S) ─▶ 3 equal? done ─▶ 4 copy S if the target still has T ─▶ 5 the source still has S? done, else 1
    /// </code>
    /// As T is read before S, nobody's older copy replaces a newer one (4), and the last copy of all is followed by a look at the source (5): so any number of copiers end with the source's
    /// last word. A delete has no condition, so it too is followed by a look.
    /// </remarks>
    /// <exception cref="StoreException">
    /// What either store said, the message saying which. <see cref="StoreError.Corrupt"/>: the source's bytes are not of its own digest or length, or the target's are not those that were
    /// written. <see cref="StoreError.Unavailable"/> also when the object changed <see cref="MaxRounds"/> times meanwhile.
    /// </exception>
    public static async ValueTask<CopyResult> EnsureAsync(IObjectStore from, IObjectStore to, ObjectKey key, CopyOptions options, CancellationToken cancellationToken)
    {
        var copied = 0L;
        var unlike = 0;
        string? copiedVersion = null;
        for (var round = 0; round < MaxRounds; round++)
        {
            if (round > 1)
                await Task.Delay(MaxPause * Random.Shared.NextDouble(), cancellationToken);

            // 1, 2.
            var there = await In(to, "target", key, s => s.FindAsync(key, cancellationToken));
            var source = await In(from, "source", key, s => s.FindAsync(key, cancellationToken));
            if (source is null)
            {
                if (there is null || !options.DeleteWhenAbsent)
                    return new(CopyOutcome.Absent, 0);
                await In(to, "target", key, s => s.DeleteAsync(key, cancellationToken));
                if (await In(from, "source", key, s => s.FindAsync(key, cancellationToken)) is null)
                    return new(CopyOutcome.Deleted, 0);
                continue;
            }

            // 3.
            if (there is not null)
            {
                switch (await AreSameAsync(from, source, to, there, options.Verify, cancellationToken))
                {
                    case true:
                        return copiedVersion is null ? new(CopyOutcome.Equal, 0) : new(CopyOutcome.Copied, copied);
                    case null:
                        return copiedVersion is null ? new(CopyOutcome.NotCompared, 0) : new(CopyOutcome.Copied, copied);
                }

                // Once, somebody else's copy may have come between.
                if (options.Verify && copiedVersion == source.Version && ++unlike == MaxUnlike)
                    throw new StoreException(StoreError.Corrupt, $"The target gives other bytes of '{key}' than were just written to it, or somebody else writes there.");
            }

            // 4.
            if (!await TryCopyAsync(from, source, to, there, options, cancellationToken))
                continue;
            (copied, copiedVersion) = (source.Length, source.Version);

            // 5. A copy that is to be verified goes round once more, for step 3.
            if (!options.Verify && (await In(from, "source", key, s => s.FindAsync(key, cancellationToken)))?.Version == source.Version)
                return new(CopyOutcome.Copied, copied);
        }

        throw new StoreException(StoreError.Unavailable, $"'{key}' changed {MaxRounds} times while it was copied.");
    }

    /// <summary>Whether two objects have the same bytes: by length, by digest where both tell one, by their bytes when they are small or <paramref name="verify"/> says so; else null.</summary>
    internal static async ValueTask<bool?> AreSameAsync(IObjectStore from, ObjectInfo source, IObjectStore to, ObjectInfo target, bool verify, CancellationToken cancellationToken)
    {
        if (source.Length != target.Length)
            return false;
        if (source.Sha256 is { } one && target.Sha256 is { } other)
            return one == other;
        if (!verify && source.Length > SmallBytes)
            return null;
        var hashes = await Task.WhenAll(
            source.Sha256 is { } known ? Task.FromResult<string?>(known) : In(from, "source", source.Key, s => HashAsync(s, source.Key, cancellationToken)).AsTask(),
            target.Sha256 is { } known2 ? Task.FromResult<string?>(known2) : In(to, "target", target.Key, s => HashAsync(s, target.Key, cancellationToken)).AsTask());
        // Null: it has just been deleted, so the two differ.
        return hashes[0] is not null && hashes[0] == hashes[1];
    }

    private static async ValueTask<bool> TryCopyAsync(IObjectStore from, ObjectInfo source, IObjectStore to, ObjectInfo? there, CopyOptions options, CancellationToken cancellationToken)
    {
        var key = source.Key;
        await using var read = await In(from, "source", key, s => s.OpenReadAsync(key, null, cancellationToken));
        if (read is null || read.Info.Version != source.Version)
            return false;
        await using var content = new SourceContent(read.Content, options.BytesCopied);
        try
        {
            var (body, sha256) = source.Length <= SmallBytes ? await InMemoryAsync(content, source, cancellationToken) : ((Stream)content, source.Sha256);
            await to.WriteAsync(key, body, new ObjectWrite
            {
                ContentType = IsContentType(source.ContentType) ? source.ContentType : UnknownType,
                ExpectedLength = source.Length,
                ExpectedSha256 = sha256,
                Precondition = there is null ? WritePrecondition.Absent : WritePrecondition.Version(there.Version),
            }, cancellationToken);
            return true;
        }
        catch (StoreException e) when (e.Error == StoreError.PreconditionFailed && content.Failure is null)
        {
            return false;
        }
        catch (Exception e) when (content.Failure is not null && !cancellationToken.IsCancellationRequested)
        {
            // Some stores break off a read whose object is replaced.
            if ((await In(from, "source", key, s => s.FindAsync(key, cancellationToken)))?.Version != source.Version)
                return false;
            throw Told("source", key, content.Failure as StoreException ?? new StoreException(StoreError.Unavailable, content.Failure.Message, e));
        }
        catch (StoreException e) when (e.Error is StoreError.DigestMismatch or StoreError.LengthMismatch)
        {
            throw Told("source", key, new StoreException(StoreError.Corrupt, $"Its bytes are not what it says of them. {e.Message}", e));
        }
        catch (StoreException e)
        {
            throw Told("target", key, e);
        }
    }

    private static async ValueTask<(Stream Body, string? Sha256)> InMemoryAsync(SourceContent content, ObjectInfo source, CancellationToken cancellationToken)
    {
        var bytes = new byte[source.Length];
        var count = await content.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);
        if (count < bytes.Length)
            throw new StoreException(StoreError.LengthMismatch, $"It ended {bytes.Length - count} bytes early.");
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes));
        if (source.Sha256 is { } told && told != sha256)
            throw new StoreException(StoreError.DigestMismatch, $"They have SHA-256 {sha256}, not {told}.");
        return (new MemoryStream(bytes, writable: false), sha256);
    }

    private static async ValueTask<string?> HashAsync(IObjectStore store, ObjectKey key, CancellationToken cancellationToken)
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return null;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = ArrayPool<byte>.Shared.Rent(128 * 1024);
        try
        {
            var left = read.Length;
            int count;
            while ((count = await read.Content.ReadAsync(buffer, cancellationToken)) > 0)
            {
                hash.AppendData(buffer, 0, count);
                left -= count;
            }

            return left == 0 ? Convert.ToHexStringLower(hash.GetHashAndReset()) : throw new StoreException(StoreError.Unavailable, $"It ended {left} bytes early.");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static async ValueTask<T> In<T>(IObjectStore store, string role, ObjectKey key, Func<IObjectStore, ValueTask<T>> call)
    {
        try
        {
            return await call(store);
        }
        catch (StoreException e)
        {
            throw Told(role, key, e);
        }
    }

    private static StoreException Told(string role, ObjectKey key, StoreException e) => new(e.Error, $"Copying '{key}', the {role} failed: {e.Message}", e);

    private static bool IsContentType(string text) => text.Length is > 0 and <= ObjectWrite.MaxContentTypeLength && !text.AsSpan().ContainsAnyExceptInRange(' ', '~');

    /// <summary>Remembers that it was the source that broke: a driver calls everything that its content throws the content's fault.</summary>
    private sealed class SourceContent(Stream content, Action<long>? told) : ForwardStream
    {
        public Exception? Failure { get; private set; }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                var count = await content.ReadAsync(buffer, cancellationToken);
                told?.Invoke(count);
                return count;
            }
            catch (Exception e)
            {
                Failure = e;
                throw;
            }
        }
    }
}
