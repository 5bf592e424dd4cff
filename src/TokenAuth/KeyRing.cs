using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Delivery.TokenAuth;

/// <summary>The keys that sign and verify: an immutable snapshot. Two live keys make a rotation. Format: docs/formats/key-ring.md.</summary>
public sealed class KeyRing
{
    /// <summary>More keys are refused: a rotation needs two, and verification looks through the list.</summary>
    public const int MaxKeys = 64;

    /// <summary>A longer key id is refused; in characters.</summary>
    public const int MaxKeyIdLength = 64;

    /// <summary>A longer key ring file is refused.</summary>
    public const int MaxFileBytes = 64 * 1024;

    /// <summary>A longer key is refused. HMAC-SHA256 hashes keys beyond 64 bytes, so more gains nothing.</summary>
    public const int MaxKeyBytes = 1024;

    /// <summary>What <see cref="Generate"/> makes: the output length of SHA-256, the least that RFC 2104 §3 advises. Shorter keys are accepted, from 1 byte.</summary>
    public const int GeneratedKeyBytes = 32;

    private static readonly SearchValues<char> KeyIdCharacters =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    private readonly SigningKey[] _keys;
    private readonly SigningKey _signing;

    private KeyRing(SigningKey[] keys, SigningKey signing)
    {
        _keys = keys;
        _signing = signing;
        KeyIds = [.. keys.Select(key => key.Id)];
    }

    /// <summary>The key that new URLs are signed with.</summary>
    public string SigningKeyId => _signing.Id;

    /// <summary>All key ids, in the file's order. The empty id serves URLs without <c>kid</c>.</summary>
    public IReadOnlyList<string> KeyIds { get; }

    /// <summary>Reads <c>{"keys":{"":"base64","k1":"base64"},"signing":"k1"}</c>.</summary>
    /// <exception cref="KeyRingException">It cannot be used; every problem is listed.</exception>
    public static KeyRing Parse(ReadOnlySpan<byte> utf8Json)
    {
        if (utf8Json.Length > MaxFileBytes)
            throw new KeyRingException([$"it is longer than {MaxFileBytes} bytes"]);
        if (utf8Json.StartsWith(Encoding.UTF8.Preamble))
            utf8Json = utf8Json[3..];
        var copy = utf8Json.ToArray();
        try
        {
            using var document = JsonDocument.Parse(copy);
            return Parse(document.RootElement);
        }
        catch (JsonException e)
        {
            // Not e.Message nor e as the inner exception: they quote what they met.
            throw new KeyRingException([$"it is not JSON (line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1})"]);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(copy);
        }
    }

    /// <summary>A ring of one fresh random key.</summary>
    /// <exception cref="ArgumentException">Not a key id.</exception>
    public static KeyRing Generate(string signingKeyId = "k1") => Of(NewKey(signingKeyId));

    /// <summary>This ring and a fresh random key; the signing key stays. The first step of a rotation.</summary>
    /// <exception cref="ArgumentException">Not a key id, or already in the ring, or the ring is full.</exception>
    public KeyRing WithNewKey(string keyId)
    {
        if (Find(keyId) is not null)
            throw new ArgumentException($"The key ring already has a key '{keyId}'.", nameof(keyId));
        if (_keys.Length == MaxKeys)
            throw new ArgumentException($"The key ring already has {MaxKeys} keys.", nameof(keyId));
        return new KeyRing([.. _keys, NewKey(keyId)], _signing);
    }

    /// <summary>This ring, signing with another of its keys. The second step of a rotation, once every node has the key.</summary>
    /// <exception cref="ArgumentException">No such key.</exception>
    public KeyRing WithSigningKey(string keyId) => new(_keys, Require(keyId));

    /// <summary>This ring without a key. The last step of a rotation, once every URL of the key has expired.</summary>
    /// <exception cref="ArgumentException">No such key, or it is the signing key.</exception>
    public KeyRing WithoutKey(string keyId)
    {
        var key = Require(keyId);
        if (key == _signing)
            throw new ArgumentException($"'{keyId}' is the signing key; sign with another one first.", nameof(keyId));
        return new KeyRing([.. _keys.Where(k => k != key)], _signing);
    }

