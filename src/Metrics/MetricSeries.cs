using System.Runtime.CompilerServices;

namespace Delivery.Metrics;

/// <summary>A cell as found by one order of tags. Series of equal labels share their cell.</summary>
internal sealed class MetricSeries(string labels, KeyValuePair<string, object?>[] tags, MetricCell cell)
{
    /// <summary>The labels as in the exposition, without braces; sorted by name.</summary>
    public string Labels { get; } = labels;

    public MetricCell Cell { get; } = cell;

    public MetricSeries WithTags(ReadOnlySpan<KeyValuePair<string, object?>> measured) => new(Labels, measured.ToArray(), Cell);

    public bool HasTags(ReadOnlySpan<KeyValuePair<string, object?>> measured)
    {
        if (measured.Length != tags.Length)
            return false;
        for (var i = 0; i < tags.Length; i++)
        {
            if (!ReferenceEquals(measured[i].Key, tags[i].Key) && measured[i].Key != tags[i].Key)
                return false;
            if (!ReferenceEquals(measured[i].Value, tags[i].Value) && !Equals(measured[i].Value, tags[i].Value))
                return false;
        }

        return true;
    }

    public static uint Hash(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var hash = 0;
        foreach (var tag in tags)
            hash = hash * 31 + (tag.Value?.GetHashCode() ?? 0);
        return (uint)(hash ^ hash >>> 15);
    }
}

/// <summary>The numbers of a series, changed without locks. A reader may see a histogram between two of its updates; the next read heals that.</summary>
internal sealed class MetricCell(int buckets)
{
    private readonly long[] _buckets = new long[buckets];
    private double _value;

    /// <summary>The counter's or gauge's value, or the histogram's sum.</summary>
    public double Value => Volatile.Read(ref _value);

    public long Bucket(int index) => Volatile.Read(ref _buckets[index]);

    public void Set(double value) => Volatile.Write(ref _value, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(double value)
    {
        for (var seen = Volatile.Read(ref _value); ;)
        {
            var before = Interlocked.CompareExchange(ref _value, seen + value, seen);
            if (BitConverter.DoubleToInt64Bits(before) == BitConverter.DoubleToInt64Bits(seen))
                return;
            seen = before;
        }
    }

    public void Record(double value, double[] bounds)
    {
        // Prometheus: a bucket holds what is less than or equal to its bound.
        var index = 0;
        while (index < bounds.Length && value > bounds[index])
            index++;
        Interlocked.Increment(ref _buckets[index]);
        Add(value);
    }
}
