namespace Delivery.Edge.Objects;

/// <summary>
/// The media type of an object: by extension for what the ladder makes, because buckets are full of audio stored as
/// <c>application/octet-stream</c>, which players then refuse; else as stored.
/// </summary>
internal static class ContentTypes
{
    private const string Unknown = "application/octet-stream";

    public static string For(string path, string stored) => Path.GetExtension(path.AsSpan()) switch
    {
        ".ogg" or ".oga" or ".opus" => "audio/ogg",
        ".m4a" or ".mp4" => "audio/mp4",
        ".flac" => "audio/flac",
        ".mp3" => "audio/mpeg",
        ".aac" => "audio/aac",
        ".wav" => "audio/wav",
        _ => IsFieldValue(stored) ? stored : Unknown,
    };

    // RFC 9110 §5.5: what a store holds must not be able to end the header line.
    private static bool IsFieldValue(string text) => text.Length is > 0 and <= 255 && text.All(c => c is >= ' ' and < '\x7f');
}
