using Delivery.ObjectStore;

namespace Delivery.Transcoder.Results;

/// <summary>Where results lie in the store (docs/formats/manifests.md).</summary>
public static class ResultKeys
{
    private const string ManifestPrefix = "catalog/renditions/";
    private const string ManifestSuffix = ".json";

    /// <summary>Key of the result manifest: what went in, and what made it.</summary>
    /// <param name="masterSha256">Lower-case hex.</param>
    /// <param name="ladder">For example <c>default-1</c>.</param>
    /// <param name="encoder">For example <c>ffmpeg-5.1.9-1a2b3c4d</c>.</param>
    public static ObjectKey Manifest(string masterSha256, string ladder, string encoder) =>
        ObjectKey.Parse($"{ManifestPrefix}{masterSha256}/{ladder}-{encoder}{ManifestSuffix}");

    /// <summary>Key of the waveform: its manifest's, with another prefix and extension.</summary>
    /// <exception cref="FormatException">That is not a manifest's key.</exception>
    public static ObjectKey Waveform(ObjectKey manifest)
    {
        var key = manifest.Value;
        return key.StartsWith(ManifestPrefix, StringComparison.Ordinal) && key.EndsWith(ManifestSuffix, StringComparison.Ordinal)
            ? ObjectKey.Parse($"catalog/waveforms/{key[ManifestPrefix.Length..^ManifestSuffix.Length]}.dat")
            : throw new FormatException($"{key} is not the key of a result manifest.");
    }
}
