using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Ranges;

/// <summary>
/// The one range that a request asks for, before the object's length is known (RFC 9110 §14.1.2, §14.2). Positions of more digits than a long
/// holds saturate: such a number is past any object's end.
/// </summary>
/// <param name="First">First byte; -1 for a suffix.</param>
/// <param name="Last">Last byte, <see cref="long.MaxValue"/> when open; for a suffix its length.</param>
internal readonly record struct RangeHeader(long First, long Last)
{
    /// <summary>No Range, or one that must be or may be ignored: the whole object is asked for.</summary>
    public static RangeHeader None => new(0, -1);

    public bool IsNone => Last < 0;

    public bool IsSuffix => First < 0;

    /// <summary>Without an end of its own: the whole object, or <c>bytes=N-</c>.</summary>
    public bool IsOpen => IsNone || (Last == long.MaxValue && !IsSuffix);

    /// <summary>
    /// Reads the field. §14.2: a server ignores a range of an unknown unit and one that it cannot understand. Several ranges are <see cref="RangeSet"/>'s, and
    /// none here; <c>#rule</c> lists may hold empty elements (§5.6.1.2), so <c>bytes=0-1,</c> is one range.
    /// </summary>
    public static RangeHeader Parse(StringValues field)
    {
        if (field.Count != 1 || field[0] is not { } text)
            return None;
        if (!TryTrimUnit(text, out var set))
            return None;
        if (!set.Contains(','))
            return ParseSpec(set);
        var found = None;
        foreach (var element in set.Split(','))
        {
            var spec = set[element].Trim(" \t");
            if (spec.IsEmpty)
                continue;
            if (!found.IsNone)
                return None;
            found = ParseSpec(spec);
            if (found.IsNone)
                return None;
        }

        return found;
    }

    /// <summary>What follows <c>bytes=</c>. §14.1: unit names are case-insensitive.</summary>
    public static bool TryTrimUnit(ReadOnlySpan<char> text, out ReadOnlySpan<char> set)
    {
        const string Unit = "bytes=";
        var isBytes = text.StartsWith(Unit, StringComparison.OrdinalIgnoreCase);
        set = isBytes ? text[Unit.Length..] : default;
        return isBytes;
    }

    /// <summary>One range of a set; <see cref="None"/> when it is not well-formed.</summary>
    public static RangeHeader ParseSpec(ReadOnlySpan<char> spec)
    {
        var dash = spec.IndexOf('-');
        if (dash < 0)
            return None;
        var first = spec[..dash];
        var last = spec[(dash + 1)..];
        if (first.IsEmpty)
            return TryParseDigits(last, out var suffix) ? new(-1, suffix) : None;
        if (!TryParseDigits(first, out var from))
            return None;
        if (last.IsEmpty)
            return new(from, long.MaxValue);
        return TryParseDigits(last, out var to) && to >= from ? new(from, to) : None;
    }

    /// <summary>Fits the range to an object.</summary>
    /// <param name="start">First byte to send.</param>
    /// <param name="end">One past the last byte to send.</param>
    public RangeFit Fit(long length, out long start, out long end)
    {
        (start, end) = (0, length);
        if (IsNone)
            return RangeFit.Whole;
        if (IsSuffix)
        {
            if (Last == 0)
                return RangeFit.Unsatisfiable;
            // §14.1.2: a suffix longer than the object is the whole of it. Of an empty object that is no byte, which Content-Range cannot
            // say, so the range is ignored.
            if (length == 0)
                return RangeFit.Whole;
            start = Math.Max(0, length - Last);
            return RangeFit.Part;
        }

        if (First >= length)
            return RangeFit.Unsatisfiable;
        start = First;
        end = Last >= length ? length : Last + 1;
        return RangeFit.Part;
    }

    // 1*DIGIT: no sign, no space, no separator.
    private static bool TryParseDigits(ReadOnlySpan<char> text, out long value)
    {
        value = 0;
        foreach (var c in text)
        {
            if (!char.IsAsciiDigit(c))
                return false;
            value = value > (long.MaxValue - 9) / 10 ? long.MaxValue : value * 10 + (c - '0');
        }

        return text.Length > 0;
    }
}

internal enum RangeFit
{
    /// <summary>200 with everything.</summary>
    Whole,

    /// <summary>206 with a part.</summary>
    Part,

    /// <summary>416.</summary>
    Unsatisfiable,
}
