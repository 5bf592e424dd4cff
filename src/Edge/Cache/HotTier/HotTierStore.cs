using System.Collections.Concurrent;
using Delivery.Edge.Cache.Policy;
using FASTER.core;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// Chunks in RAM. A hit is synchronous, allocates nothing and copies once. Writes happen on one thread behind a bounded queue, so a request
/// never waits for FASTER to turn a page.
/// </summary>
/// <remarks><code>
/// Write ──▶ probation ── page turn: proven ──▶ main ── page turn: used or pinned ──▶ main's tail
///   │            │ └── unproven: dropped (into main, while main has never been full)  └── unused: dropped
///   └── ghost knows it, pinned or prewarmed ──▶ main
/// whatever enters main proven, or stays there, and is not on disk ──▶ <see cref="HotTierLinks.Proven"/>
/// </code>
/// The ghost, both sets of shards and their key lists share one budget.
/// </remarks>
internal sealed partial class HotTierStore : IDisposable
{
    private readonly CachePolicy _policy;
    private readonly HotTierLinks _links;
    private readonly ShardSet _probation;
    private readonly ShardSet _main;
    private readonly BlockingCollection<Admission> _queue;
    private readonly Thread _writer;
    private readonly ILogger _log;
    private long _admitted;
    private long _notAdmitted;
    private long _promoted;
    private long _keptBytes;

    /// <param name="budgetBytes">RAM for logs, indexes and key lists of all shards, and the policy's ghost.</param>
    /// <param name="queueLength">Chunks that may wait to be written. At the bound a chunk is not admitted.</param>
    /// <param name="policy">Decides; its ghost is used by this store's writer alone.</param>
    /// <param name="links">What lies beyond.</param>
    /// <param name="log">Receives 1010.</param>
    public HotTierStore(long budgetBytes, int queueLength, CachePolicy policy, HotTierLinks links, ILogger log)
    {
        _log = log;
        _policy = policy;
        _links = links;
        var probation = ProbationLayout(budgetBytes, policy.Options);
        var main = MainLayout(budgetBytes, policy.Options);
        BudgetBytes = GhostTable.BytesFor(policy.Ghost.Capacity) + probation.TotalBytes + main.TotalBytes;
        _probation = new(probation);
        _main = new(main);
        _queue = new(queueLength);
        _writer = new(WriteQueued) { IsBackground = true, Name = "hot tier writer" };
        _writer.Start();
    }

    /// <summary>What the tier may use: at most the budget it was given.</summary>
    public long BudgetBytes { get; }

    /// <summary>Log of main: what a share for pinned heads is taken from.</summary>
    public long MainBytes => _main.Layout.LogBytes;

    public long UsedBytes => _probation.UsedBytes + _main.UsedBytes;

    /// <summary>Log dropped since the start; what went from one part to the other, or was kept, is counted too.</summary>
    public long EvictedBytes => _probation.EvictedBytes + _main.EvictedBytes;

    /// <summary>Log that was written again at a page turn of main.</summary>
    public long KeptBytes => Volatile.Read(ref _keptBytes);

    public long Admitted => Volatile.Read(ref _admitted);

    public long NotAdmitted => Volatile.Read(ref _notAdmitted);

    /// <summary>Chunks that left probation proven.</summary>
    public long Promoted => Volatile.Read(ref _promoted);

    public int SessionsInUse => _probation.SessionsInUse + _main.SessionsInUse;

    /// <summary>How a budget is shared out; public so that sizes can be told before a store is made.</summary>
    public static HotTierLayout ProbationLayout(long budgetBytes, CachePolicyOptions options) =>
        HotTierLayout.For(Math.Max(new HotTierShardSize(HotTierLayout.SmallestShardBytes).TotalBytes, (long)(budgetBytes * options.ProbationShare)));

    /// <summary>What ghost and probation leave.</summary>
    public static HotTierLayout MainLayout(long budgetBytes, CachePolicyOptions options) =>
        HotTierLayout.For(budgetBytes - GhostTable.BytesFor(options.GhostKeys) - ProbationLayout(budgetBytes, options).TotalBytes);

