using System.Numerics;

namespace Delivery.Cli.Soak;

/// <summary>Times in fixed memory: 16 buckets per power of two microseconds, so a percentile is at most 6 % too high; the maximum is exact. Thread-safe.</summary>
internal sealed class LatencyHistogram
{
    private const int SubBits = 4;

    private readonly long[] _buckets = new long[(64 - SubBits + 1) << SubBits];
    private long _count;
    private long _max;

    public long Count => Volatile.Read(ref _count);

    public TimeSpan Max => Microseconds(Volatile.Read(ref _max));

    public void Record(TimeSpan time)
    {
        var value = Math.Max(0, (long)time.TotalMicroseconds);
        Interlocked.Increment(ref _buckets[IndexOf(value)]);
        Interlocked.Increment(ref _count);
        for (long max; value > (max = Volatile.Read(ref _max)) && Interlocked.CompareExchange(ref _max, value, max) != max;)
        {
        }
    }

    /// <param name="share">0 to 1.</param>
    public TimeSpan Percentile(double share)
    {
        var wanted = Math.Max(1, (long)Math.Ceiling(Count * share));
        long seen = 0;
        for (var i = 0; i < _buckets.Length; i++)
        {
            seen += Volatile.Read(ref _buckets[i]);
            if (seen >= wanted)
                return TimeSpan.FromTicks(Math.Min(Microseconds(UpperBound(i)).Ticks, Max.Ticks));
        }

        return Max;
    }

    internal static int IndexOf(long value)
    {
        if (value < 1 << SubBits)
            return (int)value;
        var shift = BitOperations.Log2((ulong)value) - SubBits;
        return ((shift + 1) << SubBits) + (int)((value >> shift) & ((1 << SubBits) - 1));
    }

    internal static long UpperBound(int index)
    {
        if (index < 1 << SubBits)
            return index;
        var shift = (index >> SubBits) - 1;
        return (((1L << SubBits) + (index & ((1 << SubBits) - 1)) + 1) << shift) - 1;
    }

    private static TimeSpan Microseconds(long value) => TimeSpan.FromTicks(value * TimeSpan.TicksPerMicrosecond);
}
