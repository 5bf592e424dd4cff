using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// The one thread that writes: takes records from the queue, appends them, syncs, seals, makes room. A request never waits for it. When the disk fails, what
/// is queued is refused, and so is what comes until a probe has found the disk well.
/// </summary>
internal sealed partial class DiskTierWriter : IDisposable
{
    private readonly WriteQueue _queue;
    private readonly SegmentWriter _segments;
    private readonly SegmentEvictor _evictor;
    private readonly SegmentTable _table;
    private readonly DiskTierOptions _options;
    private readonly DiskHealth _health;
    private readonly DiskTierCounters _counters;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Thread _thread;
    private long _busySince;
    private long _dirtySince;
    private volatile bool _stopping;

    public DiskTierWriter(
        WriteQueue queue, SegmentWriter segments, SegmentEvictor evictor, SegmentTable table, DiskTierOptions options, DiskHealth health,
        DiskTierCounters counters, TimeProvider time, ILogger log)
    {
        (_queue, _segments, _evictor, _table) = (queue, segments, evictor, table);
        (_options, _health, _counters, _time, _log) = (options, health, counters, time, log);
        _thread = new(Run) { IsBackground = true, Name = "disk tier writer" };
    }

    public void Start() => _thread.Start();

    /// <summary>Turns writes off when the thread hangs in a call to the disk. Called by a timer.</summary>
    public void Watch()
    {
        var since = Volatile.Read(ref _busySince);
        if (since != 0 && _time.GetElapsedTime(since) > _options.WriteStall)
            _health.Writes.TurnOff(DiskTrouble.Slow);
    }

    /// <summary>Writes what is queued and seals what is open, if the disk lets it in time; true if the thread has ended.</summary>
    public bool Stop()
    {
        _stopping = true;
        _queue.Wake();
        return _thread.Join(_options.StopWait);
    }

    public void Dispose() => Stop();

    private void Run()
    {
        while (true)
        {
            if (_queue.TryDequeue(out var buffer))
            {
                Guard(Write, buffer);
                _queue.Return(buffer);
                Guard(SyncIfDue, null);
            }
            else if (_stopping)
            {
                break;
            }
            else if (_health.Writes.IsOn && _evictor.IsBusy)
            {
                Guard(static (writer, _) => writer._evictor.Step(), null);
            }
            else
            {
                _queue.Wait(_segments.UnsyncedBytes > 0 && _health.Writes.IsOn ? Left() : Timeout.InfiniteTimeSpan);
                Guard(SyncIfDue, null);
            }
        }

        if (_health.Writes.IsOn)
            Guard(SealAll, null);
    }

    // Every failure of the disk ends here: counted, and the thread goes on.
    private void Guard(Action<DiskTierWriter, WriteBuffer?> action, WriteBuffer? buffer)
    {
        Volatile.Write(ref _busySince, _time.GetTimestamp());
        try
        {
            action(this, buffer);
        }
        catch (IOException e)
        {
            if (buffer is not null)
                _counters.Refused(NotAdmittedReason.Failed);
            _health.Writes.Failed(DiskDirection.TroubleOf(e), e);
        }
        catch (Exception e)
        {
            // A broken promise costs its record; the thread, and with it the process, goes on.
            if (buffer is not null)
                _counters.Refused(NotAdmittedReason.Failed);
            LogRecordLost(_log, e);
        }
        finally
        {
            Volatile.Write(ref _busySince, 0);
        }
    }

    private static void Write(DiskTierWriter writer, WriteBuffer? buffer) => writer.WriteRecord(buffer!);

    private void WriteRecord(WriteBuffer buffer)
    {
        if (!_health.Writes.IsOn)
        {
            _counters.Refused(NotAdmittedReason.WritesOff);
            return;
        }

        var record = buffer.Record;
        // Chunks are immutable. Metadata is not: a later record replaces the earlier one.
        if (!record.IsMetadata && _table.TryLocate(record.Key, out var present) && present.Length == record.Length)
            return;

        var bytes = buffer.Bytes.AsSpan(0, SegmentFormat.Seal(buffer.Bytes, record));
        try
        {
            Append(buffer, bytes);
        }
        catch (IOException e) when (DiskErrors.Of(e) == DiskError.Full && _evictor.DropOldest())
        {
            // Somebody else fills the disk. One segment less may be all that is needed.
            Append(buffer, bytes);
        }

        _counters.Admitted(record.Length);
        if (_dirtySince == 0)
            _dirtySince = _time.GetTimestamp();
    }

    private void Append(WriteBuffer buffer, ReadOnlySpan<byte> bytes)
    {
        var stream = SegmentStream.Normal;
        if (buffer is { IsPinned: true, Record.IsMetadata: false } && (_segments.RoomLeft(SegmentStream.Pinned) >= bytes.Length || _evictor.MayKeep()))
            stream = SegmentStream.Pinned;
        if (_segments.RoomLeft(stream) < bytes.Length)
            Roll(stream);
        _segments.Append(stream, bytes, buffer.Record);
        _evictor.Pace();
    }

    private void Roll(SegmentStream stream)
    {
        _evictor.Finish();
        _segments.Seal(stream);
        // Room is always made beforehand (below), so this drops only when files could not be unlinked or several were opened at once.
        while (!_segments.HasSpaceFor(1))
        {
            if (!_table.TryUnlink() || !_evictor.DropOldest())
                throw new IOException("No segment can be unlinked to make room.");
        }

        _segments.Open(stream);
        // Two: the next one of this stream, and one for what is kept meanwhile.
        if (!_segments.HasSpaceFor(2))
            _evictor.Begin();
    }

    private static void SyncIfDue(DiskTierWriter writer, WriteBuffer? none)
    {
        if (writer._segments.UnsyncedBytes == 0 || !writer._health.Writes.IsOn)
            return;
        if (writer._segments.UnsyncedBytes < writer._options.SyncBytes && writer.Left() > TimeSpan.Zero)
            return;
        // Before the sync: after a failure the next attempt is an interval away, not at once.
        writer._dirtySince = writer._time.GetTimestamp();
        writer._segments.Sync();
        writer._dirtySince = 0;
        // Not before: a write that the page cache took says nothing about the disk.
        writer._health.Writes.Succeeded();
    }

    private static void SealAll(DiskTierWriter writer, WriteBuffer? none) => writer._segments.SealAll();

    private TimeSpan Left()
    {
        if (_dirtySince == 0)
            _dirtySince = _time.GetTimestamp();
        var left = _options.SyncInterval - _time.GetElapsedTime(_dirtySince);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    [LoggerMessage(1052, LogLevel.Error, "A record was not written to the disk tier")]
    private static partial void LogRecordLost(ILogger logger, Exception exception);
}