    public bool Contains(ChunkKey key, int chunkLength) => _main.Of(key).Contains(ref key, chunkLength) || _probation.Of(key).Contains(ref key, chunkLength);

    /// <summary>Whether a chunk is in main, whatever its length: its uses are counted here then.</summary>
    public bool IsInMain(ChunkKey key) => _main.Of(key).Contains(ref key, ChunkRead.AnyLength);

    /// <summary>Copies a part of a chunk to <paramref name="destination"/>, filling it; false when the chunk is absent.</summary>
    /// <param name="key">The chunk.</param>
    /// <param name="chunkLength">Its length; a record of another length is a miss.</param>
    /// <param name="offset">First byte. A read from offset 0 marks a use.</param>
    /// <param name="destination">As much as is wanted; it must lie within the chunk.</param>
    /// <param name="countsAsUse">False for the listener whose own fill brought the chunk.</param>
    public unsafe bool TryRead(ChunkKey key, int chunkLength, int offset, Span<byte> destination, bool countsAsUse = true)
    {
        fixed (byte* pointer = destination)
        {
            var read = new ChunkRead
            {
                Destination = pointer,
                Offset = offset,
                Count = destination.Length,
                ChunkLength = chunkLength,
                Check = key.Object.High,
                IsUse = offset == 0 && countsAsUse,
            };
            if (!_main.Of(key).TryRead(ref key, ref read) && !_probation.Of(key).TryRead(ref key, ref read))
                return false;
            // Once in a chunk's life in RAM: what is proven goes to disk now, not when its page turns, which on a quiet edge is never. A full queue is no loss: the turn comes.
            if (read.UsesNow != 0 && read.UsesNow == _policy.UsesToProve(key) && !_links.IsOnDisk(key, chunkLength))
                TryQueue(Admission.Reused(key));
            return true;
        }
    }

    /// <summary>Queues a chunk; refused (and counted) when the queue is full. <see cref="Admission.Settled"/> is called in every case.</summary>
    public void Write(Admission chunk)
    {
        if (TryQueue(chunk))
            return;
        Interlocked.Increment(ref _notAdmitted);
        chunk.Settled();
    }

    /// <summary>Writes what is queued and takes nothing more; reads go on.</summary>
    public void Stop()
    {
        _queue.CompleteAdding();
        _writer.Join();
    }

    public void Dispose()
    {
        Stop();
        _queue.Dispose();
        _probation.Dispose();
        _main.Dispose();
    }

    private bool TryQueue(in Admission chunk)
    {
        try
        {
            return !_queue.IsAddingCompleted && _queue.TryAdd(chunk);
        }
        catch (InvalidOperationException)
        {
            // Stopped in between.
            return false;
        }
    }

    private void WriteQueued()
    {
        foreach (var chunk in _queue.GetConsumingEnumerable())
        {
            try
            {
                if (chunk.IsReused)
                {
                    WriteDown(chunk.Record.Key);
                    continue;
                }

                Place(chunk);
                Interlocked.Increment(ref _admitted);
            }
            catch (Exception exception) when (exception is FasterException or OutOfMemoryException)
            {
                // The chunk is absent and will be filled again; the edge serves on.
                Interlocked.Increment(ref _notAdmitted);
                LogWriteFailed(_log, exception);
            }
            finally
            {
                chunk.Settled();
            }
        }
    }

    private void Place(in Admission chunk)
    {
        var key = chunk.Record.Key;
        // Immutable: whoever has it has the same bytes.
        if (_main.Of(key).Contains(ref key, ChunkRead.AnyLength))
            return;
        // Asked even for what goes to main in any case: the ghost's memory of the key is used up.
        var placement = _policy.OnFill(key, chunk.IsPinned);
        if (chunk.ToMain || placement == Placement.Main)
        {
            WriteMain(key, chunk.Value);
            Prove(chunk.Record, chunk.Value.AsReadOnlySpan(), chunk.IsPinned);
            return;
        }

        var shard = _probation.Of(key);
        if (shard.Contains(ref key, ChunkRead.AnyLength))
            return;
        while (shard.IsFull)
            TurnProbation(shard);
        shard.Append(ref key, chunk.Value);
    }

