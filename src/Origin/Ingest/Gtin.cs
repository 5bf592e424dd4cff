namespace Delivery.Origin.Ingest;

/// <summary>UPC (GTIN-12) and EAN (GTIN-13).</summary>
internal static class Gtin
{
    /// <summary>GS1 General Specifications §7.9.1: from the right, digits weigh 1 and 3 in turn, and the sum is a multiple of ten.</summary>
    public static bool IsValid(string text)
    {
        if (text.Length is not (12 or 13) || text.AsSpan().ContainsAnyExceptInRange('0', '9'))
            return false;
        var sum = 0;
        for (var i = 0; i < text.Length; i++)
            sum += (text[^(i + 1)] - '0') * (i % 2 == 0 ? 1 : 3);
        return sum % 10 == 0;
    }
}
