using System.Text.Json;
using System.Text.Json.Serialization;
using Delivery.Edge.Cache;
using Delivery.ObjectStore;

namespace Delivery.Edge.Objects;

/// <summary>
/// An object's metadata as a record of the disk tier, so that a restarted edge answers without upstream. JSON: read once per object and restart, and a
/// later version may add a field. Only of immutable objects: of the others upstream must be asked anyway what is true now.
/// </summary>
/// <param name="Generation">The path's generation when upstream was asked (<see cref="EdgeObject.Generation"/>).</param>
internal sealed record StoredObject(
    string Path, string Key, long Length, string Version, string ContentType, string? Sha256, DateTimeOffset LastModified, long Generation)
{
    /// <summary>Bytes of a record at most; more is not stored. Path and key are a request line's at most (8 KiB), and escapes may grow them.</summary>
    public const int MaxBytes = 64 * 1024;

    /// <summary>The record's bytes; empty for an object that is not stored.</summary>
    public static byte[] Write(EdgeObject known)
    {
        if (known.Info is not { } info || !known.IsImmutable)
            return [];
        var stored = new StoredObject(known.Path, info.Key.Value, info.Length, info.Version, info.ContentType, info.Sha256, info.LastModified, known.Generation);
        var bytes = JsonSerializer.SerializeToUtf8Bytes(stored, StoredObjectJson.Default.StoredObject);
        return bytes.Length <= MaxBytes ? bytes : [];
    }

    /// <summary>The object again; null when the bytes are not one of this path, or one that is not to be believed without asking.</summary>
    public static EdgeObject? Read(ReadOnlySpan<byte> bytes, ObjectHash path)
    {
        try
        {
            if (JsonSerializer.Deserialize(bytes, StoredObjectJson.Default.StoredObject) is not { Length: >= 0 } stored || !ObjectKey.TryParse(stored.Key, out var key))
                return null;
            var known = EdgeObject.Present(stored.Path, new(key, stored.Length, stored.Version, stored.ContentType, stored.Sha256, stored.LastModified), stored.Generation, freshness: null);
            return known.IsImmutable && known.PathHash == path ? known : null;
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
