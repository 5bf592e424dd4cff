using System.Diagnostics;

namespace Delivery.Bench.Load;

/// <summary>Times, and what is said of them: milliseconds.</summary>
internal sealed class Samples(int capacity = 16)
{
    private readonly List<double> _milliseconds = new(capacity);
    private bool _sorted;

    public int Count => _milliseconds.Count;

    public void Add(long fromTimestamp, long toTimestamp)
    {
        _milliseconds.Add((toTimestamp - fromTimestamp) * 1000.0 / Stopwatch.Frequency);
        _sorted = false;
    }

    /// <summary>Nearest rank; 0 without samples.</summary>
    public double Percentile(double p)
    {
        if (_milliseconds.Count == 0)
            return 0;
        if (!_sorted)
            _milliseconds.Sort();
        _sorted = true;
        return Math.Round(_milliseconds[Math.Max(0, (int)Math.Ceiling(p / 100 * _milliseconds.Count) - 1)], 3);
    }

    /// <summary>Puts p50, p99, p999 and max into an answer, each name after <paramref name="name"/>.</summary>
    public void Report(Dictionary<string, object> report, string name)
    {
        report[$"{name}P50"] = Percentile(50);
        report[$"{name}P99"] = Percentile(99);
        report[$"{name}P999"] = Percentile(99.9);
        report[$"{name}Max"] = Percentile(100);
    }
}
