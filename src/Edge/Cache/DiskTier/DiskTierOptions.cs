namespace Delivery.Edge.Cache.DiskTier;

/// <summary>What the disk tier is told; checked by whoever reads the configuration.</summary>
internal sealed record DiskTierOptions
{
    /// <summary>32 MiB: eight of the smallest segments.</summary>
    public const long MinBytes = 8 * MinSegmentBytes;

    public const long MinSegmentBytes = 4L << 20;

    public const long MaxSegmentBytes = 256L << 20;

    /// <summary>Sum of the segment files' lengths, at most. At least <see cref="MinBytes"/>.</summary>
    public required long Bytes { get; init; }

    /// <summary>
    /// Records on disk, at most; at the bound the oldest segment is evicted early. 0 (default): one for each 64 KiB of <see cref="Bytes"/>, so that chunks of 128 KiB
    /// and tails half as long fit. Each takes 64 to 128 bytes of RAM.
    /// </summary>
    public int MaxChunks { get; init; }

    /// <summary>Threads that read what is not in the page cache. Default 8: what keeps a SATA or NVMe disk busy without a queue of its own.</summary>
    public int ReadThreads { get; init; } = 8;

    /// <summary>After this a read is a miss and the chunk comes from upstream. Default 250 ms: most of what an upstream in the same region needs.</summary>
    public TimeSpan ReadTimeout { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>RAM for reads under way, one chunk each; at the bound a read is a miss at once. Default 16 MiB: some 120 reads.</summary>
    public long ReadBufferBytes { get; init; } = 16L << 20;

    /// <summary>RAM for chunks that wait to be written; at the bound a chunk is not admitted. Default 16 MiB.</summary>
    public long WriteBufferBytes { get; init; } = 16L << 20;

    /// <summary>What the scrubber reads. Default 8 MiB/s: 1 TB in 35 hours, and some 2 % of a SATA SSD. 0: no scrubbing.</summary>
    public long ScrubBytesPerSecond { get; init; } = 8L << 20;

    /// <summary>A power cut loses what was written since the last sync: at most this old, or <see cref="SyncBytes"/>. Default 1 s.</summary>
    public TimeSpan SyncInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Default 32 MiB.</summary>
    public long SyncBytes { get; init; } = 32L << 20;

    /// <summary>How often a failing disk is tried again. Default 5 s.</summary>
    public TimeSpan RetryInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>One write or sync that takes longer turns writes off until it returns. Default 2 s.</summary>
    public TimeSpan WriteStall { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long the end waits for threads that the disk holds. Default 5 s; then they are left behind.</summary>
    public TimeSpan StopWait { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Failures in a row that turn reads (or writes) off. Default 8: one for each reader thread.</summary>
    public int FailuresToTurnOff { get; init; } = 8;

    /// <summary>Share of <see cref="Bytes"/> that segments kept for pins may take; above it pinned chunks are treated like others. Default 0.5.</summary>
    public double PinnedShare { get; init; } = 0.5;

    /// <summary>Chunks that may wait to be read for RAM; at the bound an offer is dropped. Default 32.</summary>
    public int PromotionQueue { get; init; } = 32;

    /// <summary>A power of two near 1/64 of the budget, 4 to 256 MiB: eviction goes by segments, so one must be a small part.</summary>
    public long SegmentBytes => Math.Clamp((long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)Bytes / 64 + 1) / 2, MinSegmentBytes, MaxSegmentBytes);

    public int ChunkBound => MaxChunks > 0 ? MaxChunks : (int)Math.Clamp(Bytes / (64 << 10), 1024, 1 << 30);
}
