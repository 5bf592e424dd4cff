using Delivery.ObjectStore;

namespace Delivery.Transcoder.Results;

/// <summary>Where results lie in the store (docs/formats/manifests.md).</summary>
public static class ResultKeys
{
    /// <summary>Key of the result manifest: what went in, and what made it.</summary>
    /// <param name="masterSha256">Lower-case hex.</param>
    /// <param name="ladder">For example <c>default-1</c>.</param>
    /// <param name="encoder">For example <c>ffmpeg-5.1.9-1a2b3c4d</c>.</param>
    public static ObjectKey Manifest(string masterSha256, string ladder, string encoder) =>
        ObjectKey.Parse($"catalog/renditions/{masterSha256}/{ladder}-{encoder}.json");
}
