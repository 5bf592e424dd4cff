using Delivery.ObjectStore;

namespace Delivery.Cli.Tests.Stores;

/// <summary>A real store with one fault of servers that call themselves compatible.</summary>
internal sealed class BentStore(IObjectStore inner) : IObjectStore
{
    public bool IgnoresPreconditions { get; init; }

    /// <summary>Judges a precondition before the content is read and never again.</summary>
    public bool ChecksTooEarly { get; init; }

    public bool LosesDigests { get; init; }

    public bool IgnoresRanges { get; init; }

    public bool KeepsBrokenUploads { get; init; }

    public bool HidesFromListing { get; init; }

    /// <summary>What each call ends with before it does anything: the call's name and its key or prefix.</summary>
    public Func<string, string, StoreError?> Fails { get; set; } = (_, _) => null;

    /// <summary>Called after each write, with its key.</summary>
    public Action<string> Written { get; set; } = _ => { };

    public TimeSpan ClockOff { get; init; }

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        Fail("find", key.Value);
        return Bend(await inner.FindAsync(key, cancellationToken));
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        Fail("read", key.Value);
        var read = await inner.OpenReadAsync(key, IgnoresRanges ? null : range, cancellationToken);
        return read is null ? null : new(Bend(read.Info)!, read.Offset, read.Length, read.Content);
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        Fail("write", key.Value);
        if (ChecksTooEarly && write.Precondition.MustBeAbsent)
        {
            if (await inner.FindAsync(key, cancellationToken) is not null)
                throw new StoreException(StoreError.PreconditionFailed, "It is there.");
            await Task.Delay(20, cancellationToken);
            write = write with { Precondition = WritePrecondition.None };
        }

        if (IgnoresPreconditions)
            write = write with { Precondition = WritePrecondition.None };
        if (KeepsBrokenUploads)
            content = new Forgiving(content);
        var info = await inner.WriteAsync(key, content, write, cancellationToken);
        Written(key.Value);
        return info with { LastModified = info.LastModified + ClockOff };
    }

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        Fail("delete", key.Value);
        return inner.DeleteAsync(key, cancellationToken);
    }

    public async IAsyncEnumerable<ObjectEntry> ListAsync(
        string prefix, string? startAfter, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Fail("list", prefix);
        await foreach (var entry in inner.ListAsync(prefix, startAfter, cancellationToken))
        {
            if (!HidesFromListing)
                yield return entry;
        }
    }

    public void Dispose() => inner.Dispose();

    private ObjectInfo? Bend(ObjectInfo? info) => info is not null && LosesDigests ? info with { Sha256 = null } : info;

    private void Fail(string call, string key)
    {
        if (Fails(call, key) is { } error)
            throw new StoreException(error, "As scripted.");
    }

    /// <summary>Takes a content that breaks for one that ends.</summary>
    private sealed class Forgiving(Stream content) : MemoryStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await content.ReadAsync(buffer, cancellationToken);
            }
            catch (IOException)
            {
                return 0;
            }
        }
    }
}
