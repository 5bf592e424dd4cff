using Delivery.ObjectStore;

namespace Delivery.Origin.Tests;

/// <summary>The real store with a gate before each call, at which a test can count, wait or fail.</summary>
internal sealed class FaultyStore(IObjectStore inner) : IObjectStore
{
    public Func<string, CancellationToken, Task> BeforeRead { get; set; } = (_, _) => Task.CompletedTask;

    /// <summary>What becomes of the body of each read.</summary>
    public Func<string, Stream, Stream> Body { get; set; } = (_, body) => body;

    public Func<string, Task> BeforeWrite { get; set; } = _ => Task.CompletedTask;

    public Func<string, Task> BeforeList { get; set; } = _ => Task.CompletedTask;

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await BeforeRead(key.Value, cancellationToken);
        return await inner.FindAsync(key, cancellationToken);
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        await BeforeRead(key.Value, cancellationToken);
        var read = await inner.OpenReadAsync(key, range, cancellationToken);
        return read is null ? null : new(read.Info, read.Offset, read.Length, Body(key.Value, read.Content));
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        await BeforeWrite(key.Value);
        return await inner.WriteAsync(key, content, write, cancellationToken);
    }

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

    public async IAsyncEnumerable<ObjectEntry> ListAsync(
        string prefix, string? startAfter, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await BeforeList(prefix);
        await foreach (var entry in inner.ListAsync(prefix, startAfter, cancellationToken))
            yield return entry;
    }

    public void Dispose() => inner.Dispose();
}
