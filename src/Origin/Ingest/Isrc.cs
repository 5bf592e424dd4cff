using System.Text.RegularExpressions;

namespace Delivery.Origin.Ingest;

/// <summary>International Standard Recording Code.</summary>
internal static partial class Isrc
{
    /// <summary>The code's 12 characters, or null. ISO 3901: hyphens are for the eye, and letters are upper case.</summary>
    public static string? Normalize(string text)
    {
        var compact = text.Replace("-", "", StringComparison.Ordinal).ToUpperInvariant();
        return Shape().IsMatch(compact) ? compact : null;
    }

    // Two letters of the agency, three of the registrant, two digits of the year, five of the designation.
    [GeneratedRegex("^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}\\z")]
    private static partial Regex Shape();
}
