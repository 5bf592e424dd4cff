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
    // By what they wait for: a crowd of readers wants the same few positions, and is woken when they have landed, not with every piece from upstream.
    private readonly SortedDictionary<long, TaskCompletionSource> _waiting = [];
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

    /// <summary>Who gave the body that is read, or that broke off; the fill's own task alone looks at it.</summary>
    public IUpstream? ReadFrom { get; set; }

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
        TaskCompletionSource? landed;
        lock (_gate)
        {
            if (_landed > position || _outcome != FillOutcome.Running)
                return Task.CompletedTask;
            if (!_waiting.TryGetValue(position, out landed))
                _waiting.Add(position, landed = new(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        return landed.Task.WaitAsync(cancellationToken);
    }

    public void Opened(EdgeObject entry) => _entry = entry;

    public void Land(int bytes)
    {
        while (TakeLanded(bytes) is { } waiting)
        {
            waiting.SetResult();
            bytes = 0;
        }
    }

    public void End(FillOutcome outcome)
    {
        TaskCompletionSource[] waiting;
        lock (_gate)
        {
            _outcome = outcome;
            waiting = [.. _waiting.Values];
            _waiting.Clear();
        }

        foreach (var one in waiting)
            one.SetResult();
    }

    // The next who has what it waits for.
    private TaskCompletionSource? TakeLanded(int bytes)
    {
        lock (_gate)
        {
            // The bytes are in the buffer before the count says so; readers look at the count first.
            Volatile.Write(ref _landed, _landed + bytes);
            foreach (var (position, waiting) in _waiting)
            {
                if (position >= _landed)
                    return null;
                _waiting.Remove(position);
                return waiting;
            }

            return null;
        }
    }
}

/// <summary>One chunk of a fill, while it can be joined. References are counted under the table's lock.</summary>
internal sealed class FillChunk(Fill fill, int ordinal)
{
    public Fill Fill { get; } = fill;

    public int Ordinal { get; } = ordinal;

    public long Index => Fill.FirstChunk + Ordinal;

    public ChunkBuffer? Buffer { get; set; }

    /// <summary>Whether a reader has asked for it, or come to it; guarded by the table's lock.</summary>
    public bool IsNeeded { get; set; }

    /// <summary>The table's own reference and one per lease; at 0 the buffer goes back.</summary>
    public int References { get; set; }
}
