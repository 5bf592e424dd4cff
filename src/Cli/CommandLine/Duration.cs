using System.CommandLine.Parsing;
using System.Globalization;

namespace Delivery.Cli.CommandLine;

/// <summary>Durations as people write them: <c>90s</c>, <c>15m</c>, <c>1h</c>, <c>7d</c>.</summary>
internal static class Duration
{
    /// <summary>Ten years: longer is a slip of the pen.</summary>
    private static readonly TimeSpan Longest = TimeSpan.FromDays(3653);

    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        if (text.Length < 2 || !long.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return false;
        var seconds = text[^1] switch { 's' => 1L, 'm' => 60, 'h' => 3600, 'd' => 86400, _ => 0 };
        if (seconds == 0 || number == 0 || number > (long)Longest.TotalSeconds / seconds)
            return false;
        duration = TimeSpan.FromSeconds(number * seconds);
        return true;
    }

    /// <summary>For an option's CustomParser.</summary>
    public static TimeSpan Parse(ArgumentResult result)
    {
        if (TryParse(result.Tokens[0].Value, out var duration))
            return duration;
        result.AddError($"'{result.Tokens[0].Value}' is not a duration: write 90s, 15m, 1h or 7d (at most 10 years).");
        return default;
    }
}
