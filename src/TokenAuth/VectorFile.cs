using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Delivery.TokenAuth;

/// <summary>One signed URL with the verdict that every implementation must reach.</summary>
public sealed record Vector
{
    /// <summary>What it shows.</summary>
    public required string Name { get; init; }

    /// <summary>The request target.</summary>
    public required string Url { get; init; }

    /// <summary>The listener's address; null when unknown.</summary>
    public string? Client { get; init; }

    /// <summary>The time, in Unix seconds.</summary>
    public required long Now { get; init; }

    /// <summary>The verdict's word on the wire.</summary>
    public required string Verdict { get; init; }
}

/// <summary>What became of a vector.</summary>
/// <param name="Vector">The vector.</param>
/// <param name="Actual">The verdict's word here, or why there is none.</param>
public sealed record VectorOutcome(Vector Vector, string Actual)
{
    public bool Passed => Actual == Vector.Verdict;
}

/// <summary>A file of test vectors: keys, and URLs with their verdicts. Format: docs/formats/signed-url.md.</summary>
public sealed class VectorFile
{
    /// <summary>A longer file is refused.</summary>
    public const int MaxFileBytes = 16 * 1024 * 1024;

    private readonly KeyRing _ring;

    private VectorFile(KeyRing ring, IReadOnlyList<Vector> vectors)
    {
        _ring = ring;
        Vectors = vectors;
    }

    public IReadOnlyList<Vector> Vectors { get; }

    /// <exception cref="FormatException">Not a vector file; the message says why.</exception>
    /// <exception cref="KeyRingException">Its keys cannot be used.</exception>
    public static VectorFile Parse(ReadOnlySpan<byte> utf8Json)
    {
        if (utf8Json.Length > MaxFileBytes)
            throw new FormatException($"The vector file is longer than {MaxFileBytes} bytes.");
        VectorDocument? document;
        try
        {
            document = JsonSerializer.Deserialize(utf8Json, VectorJson.Default.VectorDocument);
        }
        catch (JsonException e)
        {
            throw new FormatException($"This is not a vector file: {e.Message}", e);
        }

        if (document is not { Vectors.Count: > 0 } || document.Vectors.Contains(null!))
            throw new FormatException("The vector file has no vectors, or a null among them.");
        // Vector files name no signing key, as nothing is signed with them: the first one stands in.
        return new VectorFile(KeyRing.ForVerifying(document.Keys), document.Vectors);
    }

    /// <summary>Verifies every vector, each as an edge would: target split, then verified.</summary>
    public IReadOnlyList<VectorOutcome> Run() => [.. Vectors.Select(vector => new VectorOutcome(vector, Judge(vector)))];

    private string Judge(Vector vector)
    {
        IPAddress? client = null;
        if (vector.Client is not null && !IPAddress.TryParse(vector.Client, out client))
            return "(client is not an address)";
        if (!RequestTarget.TrySplit(vector.Url, out var path, out var query))
            return "bad_target";
        return NativeScheme.Instance.Verify(_ring, path, query, client, vector.Now, out _).ToWire();
    }
}

internal sealed record VectorDocument(string? About, JsonElement Keys, IReadOnlyList<Vector> Vectors);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = false)]
[JsonSerializable(typeof(VectorDocument))]
internal sealed partial class VectorJson : JsonSerializerContext;