    /// <summary>The ring as a key ring file, key material included: only ever for a file that its owner alone can read.</summary>
    public string ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        // Base64's '+' needs no escape in a file; the default encoder would write it as \u002B.
        var options = new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var json = new Utf8JsonWriter(buffer, options))
        {
            json.WriteStartObject();
            json.WriteStartObject("keys");
            foreach (var key in _keys)
                json.WriteBase64String(key.Id, key.Material);
            json.WriteEndObject();
            json.WriteString("signing", SigningKeyId);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    /// <summary>The ids, never the keys.</summary>
    public override string ToString() => $"KeyRing [{string.Join(", ", _keys.Select(key => $"'{key.Id}'"))}], signing '{SigningKeyId}'";

    // At most 64 keys, nearly always two: a scan beats hashing. Key ids are public, so the scan's time tells nothing.
    internal SigningKey? Find(ReadOnlySpan<char> keyId)
    {
        foreach (var key in _keys)
        {
            if (keyId.SequenceEqual(key.Id))
                return key;
        }

        return null;
    }

    internal SigningKey Require(string? keyId) => keyId is null ? _signing : Find(keyId)
        ?? throw new ArgumentException($"The key ring has no key '{keyId}'; it has: {string.Join(", ", _keys.Select(key => $"'{key.Id}'"))}.", nameof(keyId));

    // Of a "keys" object alone: its first key is the signing key, and nobody signs.
    internal static KeyRing ForVerifying(JsonElement keysObject)
    {
        var problems = new List<string>();
        var keys = new List<SigningKey>();
        ReadKeys(keysObject, keys, problems);
        return problems.Count > 0 ? throw new KeyRingException(problems) : new KeyRing([.. keys], keys[0]);
    }

    private static KeyRing Of(SigningKey key) => new([key], key);

    private static SigningKey NewKey(string id)
    {
        ArgumentNullException.ThrowIfNull(id);
        if (!IsKeyId(id))
            throw new ArgumentException($"'{id}' is not a key id: at most {MaxKeyIdLength} characters of A-Z a-z 0-9 . _ -", nameof(id));
        return new SigningKey(id, RandomNumberGenerator.GetBytes(GeneratedKeyBytes));
    }

    private static bool IsKeyId(string id) => id.Length <= MaxKeyIdLength && !id.AsSpan().ContainsAnyExcept(KeyIdCharacters);

    private static KeyRing Parse(JsonElement root)
    {
        var problems = new List<string>();
        var keys = new List<SigningKey>();
        string? signing = null;
        var seen = new HashSet<string>();
        if (root.ValueKind != JsonValueKind.Object)
            throw new KeyRingException(["it is not a JSON object"]);
        foreach (var property in root.EnumerateObject())
        {
            if (!TryReadName(property, out var name))
                problems.Add("a property's name is not valid Unicode");
            else if (!seen.Add(name))
                problems.Add($"'{Shown(name)}' stands twice");
            else if (name == "keys")
                ReadKeys(property.Value, keys, problems);
            else if (name == "signing")
                signing = ReadSigning(property.Value, problems);
            else
                problems.Add($"'{Shown(name)}' is not a property of a key ring");
        }

        if (!seen.Contains("keys"))
            problems.Add("'keys' is missing");
        if (!seen.Contains("signing"))
            problems.Add("'signing' is missing");
        var signingKey = keys.Find(key => key.Id == signing);
        if (signing is not null && signingKey is null)
            problems.Add($"'signing' names '{Shown(signing)}', which is not a usable key of the ring");
        return problems.Count > 0 ? throw new KeyRingException(problems) : new KeyRing([.. keys], signingKey!);
    }

    private static string? ReadSigning(JsonElement value, List<string> problems)
    {
        if (value.ValueKind == JsonValueKind.String && TryRead(value.GetString, out var signing))
            return signing;
        problems.Add("'signing' is not a string");
        return null;
    }

    private static void ReadKeys(JsonElement element, List<SigningKey> keys, List<string> problems)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            problems.Add("'keys' is not an object");
            return;
        }

        var count = element.GetPropertyCount();
        if (count == 0)
            problems.Add("'keys' is empty");
        if (count > MaxKeys)
        {
            problems.Add($"'keys' holds {count} keys, more than {MaxKeys}");
            return;
        }

        var seen = new HashSet<string>();
        foreach (var property in element.EnumerateObject())
        {
            if (!TryReadName(property, out var id) || !IsKeyId(id))
                problems.Add($"the key id '{Shown(id)}' is not at most {MaxKeyIdLength} characters of A-Z a-z 0-9 . _ -");
            else if (!seen.Add(id))
                problems.Add($"the key id '{id}' stands twice");
            else if (property.Value.ValueKind != JsonValueKind.String || !TryReadBytes(property.Value, out var material))
                problems.Add($"the key '{id}' is not a string of base64");
            else if (material.Length is 0 or > MaxKeyBytes)
                problems.Add($"the key '{id}' has {material.Length} bytes, not 1 to {MaxKeyBytes}");
            else
                keys.Add(new SigningKey(id, material));
        }
    }

    // System.Text.Json throws where a JSON string's escapes make a lone surrogate.
    private static bool TryRead<T>(Func<T> read, [NotNullWhen(true)] out T? value)
    {
        try
        {
            value = read();
            return value is not null;
        }
        catch (InvalidOperationException)
        {
            value = default;
            return false;
        }
    }

    private static bool TryReadName(JsonProperty property, out string name)
    {
        var read = TryRead(() => property.Name, out var text);
        name = text ?? "";
        return read;
    }

    private static bool TryReadBytes(JsonElement element, [NotNullWhen(true)] out byte[]? bytes) =>
        TryRead(() => element.TryGetBytesFromBase64(out var decoded) ? decoded : null, out bytes);

    // A misplaced key must not come out as "unknown property": what is not of an id's form is shown by its length only.
    private static string Shown(string text) => IsKeyId(text) && text.Length <= 32 ? text : $"({text.Length} characters)";
}
