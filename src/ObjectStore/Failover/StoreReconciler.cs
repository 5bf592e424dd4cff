using Delivery.ObjectStore.Copying;

namespace Delivery.ObjectStore.Failover;

/// <summary>What a reconciliation does besides telling.</summary>
public sealed record ReconcileOptions
{
    /// <summary>Which keys, from where, how many at once, and whether digests are read where no store tells them.</summary>
    public ComparisonOptions Comparison { get; init; } = new();

    /// <summary>Copy what is missing or different in the target.</summary>
    public bool Repair { get; init; }

    /// <summary>Delete what only the target has. Only with <see cref="Repair"/>, and never by itself: it may be the last copy.</summary>
    public bool DeleteExtras { get; init; }

    /// <summary>Told of bytes as they go over, from several threads.</summary>
    public Action<long>? BytesCopied { get; init; }
}

/// <summary>One key, as it was found and as it was left.</summary>
/// <param name="Found">How it stood.</param>
/// <param name="Done">What was done; null: nothing, as nothing was to be done or nobody asked for it.</param>
/// <param name="Bytes">Copied for it.</param>
/// <param name="Failure">Why nothing could be done for this key; the others went on.</param>
public sealed record ReconciledKey(ComparedKey Found, CopyOutcome? Done, long Bytes, StoreException? Failure);

/// <summary>A reconciliation's figures.</summary>
public sealed record ReconcileReport
{
    public long Equal { get; private set; }

    public long NotCompared { get; private set; }

    public long Missing { get; private set; }

    public long Different { get; private set; }

    public long Extra { get; private set; }

    public long Repaired { get; private set; }

    public long Deleted { get; private set; }

    public long Failed { get; private set; }

    public long Bytes { get; private set; }

    /// <summary>The last key of all that are done: where another run goes on.</summary>
    public string? LastKey { get; private set; }

    /// <summary>Whether the target has all that the source has, as far as was compared.</summary>
    public bool IsInSync => Missing + Different <= Repaired && Failed == 0;

    internal void Add(ReconciledKey key)
    {
        LastKey = key.Found.Key.Value;
        Bytes += key.Bytes;
        switch (key.Found.State)
        {
            case KeyState.Equal:
                Equal++;
                break;
            case KeyState.NotCompared:
                NotCompared++;
                break;
            case KeyState.Missing:
                Missing++;
                break;
            case KeyState.Different:
                Different++;
                break;
            default:
                Extra++;
                break;
        }

        if (key.Failure is not null)
            Failed++;
        else if (key.Done == CopyOutcome.Deleted)
            Deleted++;
        else if (key.Done is not null)
            Repaired++;
    }
}

/// <summary>Finds what differs between two stores and, when told so, makes the target what the source is. Constant memory; may be stopped anywhere and resumed at a key.</summary>
public static class StoreReconciler
{
    /// <summary>
    /// Tells key after key, in order. A key that cannot be copied for a reason of its own is told with its failure; a store that fails ends the run with its exception.
    /// </summary>
    public static IAsyncEnumerable<ReconciledKey> ReconcileAsync(IObjectStore from, IObjectStore to, ReconcileOptions options, CancellationToken cancellationToken) =>
        StoreComparison.EachAsync(from, to, options.Comparison, (pair, token) => ReconcileAsync(from, to, pair, options, token), cancellationToken);

    /// <summary>The same to its end, for its figures.</summary>
    /// <param name="from">What is right.</param>
    /// <param name="to">What is made so.</param>
    /// <param name="options">What to do.</param>
    /// <param name="progress">Told the figures after each key; must not block.</param>
    /// <param name="cancellationToken">Stops it; what was done stays done.</param>
    public static async Task<ReconcileReport> RunAsync(
        IObjectStore from, IObjectStore to, ReconcileOptions options, Action<ReconciledKey, ReconcileReport>? progress, CancellationToken cancellationToken)
    {
        var report = new ReconcileReport();
        await foreach (var key in ReconcileAsync(from, to, options, cancellationToken))
        {
            report.Add(key);
            progress?.Invoke(key, report);
        }

        return report;
    }

    private static async Task<ReconciledKey> ReconcileAsync(IObjectStore from, IObjectStore to, KeyPair pair, ReconcileOptions options, CancellationToken cancellationToken)
    {
        var found = await StoreComparison.CompareAsync(from, to, pair, options.Comparison.Verify, cancellationToken);
        var isExtra = found.State == KeyState.Extra;
        if (!options.Repair || found.State is KeyState.Equal or KeyState.NotCompared || (isExtra && !options.DeleteExtras))
            return new(found, null, 0, null);
        try
        {
            var copy = new CopyOptions { Verify = options.Comparison.Verify, DeleteWhenAbsent = isExtra, BytesCopied = options.BytesCopied };
            var (done, bytes) = await ObjectCopy.EnsureAsync(from, to, found.Key, copy, cancellationToken);
            return new(found, done, bytes, null);
        }
        catch (StoreException e) when (!Replicator.IsOfTheStore(e))
        {
            return new(found, null, 0, e);
        }
    }
}
