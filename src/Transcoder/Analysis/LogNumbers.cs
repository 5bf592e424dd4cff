using System.Globalization;

namespace Delivery.Transcoder.Analysis;

/// <summary>Numbers as ffmpeg prints them.</summary>
internal static class LogNumbers
{
    /// <summary>Reads also C's <c>-inf</c>, <c>inf</c>, <c>nan</c> and <c>-nan</c>, which .NET does not.</summary>
    public static bool TryParse(string text, out double value)
    {
        switch (text)
        {
            case "inf":
                value = double.PositiveInfinity;
                return true;
            case "-inf":
                value = double.NegativeInfinity;
                return true;
            case "nan" or "-nan":
                value = double.NaN;
                return true;
            default:
                return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
        }
    }
}
