using System.Collections.Concurrent;
using System.Runtime.CompilerServices;

namespace Delivery.ObjectStore.Failover;

internal enum StoreCall
{
    Find,
    Open,
    Write,
    Delete,
    List,
}

/// <summary>A real store that fails, hangs and breaks bodies when a test says so: a cloud that is away, not one that is imagined.</summary>
internal sealed class FaultyStore(IObjectStore inner) : IObjectStore
{
    private readonly ConcurrentDictionary<StoreCall, int> _calls = new();

    /// <summary>The store below, as if nothing were wrong.</summary>
    public IObjectStore Inner => inner;

    /// <summary>Every call from now on fails so; null: none. Bodies and uploads under way break too.</summary>
    public StoreError? Down { get; set; }

    /// <summary>Calls wait for this before they begin, or for their cancellation.</summary>
    public Func<StoreCall, ObjectKey?, Task?>? Waits { get; set; }

    /// <summary>Thrown by a call before it does anything.</summary>
    public Func<StoreCall, ObjectKey?, Exception?>? Fails { get; set; }

    /// <summary>Thrown by a write or delete after it has been done: the answer is lost.</summary>
    public Func<StoreCall, ObjectKey, Exception?>? LosesAnswer { get; set; }

    /// <summary>After so many bytes of a body it breaks.</summary>
    public long? BodyBreaksAfter { get; set; }

    /// <summary>After so many bytes of a body nothing more comes.</summary>
    public long? BodyHangsAfter { get; set; }

    public int Calls(StoreCall call) => _calls.GetValueOrDefault(call);

    /// <summary>Calls, those of roles and markers left out.</summary>
    public ConcurrentQueue<(StoreCall Call, string Key)> Asked { get; } = new();

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await BeginAsync(StoreCall.Find, key, cancellationToken);
        return await inner.FindAsync(key, cancellationToken);
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        await BeginAsync(StoreCall.Open, key, cancellationToken);
        var read = await inner.OpenReadAsync(key, range, cancellationToken);
        return read is null ? null : new ObjectRead(read.Info, read.Offset, read.Length, new FaultyStream(this, read.Content));
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        await BeginAsync(StoreCall.Write, key, cancellationToken);
        ObjectInfo written;
        try
        {
            written = await inner.WriteAsync(key, new FaultyStream(this, content) { IsUpload = true }, write, cancellationToken);
        }
        catch (StoreException e) when (e.Error == StoreError.ContentFailed && Down is { } error)
        {
            throw new StoreException(error, $"The store went away in mid-upload of '{key}'.", e);
        }

        return LosesAnswer?.Invoke(StoreCall.Write, key) is { } lost ? throw lost : written;
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await BeginAsync(StoreCall.Delete, key, cancellationToken);
        var deleted = await inner.DeleteAsync(key, cancellationToken);
        return LosesAnswer?.Invoke(StoreCall.Delete, key) is { } lost ? throw lost : deleted;
    }

    public async IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await BeginAsync(StoreCall.List, null, cancellationToken);
        await foreach (var entry in inner.ListAsync(prefix, startAfter, cancellationToken))
            yield return entry;
    }

    public void Dispose() => inner.Dispose();

    private async ValueTask BeginAsync(StoreCall call, ObjectKey? key, CancellationToken cancellationToken)
    {
        _calls.AddOrUpdate(call, 1, static (_, n) => n + 1);
        if (key is { } asked && !StoreKeys.IsStoresOwn(asked))
            Asked.Enqueue((call, asked.Value));
        if (Waits?.Invoke(call, key) is { } gate)
            await gate.WaitAsync(cancellationToken);
        Check();
        if (Fails?.Invoke(call, key) is { } failure)
            throw failure;
    }

    private void Check()
    {
        if (Down is { } error)
            throw new StoreException(error, "The store is down.");
    }

    private sealed class FaultyStream(FaultyStore store, Stream stream) : ForwardStream
    {
        private long _given;

        public bool IsUpload { get; init; }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            store.Check();
            if (!IsUpload)
            {
                if (_given >= store.BodyBreaksAfter)
                    throw new StoreException(StoreError.Unavailable, "The connection was reset.");
                if (_given >= store.BodyHangsAfter)
                    await Task.Delay(Timeout.Infinite, cancellationToken);
                var limit = Math.Min(store.BodyBreaksAfter ?? long.MaxValue, store.BodyHangsAfter ?? long.MaxValue) - _given;
                buffer = buffer[..(int)Math.Min(buffer.Length, limit)];
            }

            var count = await stream.ReadAsync(buffer, cancellationToken);
            _given += count;
            store.Check();
            return count;
        }

        public override async ValueTask DisposeAsync()
        {
            if (!IsUpload)
                await stream.DisposeAsync();
            await base.DisposeAsync();
        }
    }
}

