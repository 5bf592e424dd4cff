using System.Collections.Concurrent;

namespace Delivery.Origin.Catalog;

/// <summary>
/// Manifests by id for playback, bounded and fresh: one read serves everybody who asks for the same id at once, and an answer, also
/// "there is none", is trusted for <paramref name="freshness"/>, and one that may be stale for a moment only: the outage that it comes from should not outlast itself here. A failed read is
/// not kept.
/// </summary>
/// <remarks>
/// Two generations bound it without a list to maintain: a full young generation becomes the old one, and a hit in the old one moves to the
/// young. What nobody asked for during a whole generation is gone.
/// </remarks>
internal sealed class CatalogCache<T>(
    int capacity, TimeSpan freshness, TimeSpan readTimeout, TimeProvider time, Func<T, bool> mayBeStale, Func<string, CancellationToken, Task<T?>> read)
    where T : class
{
    /// <summary>A store's breaker asks no more often than that what a whole crowd wants.</summary>
    public static readonly TimeSpan StaleFreshness = TimeSpan.FromSeconds(1);

    private readonly Lock _turn = new();
    private ConcurrentDictionary<string, Entry> _young = new(StringComparer.Ordinal);
    private ConcurrentDictionary<string, Entry> _old = new(StringComparer.Ordinal);

    /// <summary>Entries in memory, at most the capacity and the few that were being added while a generation turned.</summary>
    public int Count => Volatile.Read(ref _young).Count + Volatile.Read(ref _old).Count;

    public Task<T?> GetAsync(string id, CancellationToken cancellationToken)
    {
        if (TryFind(id, out var entry) && IsFresh(entry))
            return entry.Value.Value.WaitAsync(cancellationToken);

        var young = Volatile.Read(ref _young);
        var fresh = new Entry(time.GetTimestamp(), new Lazy<Task<T?>>(() => ReadAsync(id)));
        entry = young.AddOrUpdate(id, static (_, made) => made.fresh, static (_, there, made) => made.self.IsFresh(there) ? there : made.fresh, (fresh, self: this));
        if (young.Count > capacity / 2)
            Turn(young);
        return entry.Value.Value.WaitAsync(cancellationToken);
    }

    /// <summary>Forgets an id, for a write of our own.</summary>
    public void Remove(string id)
    {
        Volatile.Read(ref _young).TryRemove(id, out _);
        Volatile.Read(ref _old).TryRemove(id, out _);
    }

    private bool TryFind(string id, out Entry entry)
    {
        var young = Volatile.Read(ref _young);
        if (young.TryGetValue(id, out entry!))
            return true;
        if (!Volatile.Read(ref _old).TryRemove(id, out entry!))
            return false;
        young.TryAdd(id, entry);
        return true;
    }

    private bool IsFresh(Entry entry)
    {
        var age = time.GetElapsedTime(entry.Since);
        if (!entry.Value.IsValueCreated || !entry.Value.Value.IsCompleted)
            return age < freshness || (entry.Value.IsValueCreated && age < readTimeout);
        return age < freshness && (age < StaleFreshness || !entry.Value.Value.IsCompletedSuccessfully || entry.Value.Value.Result is not { } value || !mayBeStale(value));
    }

    private async Task<T?> ReadAsync(string id)
    {
        // Off the asker's token: whoever leaves must not fail the others.
        using var timeout = new CancellationTokenSource(readTimeout, time);
        try
        {
            return await read(id, timeout.Token);
        }
        catch
        {
            Remove(id);
            throw;
        }
    }

    private void Turn(ConcurrentDictionary<string, Entry> full)
    {
        lock (_turn)
        {
            if (!ReferenceEquals(_young, full))
                return;
            Volatile.Write(ref _old, full);
            Volatile.Write(ref _young, new(StringComparer.Ordinal));
        }
    }

    private sealed record Entry(long Since, Lazy<Task<T?>> Value);
}
