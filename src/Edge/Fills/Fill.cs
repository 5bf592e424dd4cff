using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Objects;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;

namespace Delivery.Edge.Fills;

/// <summary>
/// One reading of a run of chunks from upstream, with its own task, deadline and buffers. It belongs to no request: whoever needs a chunk
/// of it joins, follows the bytes as they land, and may leave.
/// </summary>
/// <remarks><code>
/// Running ── upstream opened: Entry ── bytes land: Landed grows ──▶ Completed ──▶ chunks to the cache ──▶ unregistered
///    └────────────────────────────────────────────────────────────▶ any other outcome: unregistered, nothing admitted
/// </code></remarks>
internal sealed class Fill(string path, ObjectKey key, EdgeObject? known, long firstChunk, int run)
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _progress;
    private long _landed;
    private volatile FillOutcome _outcome;
    private volatile EdgeObject? _entry = known;

    public string Path { get; } = path;

    public ObjectKey Key { get; } = key;

    /// <summary>What the leader knew of the object; null when this fill is the first to ask.</summary>
    public EdgeObject? Known { get; } = known;

    /// <summary>The path's generation when the fill started.</summary>
    public long Generation { get; init; }

    /// <summary>The cache's control sequence when the fill started.</summary>
    public long Sequence { get; init; }

    /// <summary>Who led it.</summary>
    public Asker Asker { get; init; }

    /// <summary>It may wait for a sibling, so a sibling must not wait for it.</summary>
    public bool WaitsForSibling { get; init; }

    /// <summary>The cache had the first chunk and could not give it: it is proven, and needs no probation.</summary>
    public bool IsRefill { get; init; }

    public long FirstChunk { get; } = firstChunk;

    /// <summary>Chunks of the run; those past the object's end are dropped when upstream tells its length.</summary>
    public FillChunk[] Chunks { get; } = new FillChunk[run];

    /// <summary>Chunks that the leader asked for; 0 for a run that is read ahead.</summary>
    public int Wanted { get; init; }

    /// <summary>Readers who joined before the object was known; guarded by the table's lock.</summary>
    public int UncountedJoins { get; set; }

    /// <summary>Buffers reserved for the run, before it starts.</summary>
    public int Reserved { get; set; }

    /// <summary>The object, once upstream has answered.</summary>
    public EdgeObject? Entry => _entry;

    public FillOutcome Outcome => _outcome;

    /// <summary>Bytes of the run that can be read.</summary>
    public long Landed => Volatile.Read(ref _landed);

    /// <summary>Returns when more than <paramref name="position"/> bytes of the run have landed or the fill has ended.</summary>
    public Task WaitAsync(long position, CancellationToken cancellationToken)
    {
        TaskCompletionSource progress;
        lock (_gate)
        {
            if (_landed > position || _outcome != FillOutcome.Running)
                return Task.CompletedTask;
            progress = _progress ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return progress.Task.WaitAsync(cancellationToken);
    }

    public void Opened(EdgeObject entry) => _entry = entry;

    public void Land(int bytes)
    {
        TaskCompletionSource? progress;
        lock (_gate)
        {
            // The bytes are in the buffer before the count says so; readers look at the count first.
            Volatile.Write(ref _landed, _landed + bytes);
            (progress, _progress) = (_progress, null);
        }

        progress?.TrySetResult();
    }

    public void End(FillOutcome outcome)
    {
        TaskCompletionSource? progress;
        lock (_gate)
        {
            _outcome = outcome;
            (progress, _progress) = (_progress, null);
        }

        progress?.TrySetResult();
    }
}

/// <summary>One chunk of a fill, while it can be joined. References are counted under the table's lock.</summary>
internal sealed class FillChunk(Fill fill, int ordinal)
{
    public Fill Fill { get; } = fill;

    public int Ordinal { get; } = ordinal;

    public long Index => Fill.FirstChunk + Ordinal;

    public ChunkBuffer? Buffer { get; set; }

    /// <summary>The table's own reference and one per lease; at 0 the buffer goes back.</summary>
    public int References { get; set; }
}
