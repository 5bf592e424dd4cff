using System.Text.Json;
using System.Text.Json.Serialization;

namespace Delivery.Origin.Catalog;

/// <summary>What every manifest has.</summary>
internal abstract record Manifest
{
    public const int CurrentFormat = 1;

    /// <summary>A manifest of another format is refused. It rises only when an older origin would do harm by treating it as its own.</summary>
    [JsonPropertyOrder(-1)]
    public int Format { get; init; } = CurrentFormat;

    /// <summary>Read from a secondary store while the primary did not answer (<see cref="ObjectStore.ObjectInfo.MayBeStale"/>): it was so once. Never written.</summary>
    [JsonIgnore]
    public bool MayBeStale { get; init; }

    /// <summary>Members of a newer origin, kept as they are when this one rewrites the manifest: several versions may run side by side. (Settable: the source generator cannot bind it otherwise.)</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Further { get; set; }
}
