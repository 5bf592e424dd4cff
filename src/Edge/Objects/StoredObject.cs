using System.Text.Json;
using System.Text.Json.Serialization;
using Delivery.ObjectStore;

namespace Delivery.Edge.Objects;

/// <summary>
/// An object's metadata as a record of the disk tier, so that a restarted edge answers without upstream. JSON: read once per object and restart, and a
/// later version may add a field. Only of immutable objects: of the others upstream must be asked anyway what is true now.
/// </summary>
internal sealed record StoredObject(string Path, string Key, long Length, string Version, string ContentType, string? Sha256, DateTimeOffset LastModified)
{
    /// <summary>Bytes of a record at most; more is not stored. Path and key are a request line's at most (8 KiB), and escapes may grow them.</summary>
    public const int MaxBytes = 64 * 1024;

    public static byte[] Write(EdgeObject known)
    {
        var info = known.Info!;
        return JsonSerializer.SerializeToUtf8Bytes(
            new StoredObject(known.Path, info.Key.Value, info.Length, info.Version, info.ContentType, info.Sha256, info.LastModified), StoredObjectJson.Default.StoredObject);
    }

    /// <summary>The object again; null when the bytes are not one, or one that is not to be believed without asking.</summary>
    public static EdgeObject? Read(ReadOnlySpan<byte> bytes, string path, long generation)
    {
        try
        {
            if (JsonSerializer.Deserialize(bytes, StoredObjectJson.Default.StoredObject) is not { Length: >= 0 } stored || stored.Path != path || !ObjectKey.TryParse(stored.Key, out var key))
                return null;
            var known = EdgeObject.Present(path, new(key, stored.Length, stored.Version, stored.ContentType, stored.Sha256, stored.LastModified), generation);
            return known.IsImmutable ? known : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(StoredObject))]
internal sealed partial class StoredObjectJson : JsonSerializerContext;
