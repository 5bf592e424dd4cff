using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Fills;

namespace Delivery.Edge.Proxy;

/// <summary>How far a body has come.</summary>
internal enum BodyOutcome
{
    Running,
    Completed,

    /// <summary>Upstream broke off, or nobody was left to read what cannot be stored.</summary>
    Broken,
}

/// <summary>
/// A response's body on its way into the cache. Whoever needs it reads the bytes as they land, from the chunks' buffers, and who is behind reads from the cache, so nobody slow stops anyone
/// faster. Upstream is read no further than <see cref="MaxAheadBytes"/> ahead of the fastest reader, and while the buffers are not in demand the chunks in between stay at hand for it: what it
/// reads next must not have left the cache's probation before. Without readers, upstream is read as fast as it sends.
/// </summary>
/// <remarks><code>
/// storing: chunk filled ──▶ queued to the cache ──▶ settled ──▶ read by the fastest, or buffers in demand: its buffer goes back
///    └── longer than MaxStoredBytes ──▶ passing: a chunk's buffer goes back when every reader has it; upstream is read no faster than the slowest reads
/// </code></remarks>
/// <param name="sequence">The cache's control sequence when upstream was asked.</param>
/// <param name="isProven">The URL was stored before, left for lack of room, and was asked for again: its chunks need no probation.</param>
internal sealed class SharedBody(StoredResponse response, long sequence, bool isProven, ChunkCache cache, FillBuffers buffers)
{
    /// <summary>512 KiB: the smallest probation holds some twelve chunks.</summary>
    public const long MaxAheadBytes = 4L * Chunk.SizeBytes;

    // Chunks held at once while passing: one is filled while the other is read.
    private const int MaxPassing = 2;

    private readonly Lock _gate = new();
    private readonly List<Slot> _slots = [];
    private readonly List<Reader> _readers = [];
    private readonly ObjectHash _path = ObjectHash.OfPath(response.Key);
    private TaskCompletionSource? _progress;
    private TaskCompletionSource? _room;
    private TaskCompletionSource? _settled;
    private long _landed;
    private int _unsettled;
    private BodyOutcome _outcome;
    private bool _passing;

    /// <summary>Whether the whole body is in the cache's hands.</summary>
    public bool IsStored => _outcome == BodyOutcome.Completed && !_passing;

    /// <summary>Bytes landed and the outcome, of one moment.</summary>
    public (long Landed, BodyOutcome Outcome) Progress
    {
        get
        {
            lock (_gate)
                return (_landed, _outcome);
        }
    }

    public Reader Join()
    {
        var reader = new Reader(this);
        lock (_gate)
            _readers.Add(reader);
        return reader;
    }

    /// <summary>Copies what has landed at a position and is still at hand; 0 when nothing is: it lies in the cache, or has not come.</summary>
    public int TryRead(long position, Span<byte> destination)
    {
        Slot? slot;
        int count;
        lock (_gate)
        {
            slot = _slots.Find(s => position >= s.Start && position < s.Start + s.Filled);
            if (slot is null)
                return 0;
            count = (int)Math.Min(destination.Length, slot.Start + slot.Filled - position);
            slot.References++;
        }

        slot.Buffer.Content.Span.Slice((int)(position - slot.Start), count).CopyTo(destination);
        Release(slot);
        return count;
    }

