using Delivery.ObjectStore;

namespace Delivery.Transcoder.Tests;

/// <summary>A store that fails when the test says so, and is the real one otherwise.</summary>
internal sealed class FaultyStore(IObjectStore inner) : IObjectStore
{
    /// <summary>Asked before each write with its key; an exception to throw, or null.</summary>
    public Func<string, StoreException?> OnWrite { get; set; } = _ => null;

    public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) => inner.FindAsync(key, cancellationToken);

    public ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) => inner.OpenReadAsync(key, range, cancellationToken);

    public ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken) =>
        OnWrite(key.Value) is { } fault ? throw fault : inner.WriteAsync(key, content, write, cancellationToken);

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

    public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => inner.ListAsync(prefix, startAfter, cancellationToken);

    public void Dispose() => inner.Dispose();
}
