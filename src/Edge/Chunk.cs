namespace Delivery.Edge;

/// <summary>The cache's unit: an aligned range of an object.</summary>
public static class Chunk
{
    /// <summary>
    /// 128 KiB: the head that a player asks for (64 KiB) lies in one chunk, and a disk read of this size is already at full bandwidth
    /// (docs/adr on the cache). The last chunk of an object is shorter.
    /// </summary>
    public const int SizeBytes = 128 * 1024;

    /// <summary>Chunks in one fill at most: 1 MiB, what an aborted <c>bytes=0-</c> costs upstream at worst.</summary>
    public const int MaxRun = 8;

    internal static long IndexOf(long offset) => offset / SizeBytes;

    internal static long CountOf(long objectLength) => (objectLength + SizeBytes - 1) / SizeBytes;

    internal static int LengthOf(long index, long objectLength) => (int)Math.Clamp(objectLength - index * SizeBytes, 0, SizeBytes);
}
