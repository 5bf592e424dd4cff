using System.Runtime.InteropServices;
using FASTER.core;

namespace Delivery.Edge.Cache;

/// <summary>Names one chunk of one version of one object: 24 bytes, fixed, so that no length is ever read from the log.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 8)]
internal readonly struct ChunkKey(ObjectHash hash, long index) : IEquatable<ChunkKey>
{
    public readonly ObjectHash Object = hash;

    /// <summary>The chunk's number in its object: offset divided by <see cref="Chunk.SizeBytes"/>.</summary>
    public readonly long Index = index;

    /// <summary>
    /// FASTER takes the bucket from the low bits and a 14-bit tag from the high ones, so every bit must depend on the whole key. The
    /// object's hash is already uniform; the index is spread by the golden ratio and folded with a multiply (splitmix64's finalizer).
    /// </summary>
    public ulong Mix()
    {
        var x = Object.Low ^ ((ulong)Index * 0x9E3779B97F4A7C15);
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }

    public bool Equals(ChunkKey other) => Object == other.Object && Index == other.Index;

    public override bool Equals(object? obj) => obj is ChunkKey other && Equals(other);

    public override int GetHashCode() => (int)Mix();
}

/// <summary>FASTER's default comparer boxes; this one is the key's own.</summary>
internal sealed class ChunkKeyComparer : IFasterEqualityComparer<ChunkKey>
{
    public bool Equals(ref ChunkKey k1, ref ChunkKey k2) => k1.Equals(k2);

    public long GetHashCode64(ref ChunkKey k) => (long)k.Mix();
}
