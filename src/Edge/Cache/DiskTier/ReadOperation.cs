using System.Threading.Tasks.Sources;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// One read that the disk has to be asked for, with the buffer that it goes to. Pooled: as many exist as reads may be under way.
/// </summary>
/// <remarks>
/// Two hold it: the caller, until it has taken the result, and the reader thread, until it has let go of the buffer. The last one gives it back, so a read
/// that hangs keeps its buffer for as long as it hangs, and the caller, told "miss" in time, keeps nothing. Who settles it, reader or sweeper, is decided by one
/// compare-and-swap of <c>turn ‖ settled</c>; the turn goes up with each use, so a sweeper that looked at an earlier use settles nothing.
/// </remarks>
internal sealed class ReadOperation(Action<ReadOperation> giveBack) : IValueTaskSource<bool>, IValueTaskSource<int>
{
    private const long Settled = 1;

    // Asynchronously: the continuation is a request's, and must not run on the disk's thread or the timer's.
    private ManualResetValueTaskSourceCore<bool> _core = new() { RunContinuationsAsynchronously = true };
    private Memory<byte> _destination;
    private long _turn = Settled;
    private long _startedAt;
    private int _holders;

    public byte[] Buffer { get; } = GC.AllocateUninitializedArray<byte>(SegmentFormat.MaxRecordBytes, pinned: true);

    public ChunkKey Key { get; private set; }

    public ChunkLocation Location { get; private set; }

    public Segment Segment { get; private set; } = null!;

    public int Offset { get; private set; }

    public int Count { get; private set; }

    /// <summary>Where in <see cref="Buffer"/> the bytes asked for start.</summary>
    public int PartOffset { get; set; }

    public bool IsSettled => (Volatile.Read(ref _turn) & Settled) != 0;

    /// <summary>Starts a use; the reference on the segment goes with it.</summary>
    public void Start(in ChunkKey key, in ChunkLocation location, Segment segment, int offset, Memory<byte> destination, long now)
    {
        (Key, Location, Segment, Offset, Count) = (key, location, segment, offset, destination.Length);
        _destination = destination;
        _core.Reset();
        _holders = 2;
        Volatile.Write(ref _startedAt, now);
        // Even again: open. From here on the sweeper may settle it.
        Volatile.Write(ref _turn, _turn + 1);
    }

    public ValueTask<bool> AsTask() => new(this, _core.Version);

    /// <summary>The same with the number of bytes as the result, 0 for a miss.</summary>
    public ValueTask<int> AsCountTask() => new(this, _core.Version);

    /// <summary>The reader's result; false when the caller was told "miss" before.</summary>
    public bool TrySettle(bool found)
    {
        var turn = Volatile.Read(ref _turn);
        if ((turn & Settled) != 0 || Interlocked.CompareExchange(ref _turn, turn | Settled, turn) != turn)
            return false;
        _core.SetResult(found);
        return true;
    }

    /// <summary>The sweeper's: a miss, if the read under way started before the given time.</summary>
    public bool TryTimeOut(long startedBefore)
    {
        var turn = Volatile.Read(ref _turn);
        if ((turn & Settled) != 0 || Volatile.Read(ref _startedAt) >= startedBefore || Interlocked.CompareExchange(ref _turn, turn | Settled, turn) != turn)
            return false;
        _core.SetResult(false);
        return true;
    }

    /// <summary>The reader thread is done with buffer and segment.</summary>
    public void ReleaseReader()
    {
        Segment.Release();
        Release();
    }

    bool IValueTaskSource<bool>.GetResult(short token) => Take(token);

    int IValueTaskSource<int>.GetResult(short token)
    {
        // Read first: once taken, the operation may be somebody else's.
        var count = Count;
        return Take(token) ? count : 0;
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    // Runs on the caller's side of the await: only there is its buffer certain to be the caller's still.
    private bool Take(short token)
    {
        var found = _core.GetResult(token);
        if (found)
            Buffer.AsSpan(PartOffset, Count).CopyTo(_destination.Span);
        _destination = default;
        Release();
        return found;
    }

    private void Release()
    {
        if (Interlocked.Decrement(ref _holders) != 0)
            return;
        Segment = null!;
        giveBack(this);
    }
}
