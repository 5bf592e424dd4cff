using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Reads that the page cache cannot answer: a bounded queue, some threads that may hang in the disk, and a timer that tells callers "miss" when they do. Chunks for RAM
/// are read by the same threads, when no request waits.
/// </summary>
internal sealed partial class DiskReader : IDisposable
{
    private readonly ChunkDirectory _directory;
    private readonly DiskTierOptions _options;
    private readonly DiskHealth _health;
    private readonly DiskTierCounters _counters;
    private readonly Action<ChunkKey, ChunkLocation> _damaged;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly long _timeoutTicks;

    // Not a Lock: the threads wait on it.
    private readonly object _gate = new();
    private readonly Queue<ReadOperation> _queue = new();
    private readonly Queue<Promotion> _promotions = new();
    private readonly Stack<ReadOperation> _free = new();
    private readonly ReadOperation?[] _operations;
    private readonly Thread[] _threads;
    private readonly ITimer _sweeper;
    private int _made;
    private int _inUse;
    private int _promoting;
    private bool _stopping;

    /// <param name="damaged">Told of each record found bad.</param>
    public DiskReader(
        ChunkDirectory directory, DiskTierOptions options, DiskHealth health, DiskTierCounters counters, Action<ChunkKey, ChunkLocation> damaged, Action watch, TimeProvider time,
        ILogger log)
    {
        (_directory, _options, _health, _counters, _damaged, _time, _log) = (directory, options, health, counters, damaged, time, log);
        _timeoutTicks = (long)(options.ReadTimeout.TotalSeconds * time.TimestampFrequency);
        _operations = new ReadOperation?[Math.Max(1, options.ReadBufferBytes / Segments.SegmentFormat.MaxRecordBytes)];
        _threads = [.. Enumerable.Range(0, options.ReadThreads).Select(i => new Thread(Run) { IsBackground = true, Name = $"disk tier reader {i}" })];
        foreach (var thread in _threads)
            thread.Start();
        // A quarter of the limit: that much later than it, at most, a caller gets its answer.
        var period = options.ReadTimeout / 4;
        _sweeper = time.CreateTimer(_ =>
        {
            Sweep(_time.GetTimestamp() - _timeoutTicks);
            watch();
        }, null, period, period);
    }

    /// <summary>Whole chunks for RAM. The memory is the callee's until it returns.</summary>
    public Action<CacheRecord, ReadOnlyMemory<byte>>? Promoted { get; set; }

    /// <summary>Reads queued or under way, those included whose caller was told "miss" and whose disk has not answered yet.</summary>
    public int InUse => Volatile.Read(ref _inUse);

    /// <summary>Offers queued or under way.</summary>
    public int Promoting => Volatile.Read(ref _promoting);

    /// <summary>Queues a read. Takes over the segment's reference if it returns true; false: all buffers are in use.</summary>
    public bool TryStart(in ChunkKey key, in ChunkLocation location, Segment segment, int offset, Memory<byte> destination, out ReadOperation operation)
    {
        lock (_gate)
        {
            if (!_free.TryPop(out operation!))
            {
                if (_made == _operations.Length || _stopping)
                    return false;
                operation = new(GiveBack);
                Volatile.Write(ref _operations[_made++], operation);
            }

            _inUse++;
            operation.Start(key, location, segment, offset, destination, _time.GetTimestamp());
            _queue.Enqueue(operation);
            Monitor.Pulse(_gate);
            return true;
        }
    }

    /// <summary>Offers a chunk to RAM: it is read when no request waits. Takes over the segment's reference if it returns true.</summary>
    public bool TryPromote(in ChunkKey key, in ChunkLocation location, Segment segment)
    {
        lock (_gate)
        {
            if (_stopping || _promotions.Count >= _options.PromotionQueue)
            {
                _counters.PromotionDropped();
                return false;
            }

            // The threads count down outside of the lock.
            Interlocked.Increment(ref _promoting);
            _promotions.Enqueue(new(key, location, segment));
            Monitor.Pulse(_gate);
            return true;
        }
    }

