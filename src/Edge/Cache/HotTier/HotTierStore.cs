using System.Collections.Concurrent;
using FASTER.core;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// Chunks in RAM. A hit is synchronous, allocates nothing and copies once. Writes happen on one thread behind a bounded queue, so a request
/// never waits for FASTER to turn a page.
/// </summary>
internal sealed partial class HotTierStore : IDisposable
{
    private readonly HotTierLayout _layout;
    private readonly HotTierShard[] _shards;
    private readonly BlockingCollection<Admission> _queue;
    private readonly Thread _writer;
    private readonly ILogger _log;
    private long _admitted;
    private long _notAdmitted;

    /// <param name="budgetBytes">RAM for log and index of all shards.</param>
    /// <param name="queueLength">Chunks that may wait to be written. At the bound a chunk is not admitted.</param>
    public HotTierStore(long budgetBytes, int queueLength, ILogger log)
    {
        _log = log;
        _layout = HotTierLayout.For(budgetBytes);
        _shards = [.. _layout.Shards.Select(s => new HotTierShard(s))];
        _queue = new(queueLength);
        _writer = new(Write) { IsBackground = true, Name = "hot tier writer" };
        _writer.Start();
    }

    public long BudgetBytes => _layout.TotalBytes;

    public long UsedBytes => _shards.Sum(s => s.UsedBytes);

    public long EvictedBytes => _shards.Sum(s => s.EvictedBytes);

    public long Admitted => Volatile.Read(ref _admitted);

    public long NotAdmitted => Volatile.Read(ref _notAdmitted);

    public int SessionsInUse => _shards.Sum(s => s.SessionsInUse);

    public bool Contains(ChunkKey key, int chunkLength) => _shards[_layout.ShardOf(key)].Contains(ref key, chunkLength);

    /// <summary>Copies a part of a chunk to <paramref name="destination"/>, filling it; false when the chunk is absent.</summary>
    public unsafe bool TryRead(ChunkKey key, int chunkLength, int offset, Span<byte> destination)
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
            };
            return _shards[_layout.ShardOf(key)].TryRead(ref key, ref read);
        }
    }

    /// <summary>Queues a chunk; false (and counted) when the queue is full. <see cref="Admission.Settled"/> is called in every case.</summary>
    public void Admit(Admission chunk)
    {
        if (!_queue.IsAddingCompleted && _queue.TryAdd(chunk))
            return;
        Interlocked.Increment(ref _notAdmitted);
        chunk.Settled();
    }

    public void Dispose()
    {
        _queue.CompleteAdding();
        _writer.Join();
        _queue.Dispose();
        foreach (var shard in _shards)
            shard.Dispose();
    }

    private void Write()
    {
        foreach (var chunk in _queue.GetConsumingEnumerable())
        {
            try
            {
                var key = chunk.Key;
                _shards[_layout.ShardOf(key)].Write(ref key, chunk.Value);
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

    [LoggerMessage(1010, LogLevel.Error, "A chunk was not written to the hot tier")]
    private static partial void LogWriteFailed(ILogger logger, Exception exception);
}

/// <summary>A chunk on its way into the hot tier.</summary>
/// <param name="Key">Its name.</param>
/// <param name="Value">Header and chunk in pinned memory, valid until <paramref name="Settled"/> is called.</param>
/// <param name="Settled">Called once, when the chunk is written or refused: gives its buffer back.</param>
internal readonly record struct Admission(ChunkKey Key, SpanByte Value, Action Settled);