    // A chunk that stays where it is, in either part.
    private void WriteDown(ChunkKey key)
    {
        var length = _main.Of(key).CopyOut(ref key, _main.Scratch);
        if (length == 0)
            length = _probation.Of(key).CopyOut(ref key, _main.Scratch);
        var value = _main.Scratch.AsSpan(0, length);
        if (ChunkValue.TryReadHeader(value, key, out var record, out _))
            Prove(record, value, _links.IsPinned(key.Object));
    }

    // Drops the oldest page of probation. What is proven goes to main, whose own pages may turn for it; main's turns never come back here.
    private void TurnProbation(HotTierShard shard)
    {
        var page = _probation.Page;
        var count = shard.ReadOldestPage(page);
        foreach (var (record, uses) in page.AsSpan(0, count))
        {
            var key = record.Key;
            if (_main.Of(key).Contains(ref key, ChunkRead.AnyLength))
                continue;
            var pinned = _links.IsPinned(key.Object);
            var proven = _policy.PromoteFromProbation(key, uses, pinned);
            // Unproven chunks are better than none: until main, or the disk, has been full once, they take its room, as in S3-FIFO while the cache is filling.
            var toMain = proven || !_main.Of(key).HasBeenFull;
            var toDisk = proven || _links.HasDiskRoom();
            if (!toMain && !toDisk)
                continue;
            var length = shard.CopyOut(ref key, _probation.Scratch);
            var value = _probation.Scratch.AsSpan(0, length);
            // Its uses so far have brought it here; main counts its own.
            ChunkValue.SetUses(value, 0);
            if (toMain)
                WriteMain(key, _probation.ScratchValue(length));
            if (toDisk)
                Prove(record, value, pinned);
            if (proven)
                Interlocked.Increment(ref _promoted);
        }

        shard.DropOldestPage();
    }

    private void WriteMain(ChunkKey key, SpanByte value)
    {
        var shard = _main.Of(key);
        // A lap at most: pins fill a page whole, if it comes to it, but they have no more than a share of the shard. Should that promise be broken, pins
        // are dropped rather than the writer caught in a ring of them.
        for (var turns = 0; shard.IsFull; turns++)
            TurnMain(shard, keepNone: turns > shard.Size.Pages);
        shard.Append(ref key, value);
    }

    // Drops the oldest page of main, after its survivors were written to the tail (HotTierShard says why there is room for them).
    private void TurnMain(HotTierShard shard, bool keepNone)
    {
        var page = _main.Page;
        var count = keepNone ? 0 : shard.ReadOldestPage(page);
        for (var i = 0; i < count; i++)
        {
            var (record, uses) = page[i];
            _main.Exits[i] = new(ChunkValue.RecordBytes(record.Length), uses, record.IsHead, _links.IsPinned(record.Key.Object));
        }

        var keep = _main.Keep.AsSpan(0, count);
        Interlocked.Add(ref _keptBytes, _policy.OnPageExit(_main.Exits.AsSpan(0, count), shard.Size.PageBytes, keep));
        for (var i = 0; i < count; i++)
        {
            if (!keep[i])
                continue;
            var key = page[i].Record.Key;
            var length = shard.CopyOut(ref key, _main.Scratch);
            var value = _main.Scratch.AsSpan(0, length);
            ChunkValue.SetUses(value, CachePolicy.UsesAfterLap(page[i].Uses));
            shard.Append(ref key, _main.ScratchValue(length));
            Prove(page[i].Record, value, _main.Exits[i].IsPinned);
        }

        shard.DropOldestPage();
    }

