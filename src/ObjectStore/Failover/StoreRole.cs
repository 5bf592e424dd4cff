using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Delivery.ObjectStore.Failover;

/// <summary>What a store is of two.</summary>
public enum StorePart
{
    /// <summary>Takes the writes.</summary>
    [JsonStringEnumMemberName("primary")]
    Primary,

    /// <summary>Follows.</summary>
    [JsonStringEnumMemberName("secondary")]
    Secondary,
}

/// <summary>What a store says of itself, at <see cref="StoreKeys.Role"/> (docs/formats/replication.md). Absent: epoch 1, and the first of the configuration is the primary.</summary>
public sealed record StoreRole
{
    public int Format { get; init; } = 1;

    /// <summary>Rises by one with each promotion. The highest one counts.</summary>
    public required int Epoch { get; init; }

    public required StorePart Role { get; init; }

    public required DateTimeOffset Since { get; init; }

    /// <summary>Who wrote it.</summary>
    public required string By { get; init; }

    /// <summary>Of a secondary that was the primary: everything that was accepted here and never replicated has been looked at, so it may be overwritten.</summary>
    public bool Settled { get; init; }
}

/// <summary>How far replication is, at <c>replication/mark.json</c> of the secondary: what an operator wants to know before promoting it.</summary>
public sealed record ReplicationMark
{
    public static readonly ObjectKey Key = ObjectKey.Parse("replication/mark.json");

    public int Format { get; init; } = 1;

    public required int Epoch { get; init; }

    /// <summary>Everything that was accepted before is here.</summary>
    public required DateTimeOffset ReplicatedAsOf { get; init; }

    /// <summary>Markers that stood for something not yet here.</summary>
    public required int Pending { get; init; }

    public required string By { get; init; }
}

/// <summary>What a marker announces.</summary>
public enum MarkerKind
{
    [JsonStringEnumMemberName("write")]
    Write,

    [JsonStringEnumMemberName("delete")]
    Delete,
}

/// <summary>Stands on the primary from before a write or delete begins until it has been replicated (docs/formats/replication.md).</summary>
internal sealed record ReplicationMarker
{
    public const string Prefix = "replication/markers/";

    public int Format { get; init; } = 1;

    public required string Key { get; init; }

    public required MarkerKind Kind { get; init; }

    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>By then its writer has finished or was cancelled.</summary>
    public required DateTimeOffset ExpiresAt { get; init; }

    public static string NewId(DateTimeOffset now) => Guid.CreateVersion7(now).ToString("N");

    public static ObjectKey KeyOf(string id) => ObjectKey.Parse($"{Prefix}{id}.json");

    /// <summary>The id of a marker's key; null when it is no marker.</summary>
    public static string? IdOf(ObjectKey key) =>
        key.Value.StartsWith(Prefix, StringComparison.Ordinal) && key.Value.EndsWith(".json", StringComparison.Ordinal) && key.Value.Length == Prefix.Length + 32 + 5
        && Guid.TryParseExact(key.Value.AsSpan(Prefix.Length, 32), "N", out _)
            ? key.Value.Substring(Prefix.Length, 32)
            : null;

    /// <summary>When its write began: the first 48 bits of a version 7 UUID are milliseconds (RFC 9562 §5.7).</summary>
    public static DateTimeOffset StartOf(string id) => DateTimeOffset.FromUnixTimeMilliseconds(long.Parse(id.AsSpan(0, 12), System.Globalization.NumberStyles.HexNumber));
}

/// <summary>The first entry of an epoch in the control log.</summary>
internal sealed record EpochEntry
{
    public const string EpochKind = "epoch";

    public int Format { get; init; } = 1;

    public string Kind { get; init; } = EpochKind;

    public required int Epoch { get; init; }

    public required long Sequence { get; init; }

    public required DateTimeOffset At { get; init; }

    public required string By { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(StoreRole))]
[JsonSerializable(typeof(ReplicationMark))]
[JsonSerializable(typeof(ReplicationMarker))]
[JsonSerializable(typeof(EpochEntry))]
internal sealed partial class FailoverJson : JsonSerializerContext;

/// <summary>Small JSON objects of a store.</summary>
internal static class SmallJson
{
    /// <summary>Far more than any of them has; a larger one is not ours.</summary>
    public const int MaxBytes = 64 * 1024;

    /// <summary>The object and its version; null when there is none.</summary>
    /// <exception cref="StoreException"><see cref="StoreError.Corrupt"/>: it is not of this shape.</exception>
    public static async ValueTask<(T? Value, string? Version)> ReadJsonAsync<T>(this IObjectStore store, ObjectKey key, JsonTypeInfo<T> type, CancellationToken cancellationToken)
        where T : class
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return (null, null);
        if (read.Length > MaxBytes)
            throw new StoreException(StoreError.Corrupt, $"'{key}' has {read.Length} bytes, more than {MaxBytes}.");
        try
        {
            return (await JsonSerializer.DeserializeAsync(read.Content, type, cancellationToken) ?? throw new JsonException("It is null."), read.Info.Version);
        }
        catch (JsonException e)
        {
            throw new StoreException(StoreError.Corrupt, $"'{key}' is not what it should be: {e.Message}", e);
        }
    }

    public static ValueTask<ObjectInfo> WriteJsonAsync<T>(this IObjectStore store, ObjectKey key, T value, JsonTypeInfo<T> type, WritePrecondition precondition, CancellationToken cancellationToken)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(value, type);
        return store.WriteAsync(key, new MemoryStream(bytes, writable: false), new ObjectWrite { ContentType = "application/json", ExpectedLength = bytes.Length, Precondition = precondition }, cancellationToken);
    }

    /// <summary>The condition that nobody wrote since a version was read; null: since there was none.</summary>
    public static WritePrecondition Unchanged(string? version) => version is null ? WritePrecondition.Absent : WritePrecondition.Version(version);
}