    /// <summary>Ends the threads that the disk lets end in time; true if that is all of them. Callers that wait get a miss.</summary>
    public bool Stop()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.PulseAll(_gate);
        }

        _sweeper.Dispose();
        Sweep(long.MaxValue);
        var until = DateTime.UtcNow + _options.StopWait;
        return _threads.All(t => t.Join(TimeSpan.FromTicks(Math.Max(0, (until - DateTime.UtcNow).Ticks))));
    }

    public void Dispose() => Stop();

    private void Sweep(long startedBefore)
    {
        for (var i = 0; i < Volatile.Read(ref _made); i++)
        {
            if (Volatile.Read(ref _operations[i])?.TryTimeOut(startedBefore) != true)
                continue;
            _counters.Read(DiskReadOutcome.TimedOut);
            _health.Reads.Failed(DiskTrouble.Slow);
        }
    }

    private void Run()
    {
        byte[]? promotionBuffer = null;
        while (true)
        {
            ReadOperation? operation;
            Promotion promotion = default;
            lock (_gate)
            {
                while (!_queue.TryDequeue(out operation) && !_promotions.TryDequeue(out promotion))
                {
                    if (_stopping)
                        return;
                    Monitor.Wait(_gate);
                }
            }

            if (operation is not null)
            {
                Read(operation);
                continue;
            }

            Promote(promotion, promotionBuffer ??= GC.AllocateUninitializedArray<byte>(Segments.SegmentFormat.MaxRecordBytes, pinned: true));
            Interlocked.Decrement(ref _promoting);
        }
    }

    private void Read(ReadOperation operation)
    {
        // Its caller has gone upstream while it was queued.
        if (operation.IsSettled || _stopping)
        {
            operation.TrySettle(false);
            operation.ReleaseReader();
            return;
        }

        var (key, location) = (operation.Key, operation.Location);
        var part = new RecordRead(key, location, operation.Offset, operation.Count);
        DiskReadOutcome outcome;
        try
        {
            operation.PartOffset = part.PartOffset;
            outcome = part.Read(operation.Segment.File, operation.Buffer) ? DiskReadOutcome.Read : DiskReadOutcome.Damaged;
        }
        catch (IOException e)
        {
            outcome = Failed(key, location, e);
        }
        catch (Exception e)
        {
            // A broken promise costs its read; the thread, and with it the process, goes on.
            LogReadFailed(_log, e);
            outcome = DiskReadOutcome.Failed;
        }

        if (operation.TrySettle(outcome == DiskReadOutcome.Read))
        {
            _counters.Read(outcome);
            if (outcome != DiskReadOutcome.Failed)
                _health.Reads.Succeeded();
        }

        operation.ReleaseReader();
        if (outcome == DiskReadOutcome.Damaged)
            _damaged(key, location);
    }

    private void Promote(Promotion promotion, byte[] buffer)
    {
        var (key, location, segment) = promotion;
        try
        {
            if (_stopping || !_health.Reads.IsOn)
                return;
            var whole = new RecordRead(key, location, 0, location.Length);
            if (!whole.Read(segment.File, buffer))
            {
                _damaged(key, location);
                return;
            }

            Segments.SegmentFormat.TryReadHeader(buffer, out var head);
            Promoted?.Invoke(head, buffer.AsMemory(whole.PartOffset, location.Length));
            _directory.RestartUses(key, location);
            _counters.PromotionDone();
        }
        catch (IOException e)
        {
            Failed(key, location, e);
        }
        catch (Exception e)
        {
            LogReadFailed(_log, e);
        }
        finally
        {
            segment.Release();
        }
    }

    // One failure may be the disk's; two of the same record are its own: it is taken for damaged, so that it is fetched again and written elsewhere.
    private DiskReadOutcome Failed(in ChunkKey key, in ChunkLocation location, IOException exception)
    {
        _health.Reads.Failed(DiskDirection.TroubleOf(exception), exception);
        if (_directory.Fail(key, location))
            _damaged(key, location);
        return DiskReadOutcome.Failed;
    }

    private void GiveBack(ReadOperation operation)
    {
        lock (_gate)
        {
            _inUse--;
            _free.Push(operation);
        }
    }

    [LoggerMessage(1055, LogLevel.Error, "A read of the disk tier failed unexpectedly")]
    private static partial void LogReadFailed(ILogger logger, Exception exception);

    private readonly record struct Promotion(ChunkKey Key, ChunkLocation Location, Segment Segment);
}
