namespace Delivery.ObjectStore;

/// <summary>What a store knows of one version of one object.</summary>
/// <param name="Key">The object's key.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Version">
/// Opaque (an ETag, a generation); compare for equality only. Different bytes under one key never share it; writing the same bytes again
/// may give the same version (S3's ETag) or a new one.
/// </param>
/// <param name="ContentType">Media type as written.</param>
/// <param name="Sha256">
/// Lower-case hex digest of the whole object, or null when the store does not know it. A bucket knows it of what was small or came with a promise
/// (<see cref="ObjectWrite.ExpectedSha256"/>), and Google's tells it in <see cref="IObjectStore.FindAsync"/> alone, as its media answers carry no metadata of ours.
/// </param>
/// <param name="LastModified">When this version was written, UTC; some stores keep whole seconds only.</param>
public sealed record ObjectInfo(ObjectKey Key, long Length, string Version, string ContentType, string? Sha256, DateTimeOffset LastModified)
{
    /// <summary>
    /// From a secondary store while the primary does not answer, of an object that may change: it was so once, and may be so no more. Never said of an object that nobody changes. Such a
    /// <see cref="Version"/> is good for no precondition.
    /// </summary>
    public bool MayBeStale { get; init; }
}

/// <summary>What a listing tells of an object: no more than S3 gives without a request per object. <see cref="IObjectStore.FindAsync"/> tells the rest.</summary>
/// <param name="Key">The object's key.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Version">As <see cref="ObjectInfo.Version"/>.</param>
/// <param name="LastModified">As <see cref="ObjectInfo.LastModified"/>.</param>
public sealed record ObjectEntry(ObjectKey Key, long Length, string Version, DateTimeOffset LastModified);

/// <summary>A part of an object.</summary>
/// <param name="Offset">First byte, from 0.</param>
/// <param name="Length">Bytes wanted, at least 1; a range that runs past the end is cut there. <see cref="long.MaxValue"/> means up to the end.</param>
public readonly record struct ObjectRange(long Offset, long Length)
{
    /// <summary>The bytes that this range selects of an object: what the drivers and their tests agree on (RFC 9110 §14.1.2).</summary>
    /// <exception cref="ArgumentOutOfRangeException">A negative offset, or a length below 1.</exception>
    /// <exception cref="StoreException"><see cref="StoreError.RangeNotSatisfiable"/> when the range starts at or past the end.</exception>
    public (long Offset, long Length) Within(long objectLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(Offset);
        ArgumentOutOfRangeException.ThrowIfLessThan(Length, 1);
        return Offset >= objectLength
            ? throw new StoreException(StoreError.RangeNotSatisfiable, $"The range starts at byte {Offset} of an object of {objectLength} bytes.")
            : (Offset, Math.Min(Length, objectLength - Offset));
    }
}

/// <summary>An open object. Dispose it, also when the content was not read to its end.</summary>
public sealed class ObjectRead(ObjectInfo info, long offset, long length, Stream content) : IAsyncDisposable
{
    /// <summary>The version that the content belongs to; its <see cref="ObjectInfo.Length"/> is the whole object's.</summary>
    public ObjectInfo Info { get; } = info;

    /// <summary>Where <see cref="Content"/> starts in the object.</summary>
    public long Offset { get; } = offset;

    /// <summary>How many bytes <see cref="Content"/> gives; a stream that ends earlier is a fault of the store.</summary>
    public long Length { get; } = length;

    /// <summary>The bytes, forward only.</summary>
    public Stream Content { get; } = content;

    public ValueTask DisposeAsync() => Content.DisposeAsync();
}

/// <summary>How to write an object.</summary>
public sealed record ObjectWrite
{
    /// <summary>Bound of <see cref="ContentType"/>: RFC 6838 §4.2 allows 127 + 1 + 127 characters without parameters.</summary>
    public const int MaxContentTypeLength = 255;

    /// <summary>Media type, stored with the object: 1 to <see cref="MaxContentTypeLength"/> printable ASCII characters.</summary>
    public required string ContentType
    {
        get;
        init => field = value.Length is > 0 and <= MaxContentTypeLength && !value.AsSpan().ContainsAnyExceptInRange(' ', '~')
            ? value
            : throw new ArgumentException($"A content type is 1 to {MaxContentTypeLength} printable ASCII characters.", nameof(value));
    }

    /// <summary>What must be true of the object that is there now; default: anything.</summary>
    public WritePrecondition Precondition { get; init; }

    /// <summary>When set, a content of another length is refused with <see cref="StoreError.LengthMismatch"/>.</summary>
    public long? ExpectedLength
    {
        get;
        init => field = value is < 0 ? throw new ArgumentOutOfRangeException(nameof(value), value, "A length is not negative.") : value;
    }

    /// <summary>When set (64 lower-case hex digits), a content of another digest is refused with <see cref="StoreError.DigestMismatch"/>.</summary>
    public string? ExpectedSha256
    {
        get;
        init => field = value is null || (value.Length == 64 && value.All(char.IsAsciiHexDigitLower))
            ? value
            : throw new ArgumentException("A SHA-256 is 64 lower-case hex digits.", nameof(value));
    }
}

/// <summary>RFC 9110 §13.1.1 and §13.1.2, as object stores implement them for writes.</summary>
public readonly record struct WritePrecondition
{
    private WritePrecondition(bool absent, string? version) => (MustBeAbsent, MustMatchVersion) = (absent, version);

    /// <summary>No condition.</summary>
    public static WritePrecondition None => default;

    /// <summary>Create only: fails when the key exists (<c>If-None-Match: *</c>, generation 0).</summary>
    public static WritePrecondition Absent => new(true, null);

    /// <summary>Replace only this version (<c>If-Match</c>, <c>ifGenerationMatch</c>).</summary>
    public static WritePrecondition Version(string version) => new(false, version);

    public bool MustBeAbsent { get; }

    public string? MustMatchVersion { get; }
}
