using System.Numerics;

namespace Delivery.Edge.Cache.HotTier;

/// <summary>
/// How a RAM budget is cut into FASTER stores. FASTER's memory size is a power of two and it rounds down, so one store would waste up to
/// half of a budget: 12 GiB would become 8. The budget is therefore written in binary (12 = 8 + 4), largest shard first, and each key
/// goes to a shard in proportion to its size. The remainder below 1/32 of the budget is left unused.
/// </summary>
internal sealed class HotTierLayout
{
    /// <summary>Below this FASTER has too few pages to keep a margin.</summary>
    private const long SmallestShardBytes = 8L << 20;

    /// <summary>Every record takes at least this much log, however short its chunk, which bounds the index (<see cref="ChunkValue"/>).</summary>
    public const int MinRecordBytes = 4096;

    private HotTierLayout(IReadOnlyList<HotTierShardSize> shards, long unitBytes)
    {
        Shards = shards;
        UnitBytes = unitBytes;
        Units = (uint)(shards.Sum(s => s.LogBytes) / unitBytes);
    }

    /// <summary>Largest first.</summary>
    public IReadOnlyList<HotTierShardSize> Shards { get; }

    /// <summary>The smallest shard's size: the unit in which the shards are weighed.</summary>
    public long UnitBytes { get; }

    public uint Units { get; }

    /// <summary>Log and index of all shards; at most the budget.</summary>
    public long TotalBytes => Shards.Sum(s => s.LogBytes + s.IndexBytes);

    public static HotTierLayout For(long budgetBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(budgetBytes, EdgeOptions.MinHotTierBytes);
        var smallest = Math.Max(SmallestShardBytes, (long)BitOperations.RoundUpToPowerOf2((ulong)(budgetBytes / 32)));
        var shards = new List<HotTierShardSize>();
        var left = budgetBytes;
        for (var size = 1L << BitOperations.Log2((ulong)budgetBytes); size >= smallest; size /= 2)
        {
            var shard = new HotTierShardSize(size);
            if (shard.LogBytes + shard.IndexBytes > left)
                continue;
            shards.Add(shard);
            left -= shard.LogBytes + shard.IndexBytes;
        }

        return new(shards, shards[^1].LogBytes);
    }

    /// <summary>The shard that holds a key: deterministic, in proportion to the shards' sizes.</summary>
    public int ShardOf(in ChunkKey key)
    {
        // FASTER's buckets and tags come from Mix(); the shard must come from other bits, or a shard would use only part of its index.
        var slot = (uint)(((key.Object.High ^ (ulong)key.Index * 0xD6E8FEB86659FD93) >> 32) * Units >> 32);
        long passed = 0;
        for (var i = 0; i < Shards.Count - 1; i++)
        {
            passed += Shards[i].LogBytes / UnitBytes;
            if (slot < passed)
                return i;
        }

        return Shards.Count - 1;
    }
}

/// <summary>Sizes of one FASTER store, all powers of two.</summary>
internal readonly record struct HotTierShardSize(long LogBytes)
{
    /// <summary>
    /// A record never spans pages: 4 MiB wastes 3 % of each page on 128 KiB chunks. An evicted page is cleared by whichever thread next
    /// leaves FASTER's epoch, so a page is also a stall (4 MiB: some 0.4 ms) and must not be larger.
    /// </summary>
    public long PageBytes => Math.Min(4L << 20, LogBytes / 8);

    /// <summary>16 bytes for every record that the log can hold; FASTER puts 7 entries in a 64-byte bucket.</summary>
    public long IndexBytes => LogBytes / HotTierLayout.MinRecordBytes * 16;
}
