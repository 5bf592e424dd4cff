using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Ranges;

/// <summary>
/// Several ranges of one request (RFC 9110 §14.1.2). Answered in parts when they are few, ascend and do not overlap; else the whole object is sent, as §14.2 allows: many small or
/// overlapping ranges are how a client makes a server send more than the object (§17.15).
/// </summary>
internal sealed class RangeSet
{
    /// <summary>More than any player asks for (a container's index, its end, some media), and the parts' headers stay below 2 KiB.</summary>
    public const int MaxRanges = 8;

    private readonly List<RangeHeader> _ranges = [];

    private RangeSet()
    {
    }

    /// <summary>The ranges of a field that names 2 to <see cref="MaxRanges"/> of them, all well-formed; else null.</summary>
    public static RangeSet? Parse(StringValues field)
    {
        if (field.Count != 1 || field[0] is not { } text || !RangeHeader.TryTrimUnit(text, out var specs) || !specs.Contains(','))
            return null;
        var set = new RangeSet();
        foreach (var element in specs.Split(','))
        {
            var spec = specs[element].Trim(" \t");
            if (spec.IsEmpty)
                continue;
            var range = RangeHeader.ParseSpec(spec);
            if (range.IsNone || set._ranges.Count == MaxRanges)
                return null;
            set._ranges.Add(range);
        }

        return set._ranges.Count > 1 ? set : null;
    }

    /// <summary>Fits the ranges to an object. §14.1.2: those that cannot be satisfied are left out; the set cannot when none is left.</summary>
    /// <param name="parts">What to send: first byte, one past the last.</param>
    public RangeFit Fit(long length, out IReadOnlyList<(long Start, long End)> parts)
    {
        var fitting = new List<(long Start, long End)>(_ranges.Count);
        parts = fitting;
        foreach (var range in _ranges)
        {
            switch (range.Fit(length, out var start, out var end))
            {
                case RangeFit.Whole:
                    return RangeFit.Whole;
                case RangeFit.Part when fitting.Count > 0 && start < fitting[^1].End:
                    return RangeFit.Whole;
                case RangeFit.Part:
                    fitting.Add((start, end));
                    break;
            }
        }

        return fitting.Count > 0 ? RangeFit.Part : RangeFit.Unsatisfiable;
    }
}
