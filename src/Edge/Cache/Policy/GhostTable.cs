namespace Delivery.Edge.Cache.Policy;

/// <summary>
/// Remembers the names of chunks that left probation unproven, so that a second fill within this memory counts as re-use. It forgets first in, first out.
/// </summary>
/// <remarks>
/// The S3-FIFO paper's fingerprint table (Yang et al., SOSP 2023, §4.2): <c>bucket of 16 entries, one cache line; entry = 17 bits of fingerprint | 15 bits of
/// time stamp</c>. Time is counted in units of 1/8,192 of the capacity, so an entry's age is known to that precision, and stamps wrap after four
/// capacities; an entry that old has long been overwritten, because a bucket gives up its oldest entry first. A wrong "yes" has a chance of 16 in 131,072
/// and costs no more than a chunk admitted one use too early. One thread adds and removes; any thread may ask.
/// </remarks>
internal sealed class GhostTable
{
    private const int BucketEntries = 16;
    private const int StampBits = 15;
    private const uint StampMask = (1u << StampBits) - 1;
    private const int LifeUnits = 1 << (StampBits - 2);

    // Entries per key: buckets fill unevenly, and what does not fit is forgotten early.
    private const double Room = 1.25;

    private readonly uint[] _entries;
    private readonly uint _buckets;
    private readonly int _unit;
    private long _added;

    /// <param name="capacity">Keys remembered. At the bound the oldest is forgotten.</param>
    public GhostTable(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        Capacity = capacity;
        _buckets = (uint)Math.Ceiling(capacity * Room / BucketEntries);
        _entries = new uint[checked((int)(_buckets * BucketEntries))];
        _unit = Math.Max(1, (int)Math.Ceiling((double)capacity / LifeUnits));
    }

    public int Capacity { get; }

    /// <summary>Memory of a table: 5 bytes for each key.</summary>
    public static long BytesFor(int capacity) => (long)Math.Ceiling(capacity * Room / BucketEntries) * BucketEntries * sizeof(uint);

    /// <summary>The largest capacity whose table takes at most <paramref name="bytes"/>.</summary>
    public static int CapacityFor(long bytes) => (int)Math.Clamp((bytes / sizeof(uint) - BucketEntries) / Room, 1, int.MaxValue / 2);

    public bool Contains(in ChunkKey key) => Find(key, out _) >= 0;

    public void Add(in ChunkKey key)
    {
        var now = ++_added;
        var at = Find(key, out var fingerprint);
        if (at < 0)
            at = Oldest(Bucket(key));
        Volatile.Write(ref _entries[at], fingerprint << StampBits | StampOf(now));
    }

    /// <summary>Forgets a key; says whether it was remembered.</summary>
    public bool Remove(in ChunkKey key)
    {
        var at = Find(key, out _);
        if (at < 0)
            return false;
        Volatile.Write(ref _entries[at], 0);
        return true;
    }

    private int Find(in ChunkKey key, out uint fingerprint)
    {
        // The bucket comes from the low half of the mix, the fingerprint from the high end. 0 is an empty entry.
        fingerprint = Math.Max(1, (uint)(key.Mix() >> (64 - 32 + StampBits)));
        var first = Bucket(key);
        for (var i = first; i < first + BucketEntries; i++)
        {
            var entry = Volatile.Read(ref _entries[i]);
            if (entry >> StampBits == fingerprint && Age(entry) < LifeUnits && IsWithinCapacity(entry))
                return i;
        }

        return -1;
    }

    private int Oldest(int first)
    {
        var oldest = first;
        for (var i = first; i < first + BucketEntries; i++)
        {
            if (_entries[i] == 0)
                return i;
            if (Age(_entries[i]) > Age(_entries[oldest]))
                oldest = i;
        }

        return oldest;
    }

    private int Bucket(in ChunkKey key) => (int)((key.Mix() & uint.MaxValue) * _buckets >> 32) * BucketEntries;

    private uint StampOf(long added) => (uint)(added / _unit) & StampMask;

    // Units since the entry was added.
    private uint Age(uint entry) => StampOf(Volatile.Read(ref _added)) - entry & StampMask;

    // Small tables count single keys (a unit of 1), so their capacity may be less than the life of a stamp.
    private bool IsWithinCapacity(uint entry) => (long)Age(entry) * _unit < Capacity;
}