/// <summary>Two real stores in folders, each with its faults, and what stands on them.</summary>
internal sealed class StorePair : IAsyncDisposable
{
    private readonly Files.TempFolder _first = new();
    private readonly Files.TempFolder _second = new();
    private readonly List<FailoverStore> _opened = [];

    public StorePair() => (First, Second) = (new(FileStore.Open(_first.Path)), new(FileStore.Open(_second.Path)));

    public ManualTime Time { get; } = new();

    public string SecondPath => _second.Path;

    public FaultyStore First { get; }

    public FaultyStore Second { get; }

    /// <summary>A node over both. Disposed with the pair.</summary>
    public FailoverStore Open(FailoverOptions? options = null, TimeProvider? time = null, int queueBound = Replicator.QueueBound)
    {
        var store = FailoverStore.Open(new Shared(First), new Shared(Second), options ?? new(), null, time ?? Time, queueBound);
        _opened.Add(store);
        return store;
    }

    public async ValueTask DisposeAsync()
    {
        (First.Waits, Second.Waits) = (null, null);
        foreach (var store in _opened)
            await store.DisposeAsync();
        First.Dispose();
        Second.Dispose();
        _first.Dispose();
        _second.Dispose();
    }

    /// <summary>Waits, in real time and with a bound, for what other tasks bring about; moves the manual clock meanwhile.</summary>
    public async Task UntilAsync(Func<ValueTask<bool>> condition, string what, TimeSpan? step = null)
    {
        for (var i = 0; i < 3000; i++)
        {
            if (await condition())
                return;
            if (step is { } by)
                Time.Advance(by);
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }

        Assert.Fail($"Not within 30 s: {what}");
    }

    public Task UntilAsync(Func<bool> condition, string what, TimeSpan? step = null) => UntilAsync(() => new ValueTask<bool>(condition()), what, step);

    public static async Task<byte[]?> BytesAsync(IObjectStore store, string key) => (await store.GetAsync(ObjectKey.Parse(key)))?.Bytes;

    /// <summary>Keys that are not a store's own.</summary>
    public static async Task<List<string>> KeysAsync(IObjectStore store) =>
        [.. (await store.EntriesAsync()).Select(e => e.Key).Where(k => !StoreKeys.IsStoresOwn(k)).Select(k => k.Value)];

    public static async Task<List<string>> MarkersAsync(IObjectStore store) => [.. (await store.EntriesAsync(ReplicationMarker.Prefix)).Select(e => e.Key.Value)];

    /// <summary>Nodes come and go; the stores are the pair's.</summary>
    private sealed class Shared(IObjectStore inner) : IObjectStore
    {
        public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) => inner.FindAsync(key, cancellationToken);

        public ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) => inner.OpenReadAsync(key, range, cancellationToken);

        public ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken) => inner.WriteAsync(key, content, write, cancellationToken);

        public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

        public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => inner.ListAsync(prefix, startAfter, cancellationToken);

        public void Dispose()
        {
        }
    }
}
