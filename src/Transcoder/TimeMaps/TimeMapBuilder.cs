using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.TimeMaps;

/// <summary>Picks about one point per second out of a file's decodable units, and at most <see cref="MaxPoints"/>: longer tracks get a wider step.</summary>
internal sealed class TimeMapBuilder(int sampleRate, TimeSpan duration)
{
    /// <summary>About an hour at one per second; the manifest's part for one rendition stays under 80 KB.</summary>
    public const int MaxPoints = 4_096;

    private readonly long _stepMs = Math.Max(1_000, (long)Math.Ceiling(duration.TotalMilliseconds / (MaxPoints - 1)));
    private readonly List<TimePoint> _points = [];
    private long _nextMs;

    public IReadOnlyList<TimePoint> Points => _points;

    /// <summary>A unit starts at <paramref name="offset"/> with the sample <paramref name="sample"/>; called in ascending order.</summary>
    public void Add(long offset, long sample)
    {
        var timeMs = (long)((Int128)sample * 1000 / sampleRate);
        if (timeMs < _nextMs || _points.Count == MaxPoints)
            return;
        _points.Add(new TimePoint(offset, timeMs));
        // From the grid, not from the unit, or pages that miss a second by little would make every step longer.
        _nextMs = (timeMs / _stepMs + 1) * _stepMs;
    }
}
