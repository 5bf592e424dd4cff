using System.Runtime.CompilerServices;

namespace Delivery.ObjectStore.Copying;

/// <summary>How one key stands in two stores. The name is also the log word.</summary>
public enum KeyState
{
    /// <summary>The same bytes in both.</summary>
    Equal,

    /// <summary>As long in both; no digest tells more, and nobody asked to read them (<see cref="CopyOptions.Verify"/>).</summary>
    NotCompared,

    /// <summary>Not in the target.</summary>
    Missing,

    /// <summary>Other bytes in the target.</summary>
    Different,

    /// <summary>In the target only.</summary>
    Extra,
}

/// <summary>One key of a comparison.</summary>
/// <param name="Key">In the order of both listings: who begins again after this key has lost nothing.</param>
/// <param name="State">How it stands.</param>
/// <param name="SourceLength">Bytes in the source, or null where it has none.</param>
/// <param name="TargetLength">Bytes in the target, or null where it has none.</param>
public sealed record ComparedKey(ObjectKey Key, KeyState State, long? SourceLength, long? TargetLength);

/// <summary>What of two stores is compared, and how.</summary>
public sealed record ComparisonOptions
{
    public string Prefix { get; init; } = "";

    /// <summary>Begin after this key: the last one that an earlier run told.</summary>
    public string? StartAfter { get; init; }

    /// <summary>As <see cref="CopyOptions.Verify"/>.</summary>
    public bool Verify { get; init; }

    /// <summary>Keys under way at once. 1 to 256. Default 16: a look at two clouds takes 50 ms, so 320 a second.</summary>
    public int Concurrency
    {
        get;
        init => field = value is >= 1 and <= 256 ? value : throw new ArgumentOutOfRangeException(nameof(value), value, "1 to 256.");
    } = 16;
}

/// <summary>Two stores side by side: both listings are merged in their order, so memory does not grow with them.</summary>
public static class StoreComparison
{
    /// <summary>
    /// Tells how every key of either store stands, in order; all of them, so that progress can be shown and a run be resumed. What is a store's own (<see cref="StoreKeys.IsStoresOwn"/>) is passed over.
    /// </summary>
    /// <exception cref="StoreException">Of either store.</exception>
    public static IAsyncEnumerable<ComparedKey> CompareAsync(IObjectStore from, IObjectStore to, ComparisonOptions options, CancellationToken cancellationToken) =>
        EachAsync(from, to, options, (pair, token) => CompareAsync(from, to, pair, options.Verify, token), cancellationToken);

    /// <summary>How one key stands now.</summary>
    internal static async Task<ComparedKey> CompareAsync(IObjectStore from, IObjectStore to, KeyPair pair, bool verify, CancellationToken cancellationToken)
    {
        var (key, source, target) = pair;
        // Lengths that differ, and absence, need no further question.
        var state = source is null ? KeyState.Extra : target is null ? KeyState.Missing : source != target ? KeyState.Different : (KeyState?)null;
        if (state is { } known)
            return new(key, known, source, target);
        var (inSource, inTarget) = (await from.FindAsync(key, cancellationToken), await to.FindAsync(key, cancellationToken));
        if (inSource is null || inTarget is null)
            return new(key, inSource is null ? (inTarget is null ? KeyState.Equal : KeyState.Extra) : KeyState.Missing, inSource?.Length, inTarget?.Length);
        return new(key, await ObjectCopy.AreSameAsync(from, inSource, to, inTarget, verify, cancellationToken) switch
        {
            true => KeyState.Equal,
            false => KeyState.Different,
            null => KeyState.NotCompared,
        }, inSource.Length, inTarget.Length);
    }

    /// <summary>Does something for every key of either store, some at once; the results come in the order of the keys.</summary>
    internal static async IAsyncEnumerable<T> EachAsync<T>(
        IObjectStore from, IObjectStore to, ComparisonOptions options, Func<KeyPair, CancellationToken, Task<T>> work, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var running = new Queue<Task<T>>(options.Concurrency);
        try
        {
            await foreach (var pair in MergeAsync(from, to, options, stop.Token))
            {
                if (running.Count == options.Concurrency)
                    yield return await running.Dequeue();
                running.Enqueue(work(pair, stop.Token));
            }

            while (running.Count > 0)
                yield return await running.Dequeue();
        }
        finally
        {
            // Whoever stops early, or fails, leaves nothing running behind.
            await stop.CancelAsync();
            await Task.WhenAll(running).ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    private static async IAsyncEnumerable<KeyPair> MergeAsync(
        IObjectStore from, IObjectStore to, ComparisonOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await using var sources = from.ListAsync(options.Prefix, options.StartAfter, cancellationToken).GetAsyncEnumerator(cancellationToken);
        await using var targets = to.ListAsync(options.Prefix, options.StartAfter, cancellationToken).GetAsyncEnumerator(cancellationToken);
        var (source, target) = (await NextAsync(sources), await NextAsync(targets));
        while (source is not null || target is not null)
        {
            var order = source is null ? 1 : target is null ? -1 : ObjectKey.CompareUtf8(source.Key.Value, target.Key.Value);
            var pair = new KeyPair((order <= 0 ? source : target)!.Key, order <= 0 ? source!.Length : null, order >= 0 ? target!.Length : null);
            if (order <= 0)
                source = await NextAsync(sources);
            if (order >= 0)
                target = await NextAsync(targets);
            yield return pair;
        }

        static async ValueTask<ObjectEntry?> NextAsync(IAsyncEnumerator<ObjectEntry> entries)
        {
            while (await entries.MoveNextAsync())
            {
                if (!StoreKeys.IsStoresOwn(entries.Current.Key))
                    return entries.Current;
            }

            return null;
        }
    }
}

/// <summary>A key of two listings, with its lengths there.</summary>
internal readonly record struct KeyPair(ObjectKey Key, long? Source, long? Target);
