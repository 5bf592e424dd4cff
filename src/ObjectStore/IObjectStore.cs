namespace Delivery.ObjectStore;

/// <summary>
/// The source of truth: immutable audio and masters, and manifests written with preconditions.
/// A small contract without optional members; every driver passes the same conformance suite (tests/ObjectStore).
/// </summary>
/// <remarks>
/// Expected absence is a value (<c>null</c>, <c>false</c>); everything else that goes wrong is a <see cref="StoreException"/> that says
/// whose fault it is and whether a retry can help. A write is visible whole or not at all.
/// </remarks>
public interface IObjectStore : IDisposable
{
    /// <summary>Reads an object's metadata, or null when there is no such object.</summary>
    ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken);

    /// <summary>
    /// Opens an object, or the part of it that <paramref name="range"/> selects; null when there is no such object.
    /// The caller disposes the result. All bytes come from the one version that <see cref="ObjectRead.Info"/> names.
    /// </summary>
    /// <exception cref="StoreException"><see cref="StoreError.RangeNotSatisfiable"/> when the range starts at or past the end.</exception>
    ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken);

    /// <summary>
    /// Writes an object from a stream in constant memory and commits it atomically and durably: when this returns, the object survives a
    /// power cut; when it throws, nothing of it is visible (and an earlier version stays as it was). The one exception is
    /// <see cref="StoreError.Unavailable"/>, where the answer may have been lost after the commit: a caller that must know, reads.
    /// </summary>
    /// <remarks>The precondition may be judged before <paramref name="content"/> is read; it is always judged at the commit.</remarks>
    /// <exception cref="StoreException">
    /// <see cref="StoreError.PreconditionFailed"/>, <see cref="StoreError.DigestMismatch"/>, <see cref="StoreError.LengthMismatch"/>,
    /// <see cref="StoreError.ContentFailed"/>, <see cref="StoreError.KeyRefused"/>, <see cref="StoreError.Full"/>,
    /// <see cref="StoreError.Denied"/>, <see cref="StoreError.Unavailable"/>.
    /// </exception>
    /// <exception cref="OperationCanceledException">The token was cancelled before the commit.</exception>
    ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken);

    /// <summary>
    /// Deletes an object; false when there was none. Of several deletes at the same time more than one may say true (S3 does not tell them apart).
    /// </summary>
    ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken);

    /// <summary>
    /// Lists the objects whose key starts with <paramref name="prefix"/>, in ordinal order of the keys' UTF-8 bytes, after
    /// <paramref name="startAfter"/> when it is given. Objects written or deleted meanwhile may or may not appear.
    /// </summary>
    IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken);
}
