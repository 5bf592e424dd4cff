using System.Runtime.CompilerServices;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// Headers of records that were read lately, checked when they came in: a range from the middle of a chunk then costs one system call and not two (measured: the second
/// is 1.2 µs, a quarter of a 4 KiB hit). A fixed table, one place for each key; whoever comes later takes it.
/// </summary>
/// <remarks>
/// A record never changes and its place is never used again, so an entry cannot be out of date. Each entry has a turn, odd while it is written to: a reader that sees
/// the turn change has read nothing.
/// </remarks>
internal sealed class HeaderCache
{
    /// <summary>A power of two; 2.5 MiB. One for each chunk of 2 GiB: far more than is read from the page cache within a listener's pause.</summary>
    private const int Entries = 16_384;

    private readonly Entry[] _entries = new Entry[Entries];

    /// <summary>Copies the header of the record that lies there, if it is known.</summary>
    public bool TryGet(in ChunkKey key, in ChunkLocation location, Span<byte> header)
    {
        ref var entry = ref _entries[SlotOf(key)];
        var turn = Volatile.Read(ref entry.Turn);
        if ((turn & 1) != 0 || !entry.Location.Equals(location) || !entry.Key.Equals(key))
            return false;
        ((ReadOnlySpan<byte>)entry.Header)[..header.Length].CopyTo(header);
        Volatile.ReadBarrier();
        return Volatile.Read(ref entry.Turn) == turn;
    }

    /// <summary>Remembers a header that was checked, key and length included.</summary>
    public void Put(in ChunkKey key, in ChunkLocation location, ReadOnlySpan<byte> header)
    {
        ref var entry = ref _entries[SlotOf(key)];
        var turn = Volatile.Read(ref entry.Turn);
        // Test before write: the entry of a popular chunk is shared by every reader. Two writers at once: one is enough.
        if ((turn & 1) != 0 || (entry.Location.Equals(location) && entry.Key.Equals(key)) || Interlocked.CompareExchange(ref entry.Turn, turn + 1, turn) != turn)
            return;
        entry.Key = key;
        entry.Location = location;
        header.CopyTo(entry.Header);
        Volatile.Write(ref entry.Turn, turn + 2);
    }

    private static int SlotOf(in ChunkKey key) => (int)(key.Mix() >> 32) & (Entries - 1);

    [InlineArray(SegmentFormat.MaxRecordHeaderBytes)]
    private struct HeaderBytes
    {
        private byte _first;
    }

    private struct Entry
    {
        public int Turn;
        public ChunkKey Key;

        // No record has offset 0, so an empty entry is nobody's.
        public ChunkLocation Location;
        public HeaderBytes Header;
    }
}
