using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Delivery.Edge.Freshness;

/// <summary>RFC 9110 §5.6.7: a date as a field says it. Whole seconds, GMT.</summary>
internal static class HttpDate
{
    private const string ImfFixdate = "ddd, dd MMM yyyy HH:mm:ss 'GMT'";
    private static readonly string[] Asctime = ["ddd MMM dd HH:mm:ss yyyy", "ddd MMM  d HH:mm:ss yyyy"];

    /// <summary>
    /// Reads any of the three formats that §5.6.7 has a recipient accept, and no other: whoever writes another means to be clever, and a date that is not understood makes a response
    /// stale, which is the safe side.
    /// </summary>
    /// <param name="now">What a year of two digits goes by: more than 50 years ahead means the century before.</param>
    public static bool TryParse([NotNullWhen(true)] string? text, DateTimeOffset now, out DateTimeOffset date)
    {
        const DateTimeStyles Utc = DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal;
        if (DateTimeOffset.TryParseExact(text, ImfFixdate, CultureInfo.InvariantCulture, Utc, out date))
            return true;
        if (TryParseRfc850(text, now, out date))
            return true;
        return DateTimeOffset.TryParseExact(text, Asctime, CultureInfo.InvariantCulture, Utc, out date);
    }

    public static string Format(DateTimeOffset date) => date.ToUniversalTime().ToString(ImfFixdate, CultureInfo.InvariantCulture);

    // The day of the week is not compared: it is that of a year whose century the text does not say.
    private static bool TryParseRfc850(string? text, DateTimeOffset now, out DateTimeOffset date)
    {
        date = default;
        var comma = text?.IndexOf(',', StringComparison.Ordinal) ?? -1;
        if (comma < 0 || !Enum.GetNames<DayOfWeek>().Contains(text![..comma]))
            return false;
        var rest = text[(comma + 1)..];
        const string DayAndTime = " dd-MMM-yyyy HH:mm:ss 'GMT'";
        if (rest.Length != DayAndTime.Length - 4 || !int.TryParse(rest.AsSpan(8, 2), NumberStyles.None, CultureInfo.InvariantCulture, out var year))
            return false;
        year += now.Year / 100 * 100;
        if (year > now.Year + 50)
            year -= 100;
        return DateTimeOffset.TryParseExact(
            string.Create(CultureInfo.InvariantCulture, $"{rest.AsSpan(0, 8)}{year:0000}{rest.AsSpan(10)}"), DayAndTime, CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out date);
    }
}