    private void Prove(in CacheRecord record, ReadOnlySpan<byte> value, bool pinned)
    {
        if (!_links.IsOnDisk(record.Key, record.Length))
            _links.Proven(record, value.Slice(ChunkValue.HeaderBytes, record.Length), pinned);
    }

    [LoggerMessage(1010, LogLevel.Error, "A chunk was not written to the hot tier")]
    private static partial void LogWriteFailed(ILogger logger, Exception exception);

    /// <summary>One part of the tier: its shards, and what the writer needs to turn a page of them.</summary>
    private sealed unsafe class ShardSet : IDisposable
    {
        private readonly HotTierShard[] _shards;

        public ShardSet(HotTierLayout layout)
        {
            Layout = layout;
            _shards = [.. layout.Shards.Select(s => new HotTierShard(s))];
            var records = layout.Shards.Max(s => s.PageRecords);
            Page = new PageRecord[records];
            Exits = new ExitEntry[records];
            Keep = new bool[records];
        }

        public HotTierLayout Layout { get; }

        public PageRecord[] Page { get; }

        public ExitEntry[] Exits { get; }

        public bool[] Keep { get; }

        /// <summary>Room for one value on its way from a page to a tail; pinned for life.</summary>
        public byte[] Scratch { get; } = GC.AllocateUninitializedArray<byte>(ChunkValue.MaxBytes, pinned: true);

        public long UsedBytes => _shards.Sum(s => s.UsedBytes);

        public long EvictedBytes => _shards.Sum(s => s.EvictedBytes);

        public int SessionsInUse => _shards.Sum(s => s.SessionsInUse);

        public SpanByte ScratchValue(int length) => new(length, (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref Scratch[0]));

        public HotTierShard Of(in ChunkKey key) => _shards[Layout.ShardOf(key)];

        public void Dispose()
        {
            foreach (var shard in _shards)
                shard.Dispose();
        }
    }
}

/// <summary>A chunk on its way into the hot tier.</summary>
/// <param name="Record">What it is.</param>
/// <param name="Value">Header and chunk in pinned memory, valid until <paramref name="Settled"/> is called.</param>
/// <param name="Settled">Called once, when the chunk is written or refused: gives its buffer back.</param>
/// <param name="IsPinned">Of a pinned object: main and disk, whatever the ghost says.</param>
/// <param name="ToMain">Proven otherwise: prewarmed, or read from disk again and again.</param>
internal readonly record struct Admission(CacheRecord Record, SpanByte Value, Action Settled, bool IsPinned = false, bool ToMain = false)
{
    private static readonly Action Nothing = static () => { };

    /// <summary>No bytes: the chunk is in the tier, and is to be written to disk.</summary>
    public bool IsReused => Record.Length == 0;

    public static Admission Reused(in ChunkKey key) => new(new(key, default, 0, 0), default, Nothing);
}

/// <summary>Receives a proven chunk whose bytes are not on disk; they are valid during the call alone. Called on the hot tier's writer thread.</summary>
internal delegate void ProvenChunk(in CacheRecord record, ReadOnlySpan<byte> chunk, bool pinned);

/// <summary>
/// What the hot tier asks of what lies around it, on its writer's thread, but for <see cref="IsOnDisk"/>, which readers ask too. The defaults are those of an edge without
/// pins and disk.
/// </summary>
internal sealed record HotTierLinks
{
    /// <summary>Whether the object of this version is pinned, and its pin was granted.</summary>
    public Func<ObjectHash, bool> IsPinned { get; init; } = static _ => false;

    /// <summary>By key and length; any thread, no I/O.</summary>
    public Func<ChunkKey, int, bool> IsOnDisk { get; init; } = static (_, _) => true;

    /// <summary>Whether the disk tier has free room: then it takes unproven chunks too, as nothing has to leave for them.</summary>
    public Func<bool> HasDiskRoom { get; init; } = static () => false;

    public ProvenChunk Proven { get; init; } = static (in _, _, _) => { };
}
