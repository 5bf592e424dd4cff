using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>A record on its way to disk. The payload stands where the sealed record will have it.</summary>
internal sealed class WriteBuffer
{
    public byte[] Bytes { get; } = GC.AllocateUninitializedArray<byte>(SegmentFormat.MaxRecordBytes, pinned: true);

    public CacheRecord Record { get; set; }

    public bool IsPinned { get; set; }
}

/// <summary>The bounded pool of write buffers, and the queue of those that are filled. Nobody waits for a buffer.</summary>
internal sealed class WriteQueue(int capacity)
{
    // Not a Lock: the writer waits on it.
    private readonly object _gate = new();
    private readonly Stack<WriteBuffer> _free = new();
    private readonly Queue<WriteBuffer> _queue = new();
    private int _made;
    private int _inUse;
    private bool _woken;

    /// <summary>Buffers filled or being filled; 0 once all that was written has reached the disk or was refused.</summary>
    public int InUse => Volatile.Read(ref _inUse);

    public bool TryRent(out WriteBuffer buffer)
    {
        lock (_gate)
        {
            if (!_free.TryPop(out buffer!))
            {
                if (_made == capacity)
                    return false;
                _made++;
                buffer = new();
            }

            _inUse++;
            return true;
        }
    }

    public void Enqueue(WriteBuffer buffer)
    {
        lock (_gate)
        {
            _queue.Enqueue(buffer);
            Monitor.PulseAll(_gate);
        }
    }

    public bool TryDequeue(out WriteBuffer buffer)
    {
        lock (_gate)
            return _queue.TryDequeue(out buffer!);
    }

    /// <summary>Waits for a filled buffer, <see cref="Wake"/>, or the time.</summary>
    public void Wait(TimeSpan atMost)
    {
        lock (_gate)
        {
            if (_queue.Count == 0 && !_woken)
                Monitor.Wait(_gate, atMost);
            _woken = false;
        }
    }

    public void Wake()
    {
        lock (_gate)
        {
            _woken = true;
            Monitor.PulseAll(_gate);
        }
    }

    public void Return(WriteBuffer buffer)
    {
        lock (_gate)
        {
            _free.Push(buffer);
            _inUse--;
        }
    }
}
