using System.Globalization;
using System.Text.Json;

namespace Delivery.Origin.Api;

/// <summary>
/// Reads one JSON object of a request member by member, noting each fault with its pointer and going on. (A serializer stops at the
/// first fault, and the API promises all of them.) A faulty or absent member reads as null.
/// </summary>
internal sealed class JsonFields
{
    private readonly JsonElement _object;
    private readonly RequestErrors _errors;

    private JsonFields(JsonElement value, string pointer, RequestErrors errors) => (_object, Pointer, _errors) = (value, pointer, errors);

    public string Pointer { get; }

    /// <summary>Null, with the fault noted, when the value is not an object. Members that are not <paramref name="known"/> are faults: a misspelt name must not pass as an absent one.</summary>
    public static JsonFields? Of(JsonElement value, string pointer, RequestErrors errors, params ReadOnlySpan<string> known)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            errors.Add(pointer, "must be an object");
            return null;
        }

        foreach (var property in value.EnumerateObject())
        {
            if (!known.Contains(property.Name))
                errors.Add($"{pointer}/{Escape(property.Name)}", $"is not known here; known are {string.Join(", ", known!)}");
        }

        return new JsonFields(value, pointer, errors);
    }

    public string At(string name) => $"{Pointer}/{name}";

    public void Fault(string name, string detail) => _errors.Add(At(name), detail);

    public bool Has(string name) => Find(name) is not null;

    /// <summary>A text that is not blank and holds no control character.</summary>
    public string? Text(string name, int maxLength, bool required = false) =>
        (required ? Require(name) : Find(name)) is { } value ? ReadText(value, At(name), maxLength) : null;

    public int? Integer(string name, int least, int most)
    {
        if (Require(name) is not { } value)
            return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= least && number <= most)
            return number;
        Fault(name, string.Create(CultureInfo.InvariantCulture, $"must be a whole number from {least} to {most}"));
        return null;
    }

    /// <summary>RFC 3339 with its offset, as UTC. Without an offset it would mean another instant on another server.</summary>
    public DateTimeOffset? Time(string name)
    {
        if (Find(name) is not { } value)
            return null;
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { Length: >= 20 } text
            && (text[^1] is 'Z' or 'z' || text[^6] is '+' or '-') && value.TryGetDateTimeOffset(out var time))
            return time.ToUniversalTime();
        Fault(name, "must be a time such as 2026-11-27T00:00:00Z, with its offset");
        return null;
    }

    /// <summary>Null when absent or not an array; at most <paramref name="max"/> elements are given.</summary>
    public IReadOnlyList<JsonElement>? Array(string name, int min, int max, bool required = false)
    {
        if ((required ? Require(name) : Find(name)) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Array)
        {
            Fault(name, "must be an array");
            return null;
        }

        var length = value.GetArrayLength();
        if (length < min || length > max)
            Fault(name, string.Create(CultureInfo.InvariantCulture, $"has {length} elements; must have {min} to {max}"));
        return [.. value.EnumerateArray().Take(max)];
    }

    public IReadOnlyList<string>? Texts(string name, int min, int max, int maxLength)
    {
        if (Array(name, min, max) is not { } values)
            return null;
        var texts = new List<string>(values.Count);
        for (var i = 0; i < values.Count; i++)
        {
            if (ReadText(values[i], $"{At(name)}/{i}", maxLength) is { } text)
                texts.Add(text);
        }

        return texts;
    }

    /// <summary>Elements that each satisfy <paramref name="allowed"/>, none twice.</summary>
    public IReadOnlyList<string>? Words(string name, int min, int max, Func<string, bool> allowed, string rule)
    {
        if (Array(name, min, max) is not { } values)
            return null;
        var words = new List<string>(values.Count);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < values.Count; i++)
        {
            var pointer = $"{At(name)}/{i}";
            if (values[i].ValueKind != JsonValueKind.String || values[i].GetString() is not { } word || !allowed(word))
                _errors.Add(pointer, $"must be {rule}");
            else if (!seen.Add(word))
                _errors.Add(pointer, "is there twice");
            else
                words.Add(word);
        }

        return words;
    }

    /// <summary>One word of a closed set.</summary>
    public string? Word(string name, IReadOnlyCollection<string> allowed, bool required = false)
    {
        if ((required ? Require(name) : Find(name)) is not { } value)
            return null;
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { } word && allowed.Contains(word))
            return word;
        Fault(name, $"must be one of {string.Join(", ", allowed)}");
        return null;
    }

    public JsonElement? Find(string name) =>
        _object.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private JsonElement? Require(string name)
    {
        var value = Find(name);
        if (value is null)
            Fault(name, "is required");
        return value;
    }

    private string? ReadText(JsonElement value, string pointer, int maxLength)
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            _errors.Add(pointer, "must be a string");
            return null;
        }

        var text = value.GetString()!;
        if (text.Length > maxLength || string.IsNullOrWhiteSpace(text) || text.Any(char.IsControl))
        {
            _errors.Add(pointer, string.Create(CultureInfo.InvariantCulture, $"must have 1 to {maxLength} characters, not all of them blank and none a control character"));
            return null;
        }

        return text;
    }

    // RFC 6901 §3.
    private static string Escape(string name) => name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);
}
