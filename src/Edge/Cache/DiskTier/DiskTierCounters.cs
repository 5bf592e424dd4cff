namespace Delivery.Edge.Cache.DiskTier;

/// <summary>Why a chunk did not get to the disk; the names are the metric's labels.</summary>
internal enum NotAdmittedReason
{
    /// <summary>All write buffers wait for the disk.</summary>
    NoBuffer,

    /// <summary>Writes are off.</summary>
    WritesOff,

    /// <summary>The disk refused this one.</summary>
    Failed,
}

/// <summary>How a read of a chunk that the directory knows ended; the names are the metric's labels.</summary>
internal enum DiskReadOutcome
{
    /// <summary>From the page cache, on the caller's thread.</summary>
    Cached,

    /// <summary>From the disk, by a reader thread.</summary>
    Read,

    /// <summary>Slower than the limit: a miss.</summary>
    TimedOut,

    /// <summary>All read buffers are in use: a miss.</summary>
    Busy,

    /// <summary>Header or checksum wrong: a miss, and the entry is gone.</summary>
    Damaged,

    /// <summary>The disk reported an error: a miss.</summary>
    Failed,

    /// <summary>Reads are off: a miss.</summary>
    Off,

    /// <summary>Evicted between look-up and read: a miss.</summary>
    Evicted,
}

/// <summary>What the tier has done since the start. Any thread counts; any thread reads.</summary>
internal sealed class DiskTierCounters
{
    private readonly long[] _reads = new long[Enum.GetValues<DiskReadOutcome>().Length];
    private readonly long[] _notAdmitted = new long[Enum.GetValues<NotAdmittedReason>().Length];
    private long _admittedBytes;
    private long _writtenBytes;
    private long _reinsertedBytes;
    private long _evictedBytes;
    private long _scrubbedBytes;
    private long _damagedRecords;
    private long _droppedSegments;
    private long _promoted;
    private long _promotionsDropped;

    /// <summary>Payload bytes of chunks written for the first time.</summary>
    public long AdmittedBytes => Volatile.Read(ref _admittedBytes);

    /// <summary>All bytes written to segments: records, copies, headers and footers. Divided by <see cref="AdmittedBytes"/>: write amplification.</summary>
    public long WrittenBytes => Volatile.Read(ref _writtenBytes);

    /// <summary>Of those, records written again because they were in use or pinned.</summary>
    public long ReinsertedBytes => Volatile.Read(ref _reinsertedBytes);

    /// <summary>Bytes of files unlinked.</summary>
    public long EvictedBytes => Volatile.Read(ref _evictedBytes);

    public long ScrubbedBytes => Volatile.Read(ref _scrubbedBytes);

    /// <summary>Records found bad, by reads and by the scrubber.</summary>
    public long DamagedRecords => Volatile.Read(ref _damagedRecords);

    /// <summary>Files that could not be understood, or whose list of records could not be read, and were unlinked for it.</summary>
    public long DroppedSegments => Volatile.Read(ref _droppedSegments);

    /// <summary>Chunks read and handed to RAM.</summary>
    public long Promoted => Volatile.Read(ref _promoted);

    public long PromotionsDropped => Volatile.Read(ref _promotionsDropped);

    public long Reads(DiskReadOutcome outcome) => Volatile.Read(ref _reads[(int)outcome]);

    public long NotAdmitted(NotAdmittedReason reason) => Volatile.Read(ref _notAdmitted[(int)reason]);

    internal void Read(DiskReadOutcome outcome) => Interlocked.Increment(ref _reads[(int)outcome]);

    internal void Refused(NotAdmittedReason reason) => Interlocked.Increment(ref _notAdmitted[(int)reason]);

    internal void Admitted(long bytes) => Interlocked.Add(ref _admittedBytes, bytes);

    internal void Written(long bytes) => Interlocked.Add(ref _writtenBytes, bytes);

    internal void Reinserted(long bytes) => Interlocked.Add(ref _reinsertedBytes, bytes);

    internal void Evicted(long bytes) => Interlocked.Add(ref _evictedBytes, bytes);

    internal void Scrubbed(long bytes) => Interlocked.Add(ref _scrubbedBytes, bytes);

    internal void Damaged() => Interlocked.Increment(ref _damagedRecords);

    internal void SegmentDropped() => Interlocked.Increment(ref _droppedSegments);

    internal void PromotionDone() => Interlocked.Increment(ref _promoted);

    internal void PromotionDropped() => Interlocked.Increment(ref _promotionsDropped);
}
