namespace Delivery.Edge.Fills;

/// <summary>
/// How far a fill of one object reads: what its readers asked for, and beyond that only as much as they have proven. Players open <c>bytes=0-</c> and drop it, so an open range
/// proves nothing; reading on where the last fill ended does.
/// </summary>
/// <remarks>
/// The rule is an account: each chunk that a reader takes out of a fill (or that it reaches after it was read ahead) pays for one and a half chunks of upstream. So upstream gives
/// less than 1.5 times what readers missed, per object and whatever they do, and a run grows as 1, 1, 2, 3, 4, 6, 8, 8, … chunks for one steady reader, at once to 8 for a crowd.
/// Guarded by the fill table's lock, but for <see cref="Next"/>.
/// </remarks>
internal sealed class ReadAhead
{
    private long _read;
    private long _filled;
    private long _expected = -1;
    private long _next = -1;
    private long _end;

    /// <summary>The first chunk that was read ahead and that nobody has reached yet; -1 when there is none. Every hit looks at it.</summary>
    public long Next => Volatile.Read(ref _next);

    /// <summary>Where the next run ahead would start.</summary>
    public long End => _end;

    /// <summary>Chunks that may be asked of upstream on top of those that were: the most that keeps it below 1.5 times what was read.</summary>
    public long Allowed => Math.Max(0, (3 * _read - 2 * _filled - 1) / 2);

    /// <summary>Readers want chunks that are not in the cache.</summary>
    public void Read(int chunks) => _read += chunks;

    /// <summary>Chunks of the fill that starts at <paramref name="chunk"/>.</summary>
    /// <param name="chunk">Where the reader is.</param>
    /// <param name="wanted">Chunks that it asked for in so many words.</param>
    /// <param name="isSequential">It came here by reading.</param>
    public int Run(long chunk, int wanted, bool isSequential) =>
        isSequential || chunk == _expected ? (int)Math.Clamp(Allowed, wanted, Chunk.MaxRun) : wanted;

    /// <summary>A fill of <paramref name="run"/> chunks has started.</summary>
    public void Filled(long chunk, int wanted, int run)
    {
        _filled += run;
        _end = _expected = chunk + run;
        Volatile.Write(ref _next, run > wanted ? chunk + wanted : -1);
    }

    /// <summary>A reader has come to <paramref name="chunk"/>; false when another was first. True and <paramref name="isLast"/>: time for the next run.</summary>
    public bool Reach(long chunk, out bool isLast)
    {
        isLast = false;
        if (chunk != _next)
            return false;
        _read++;
        isLast = chunk + 1 == _end;
        Volatile.Write(ref _next, isLast ? -1 : chunk + 1);
        return true;
    }
}
