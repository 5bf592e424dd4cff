using System.Numerics;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// How a RAM budget is cut into FASTER stores. FASTER's memory size is a power of two and it rounds down, so one store would waste up to
/// half of a budget: 12 GiB would become 8. The budget is therefore written in binary (12 = 8 + 4), largest shard first, and each key
/// goes to a shard in proportion to its size. The remainder is left unused: below 1/64 of the budget, or 4 MiB where that is more.
/// </summary>
internal sealed class HotTierLayout
{
    /// <summary>Below this FASTER has too few pages to keep a margin.</summary>
    public const long SmallestShardBytes = 4L << 20;

    /// <summary>Every record takes at least this much log, however short its chunk, which bounds the index and the key lists.</summary>
    public const int MinRecordBytes = 8192;

    /// <summary>Shard of each slot; a slot stands for one <see cref="UnitBytes"/> of log.</summary>
    private readonly byte[] _shardOfSlot;

    private HotTierLayout(IReadOnlyList<HotTierShardSize> shards)
    {
        Shards = shards;
        UnitBytes = shards[^1].LogBytes;
        _shardOfSlot = [.. shards.SelectMany((s, i) => Enumerable.Repeat((byte)i, (int)(s.LogBytes / UnitBytes)))];
    }

    /// <summary>Largest first.</summary>
    public IReadOnlyList<HotTierShardSize> Shards { get; }

    /// <summary>The smallest shard's size: the unit in which the shards are weighed.</summary>
    public long UnitBytes { get; }

    /// <summary>All that the shards take; at most the budget.</summary>
    public long TotalBytes => Shards.Sum(s => s.TotalBytes);

    public long LogBytes => Shards.Sum(s => s.LogBytes);

    public static HotTierLayout For(long budgetBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(budgetBytes, new HotTierShardSize(SmallestShardBytes).TotalBytes);
        // At least 1/128 of the budget, so that there are few shards; less than 1/64 of it is left over.
        var smallest = Math.Max(SmallestShardBytes, (long)BitOperations.RoundUpToPowerOf2((ulong)(budgetBytes / 128)));
        var shards = new List<HotTierShardSize>();
        var left = budgetBytes;
        for (var size = 1L << BitOperations.Log2((ulong)budgetBytes); size >= smallest; size /= 2)
        {
            var shard = new HotTierShardSize(size);
            if (shard.TotalBytes > left)
                continue;
            shards.Add(shard);
            left -= shard.TotalBytes;
        }

        return new(shards);
    }

    /// <summary>The shard that holds a key: deterministic, in proportion to the shards' sizes.</summary>
    public int ShardOf(in ChunkKey key)
    {
        // FASTER's buckets and tags come from Mix(); the shard must come from other bits, or a shard would use only part of its index.
        var slot = (key.Object.High ^ (ulong)key.Index * 0xD6E8FEB86659FD93) >> 32;
        return _shardOfSlot[slot * (uint)_shardOfSlot.Length >> 32];
    }
}

/// <summary>Sizes of one FASTER store, all powers of two.</summary>
internal readonly record struct HotTierShardSize(long LogBytes)
{
    /// <summary>
    /// A record never spans pages: 4 MiB wastes 3 % of each page on 128 KiB chunks, 512 KiB a quarter; but of a shard three pages are free or being
    /// filled, so a small shard has small pages. An evicted page is cleared by whichever thread next leaves FASTER's epoch, so a page is also a stall
    /// (4 MiB: some 0.4 ms) and must not be larger.
    /// </summary>
    public long PageBytes => Math.Clamp(LogBytes / 16, 512L << 10, 4L << 20);

    public int Pages => (int)(LogBytes / PageBytes);

    /// <summary>Records that a page can hold.</summary>
    public int PageRecords => (int)(PageBytes / HotTierLayout.MinRecordBytes);

    /// <summary>16 bytes for every record that the log can hold; FASTER puts 7 entries in a 64-byte bucket.</summary>
    public long IndexBytes => LogBytes / HotTierLayout.MinRecordBytes * 16;

    /// <summary>The names of every record that the log can hold.</summary>
    public unsafe long KeyListBytes => LogBytes / HotTierLayout.MinRecordBytes * sizeof(ChunkKey);

    public long TotalBytes => LogBytes + IndexBytes + KeyListBytes;
}
