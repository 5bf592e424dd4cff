using System.Collections;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Roles;

/// <summary>
/// A role's options from a JSON file, <c>DELIVERY_{ROLE}_{KEY}</c> variables and flags, the later winning. Keys are the option classes' own names, in
/// any case; a key that the role does not have is an error, because a setting that is silently ignored is worse than none.
/// </summary>
internal static class RoleSettings
{
    private static readonly JsonSerializerOptions Reading = new()
    {
        PropertyNameCaseInsensitive = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        NumberHandling = JsonNumberHandling.AllowReadingFromString,
        ReadCommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
        // Enums are words, in any case.
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false) },
    };

    /// <param name="role">Name of the role: the file's section and the variables' middle.</param>
    /// <param name="file">The <c>--config</c> file, or null.</param>
    /// <param name="flags">What the command line said; null values were not given.</param>
    /// <param name="defaults">Where the command's defaults are not the option class's own.</param>
    public static T Read<T>(string role, string? file, IEnumerable<KeyValuePair<string, JsonNode?>> flags, IEnumerable<KeyValuePair<string, JsonNode?>>? defaults = null)
    {
        var settings = new Dictionary<string, JsonNode?>(defaults ?? [], StringComparer.OrdinalIgnoreCase);
        foreach (var (key, value) in file is null ? [] : FromFile(role, file))
            settings[key] = value?.DeepClone();
        var prefix = $"DELIVERY_{role.ToUpperInvariant()}_";
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            if (variable.Key is string name && name.StartsWith(prefix, StringComparison.OrdinalIgnoreCase) && variable.Value is string text)
                settings[name[prefix.Length..].Replace("_", "", StringComparison.Ordinal)] = FromText(text);
        }

        foreach (var (key, value) in flags)
        {
            if (value is not null)
                settings[key] = value;
        }

        try
        {
            return new JsonObject(settings).Deserialize<T>(Reading)!;
        }
        catch (JsonException e)
        {
            throw new CliException(ExitCode.Usage, $"the configuration of '{role}' is not valid: {e.Message}", e);
        }
    }

    private static JsonObject FromFile(string role, string file)
    {
        try
        {
            var documents = new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };
            return JsonNode.Parse(File.ReadAllText(file), documentOptions: documents)?[role] as JsonObject ?? [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"the configuration {file} cannot be read: {e.Message}", e);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            throw new CliException(ExitCode.Usage, $"the configuration {file} is not a JSON object of roles: {e.Message}", e);
        }
    }

    /// <summary>Lists and groups are JSON; booleans are words; numbers and times are read from strings.</summary>
    private static JsonNode? FromText(string text)
    {
        if (bool.TryParse(text, out var flag))
            return JsonValue.Create(flag);
        if (!text.StartsWith('[') && !text.StartsWith('{'))
            return JsonValue.Create(text);
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return JsonValue.Create(text);
        }
    }
}
