using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Ingest;

/// <summary>One master of a folder.</summary>
internal sealed record FolderTrack(string TrackId, string Title, string File)
{
    public string ContentType => Path.GetExtension(File).ToLowerInvariant() switch
    {
        ".wav" => "audio/wav",
        ".flac" => "audio/flac",
        ".aif" or ".aiff" => "audio/aiff",
        _ => "application/octet-stream",
    };
}

/// <summary>
/// A folder of masters as content ops deliver it. With <c>release.json</c> (the body of <c>PUT /v1/releases/{id}</c>, each track with a
/// <c>file</c>) that document decides; without it, file names do: <c>01 Title.wav</c>, by their numbers, or where a number is missing or there twice, by their order.
/// </summary>
internal sealed partial class ReleaseFolder
{
    private static readonly string[] MasterExtensions = [".wav", ".w64", ".flac", ".aif", ".aiff"];

    private ReleaseFolder(JsonObject document, IReadOnlyList<FolderTrack> tracks) => (Document, Tracks) = (document, tracks);

    /// <summary>The body of the PUT. Fields that this program does not know are passed on, for the origin to judge.</summary>
    public JsonObject Document { get; }

    public IReadOnlyList<FolderTrack> Tracks { get; }

    /// <exception cref="CliException">The folder or its release.json cannot be used; every problem is named.</exception>
    public static ReleaseFolder Read(string folder, string? releaseId)
    {
        try
        {
            if (!Directory.Exists(folder))
                throw new CliException(ExitCode.Usage, $"there is no folder {folder}");
            var description = Path.Combine(folder, "release.json");
            return File.Exists(description) ? FromDescription(folder, description, releaseId) : FromFileNames(folder, releaseId);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"the folder {folder} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The release's id: from the flag, else from the document.</summary>
    public string ReleaseId { get; private init; } = "";

    private static ReleaseFolder FromDescription(string folder, string path, string? releaseId)
    {
        JsonObject document;
        try
        {
            document = JsonNode.Parse(File.ReadAllText(path), documentOptions: new JsonDocumentOptions { MaxDepth = 32, AllowDuplicateProperties = false }) as JsonObject
                ?? throw new CliException(ExitCode.Usage, $"{path} is not a JSON object");
        }
        catch (JsonException e)
        {
            throw new CliException(ExitCode.Usage, $"{path} is not valid JSON: {e.Message}", e);
        }

        var problems = new List<string>();
        var id = releaseId ?? Text(document["id"]);
        if (id is null)
            problems.Add("it has no \"id\" (or give --release ID)");
        document.Remove("id");
        var tracks = new List<FolderTrack>();
        if (document["tracks"] is not JsonArray { Count: > 0 } list)
        {
            problems.Add("it has no \"tracks\"");
        }
        else
        {
            for (var i = 0; i < list.Count; i++)
            {
                if (list[i] is not JsonObject track)
                {
                    problems.Add($"tracks[{i}] is not an object");
                    continue;
                }

                var number = (i + 1).ToString(CultureInfo.InvariantCulture);
                var trackId = Text(track["id"]) ?? $"{id}-{number}";
                track["id"] ??= trackId;
                track["number"] ??= i + 1;
                var file = Text(track["file"]);
                track.Remove("file");
                if (file is null)
                    problems.Add($"tracks[{i}] has no \"file\"");
                else if (!IsInside(folder, file, out var full))
                    problems.Add($"tracks[{i}].file '{file}' is not a file name in the folder");
                else if (!File.Exists(full))
                    problems.Add($"tracks[{i}].file '{file}' does not exist");
                else
                    tracks.Add(new FolderTrack(trackId, Text(track["title"]) ?? trackId, full));
            }
        }

        return problems.Count == 0
            ? new ReleaseFolder(document, tracks) { ReleaseId = id! }
            : throw new CliException(ExitCode.Usage, $"{path}:{string.Concat(problems.Select(problem => $"\n  - {problem}"))}");
    }

    private static ReleaseFolder FromFileNames(string folder, string? releaseId)
    {
        var id = releaseId ?? throw new CliException(ExitCode.Usage, $"{folder} has no release.json, so give --release ID");
        var files = Directory.EnumerateFiles(folder)
            .Where(file => MasterExtensions.Contains(Path.GetExtension(file), StringComparer.OrdinalIgnoreCase))
            .Select(file => (File: file, Name: NumberedName().Match(Path.GetFileNameWithoutExtension(file))))
            .Select(entry => (entry.File, Title: entry.Name.Groups["title"].Value.Trim(), Number: NumberOf(entry.Name)))
            .OrderBy(entry => entry.Number)
            .ThenBy(entry => entry.File, StringComparer.Ordinal)
            .ToList();
        if (files.Count == 0)
            throw new CliException(ExitCode.Usage, $"{folder} holds no masters ({string.Join(", ", MasterExtensions)}) and no release.json");

        // The names' own numbers, so that a track which arrives later does not move the others to other ids; positions where a name has none.
        var numbered = files.All(entry => entry.Number is > 0 and < int.MaxValue) && files.DistinctBy(entry => entry.Number).Count() == files.Count;
        var tracks = new List<FolderTrack>();
        var list = new JsonArray();
        foreach (var (file, title, named) in files)
        {
            var number = numbered ? named : tracks.Count + 1;
            var track = new FolderTrack($"{id}-{number.ToString(CultureInfo.InvariantCulture)}", title, file);
            tracks.Add(track);
            list.Add(new JsonObject { ["id"] = track.TrackId, ["title"] = track.Title, ["number"] = number });
        }

        var document = new JsonObject
        {
            ["title"] = Path.GetFileName(Path.GetFullPath(folder).TrimEnd(Path.DirectorySeparatorChar)),
            ["artists"] = new JsonArray("Unknown artist"),
            ["tracks"] = list,
        };
        return new ReleaseFolder(document, tracks) { ReleaseId = id };
    }

    private static int NumberOf(Match name) => name.Groups["number"] is { Success: true } number ? int.Parse(number.ValueSpan, CultureInfo.InvariantCulture) : int.MaxValue;

    /// <summary>A delivered document must not reach files beside its folder.</summary>
    private static bool IsInside(string folder, string file, out string full)
    {
        var root = Path.GetFullPath(folder);
        full = Path.GetFullPath(Path.Combine(root, file));
        return full.StartsWith(root + Path.DirectorySeparatorChar, StringComparison.Ordinal);
    }

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;

    [GeneratedRegex(@"^(?:(?<number>\d{1,4})[\s._-]+)?(?<title>.+)$", RegexOptions.Singleline)]
    private static partial Regex NumberedName();
}