    /// <summary>Returns when more than <paramref name="position"/> bytes have landed or the body has ended.</summary>
    public Task WaitAsync(long position, CancellationToken cancellationToken)
    {
        TaskCompletionSource progress;
        lock (_gate)
        {
            if (_landed > position || _outcome != BodyOutcome.Running)
                return Task.CompletedTask;
            progress = _progress ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return progress.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Reads the body to its end, and returns when every chunk has been written or refused. One buffer has been reserved by the caller.</summary>
    public async Task FillAsync(UpstreamReply reply, long maxStoredBytes, CancellationToken stop)
    {
        var outcome = BodyOutcome.Broken;
        var reserved = true;
        try
        {
            while (true)
            {
                if (!reserved)
                    await buffers.ReserveOneAsync(stop);
                reserved = false;
                var slot = new Slot(buffers.Take(), _landed);
                lock (_gate)
                    _slots.Add(slot);
                var count = await FillAsync(slot, reply, maxStoredBytes, stop);
                if (count < 0)
                    return;
                if (slot.Filled == 0)
                    Drop(slot);
                else if (!_passing)
                    Write(slot);
                if (count == 0)
                    break;
                if (!await MayGoOnAsync(stop))
                    return;
            }

            outcome = BodyOutcome.Completed;
        }
        catch (OperationCanceledException)
        {
            // Stopping.
        }
        finally
        {
            if (reserved)
                buffers.ReturnUnused(1);
            End(outcome);
        }

        await SettledAsync();
    }

    // 0 when the body has ended, -1 when it broke off.
    private async ValueTask<int> FillAsync(Slot slot, UpstreamReply reply, long maxStoredBytes, CancellationToken stop)
    {
        while (slot.Filled < Chunk.SizeBytes)
        {
            var count = await reply.ReadAsync(slot.Buffer.Content[slot.Filled..], stop);
            if (count <= 0)
                return count;
            Land(slot, count, maxStoredBytes);
            if (reply.Length == _landed)
                return 0;
        }

        return slot.Filled;
    }

    private void Land(Slot slot, int bytes, long maxStoredBytes)
    {
        TaskCompletionSource? progress;
        lock (_gate)
        {
            slot.Filled += bytes;
            _landed += bytes;
            _passing |= _landed > maxStoredBytes;
            (progress, _progress) = (_progress, null);
        }

        progress?.TrySetResult();
    }

    private void Write(Slot slot)
    {
        lock (_gate)
        {
            slot.Queued = true;
            _unsettled++;
        }

        var record = new CacheRecord(response.ChunkKey(Chunk.IndexOf(slot.Start)), _path, sequence, slot.Filled);
        cache.Write(new(record, slot.Buffer.Seal(record), () => Settle(slot), ToMain: isProven));
    }

    private void Settle(Slot slot)
    {
        lock (_gate)
        {
            slot.Settled = true;
            if (--_unsettled == 0)
                _settled?.TrySetResult();
        }

        Trim();
    }

    private Task SettledAsync()
    {
        lock (_gate)
        {
            if (_unsettled == 0)
                return Task.CompletedTask;
            _settled = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return _settled.Task;
        }
    }

    // Waits until a reader has gone on, when it must; false when there is none and nothing is stored.
    private async ValueTask<bool> MayGoOnAsync(CancellationToken stop)
    {
        while (true)
        {
            Trim();
            Task room;
            lock (_gate)
            {
                if (_readers.Count == 0)
                    return !_passing;
                if (_passing ? _slots.Count(s => !s.Queued) < MaxPassing : _landed - _readers.Max(r => r.Position) <= MaxAheadBytes)
                    return true;
                _room = new(TaskCreationOptions.RunContinuationsAsynchronously);
                room = _room.Task;
            }

            await room.WaitAsync(stop);
        }
    }

    // Upstream may be read on, and buffers that nobody waits for go back.
    private void Trim()
    {
        List<Slot> done;
        TaskCompletionSource? room;
        lock (_gate)
        {
            var slowest = _readers.Count == 0 ? long.MaxValue : _readers.Min(r => r.Position);
            var fastest = _readers.Count == 0 || buffers.InUse > buffers.Capacity / 2 ? long.MaxValue : _readers.Max(r => r.Position);
            // What broke off is cut for everyone; what is queued is the cache's until it has settled.
            done = _slots.FindAll(s => s.Queued
                ? s.Settled && s.Start + s.Filled <= fastest
                : _outcome == BodyOutcome.Broken || (_passing && s.Start + s.Filled <= slowest && (s.Filled == Chunk.SizeBytes || _outcome == BodyOutcome.Completed)));
            (room, _room) = (_room, null);
        }

        done.ForEach(Drop);
        room?.TrySetResult();
    }

    private void End(BodyOutcome outcome)
    {
        TaskCompletionSource? progress;
        lock (_gate)
        {
            _outcome = outcome;
            (progress, _progress) = (_progress, null);
        }

        progress?.TrySetResult();
        Trim();
    }

    private void Drop(Slot slot)
    {
        lock (_gate)
        {
            if (!_slots.Remove(slot))
                return;
        }

        Release(slot);
    }

    private void Release(Slot slot)
    {
        lock (_gate)
        {
            if (--slot.References > 0)
                return;
        }

        buffers.Return(slot.Buffer);
    }

    private void Leave(Reader reader)
    {
        lock (_gate)
            _readers.Remove(reader);
        Trim();
    }

    /// <summary>One who reads the body; its place says how far upstream is read.</summary>
    internal sealed class Reader(SharedBody body) : IDisposable
    {
        private long _position;

        public SharedBody Body => body;

        public long Position
        {
            get => Volatile.Read(ref _position);
            set
            {
                Volatile.Write(ref _position, value);
                body.Trim();
            }
        }

        public void Dispose() => body.Leave(this);
    }

    // References: the body's own and one per copy under way.
    private sealed class Slot(ChunkBuffer buffer, long start)
    {
        public ChunkBuffer Buffer { get; } = buffer;

        public long Start { get; } = start;

        public int Filled { get; set; }

        /// <summary>Given to the cache.</summary>
        public bool Queued { get; set; }

        /// <summary>Written by it, or refused.</summary>
        public bool Settled { get; set; }

        public int References { get; set; } = 1;
    }
}
