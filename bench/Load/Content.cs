namespace Delivery.Bench.Load;

/// <summary>What the origin's objects hold: any path is an object, and every byte of it follows from path and offset, so that origin and clients need no files.</summary>
internal static class Content
{
    /// <summary>Longest span that <see cref="At"/> gives.</summary>
    public const int MaxSpan = 256 * 1024;

    /// <summary>A prime: no two chunks of a power of two are alike, so a body made of the wrong chunk is seen.</summary>
    private const int Period = 1_048_573;

    private static readonly byte[] s_pattern = Make();

    /// <summary>Where the object's first byte is in the pattern.</summary>
    public static int StartOf(ReadOnlySpan<char> path)
    {
        // FNV-1a.
        var hash = 2166136261u;
        foreach (var character in path)
            hash = (hash ^ character) * 16777619u;
        return (int)(hash % Period);
    }

    /// <summary>The object's bytes from <paramref name="offset"/>; at most <see cref="MaxSpan"/>.</summary>
    public static ReadOnlyMemory<byte> At(int start, long offset, int length) => s_pattern.AsMemory((int)((start + offset) % Period), length);

    private static byte[] Make()
    {
        var pattern = new byte[Period + MaxSpan];
        new Random(20261121).NextBytes(pattern.AsSpan(0, Period));
        pattern.AsSpan(0, MaxSpan).CopyTo(pattern.AsSpan(Period));
        return pattern;
    }
}
