using System.Text.Json;
using System.Text.Json.Serialization;

namespace Delivery.Cli.CommandLine;

/// <summary>
/// The line that <c>delivery up</c> prints when it is ready, kept as <c>DATA/up.json</c> (mode 0600, as it holds an API key) so that the
/// other commands find the servers.
/// </summary>
internal sealed record UpFile
{
    public bool Ready { get; init; } = true;

    public required string Edge { get; init; }

    public required string EdgeAdmin { get; init; }

    public required string Origin { get; init; }

    /// <summary>Where the origin's metrics are.</summary>
    public string? OriginAdmin { get; init; }

    public required string ApiKey { get; init; }

    public required string KeyRing { get; init; }

    public static string PathIn(string dataFolder) => Path.Combine(dataFolder, "up.json");

    public static UpFile? Read(string dataFolder)
    {
        try
        {
            using var file = File.OpenRead(PathIn(dataFolder));
            return JsonSerializer.Deserialize(file, CliJson.Default.UpFile);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new CliException(ExitCode.Environment, $"{PathIn(dataFolder)} cannot be read: {e.Message}", e);
        }
    }

    public void Write(string dataFolder)
    {
        var path = PathIn(dataFolder);
        PrivateFile.Replace(path, JsonSerializer.SerializeToUtf8Bytes(this, CliJson.Default.UpFile));
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(UpFile))]
[JsonSerializable(typeof(Up.DemoLine))]
[JsonSerializable(typeof(Up.DemoEnd))]
[JsonSerializable(typeof(Urls.SignedLine))]
[JsonSerializable(typeof(Urls.VerifiedLine))]
[JsonSerializable(typeof(Urls.VectorsLine))]
[JsonSerializable(typeof(Keys.KeyRingLine))]
[JsonSerializable(typeof(Keys.ApiKeyLine))]
[JsonSerializable(typeof(Ingest.IngestLine))]
[JsonSerializable(typeof(OriginApi.WaitLine))]
[JsonSerializable(typeof(Stores.CheckLine))]
[JsonSerializable(typeof(Stores.CheckEnd))]
[JsonSerializable(typeof(Stores.CopyProgressLine))]
[JsonSerializable(typeof(Stores.CopyEnd))]
[JsonSerializable(typeof(Stores.DifferenceLine))]
[JsonSerializable(typeof(Stores.ReconcileProgressLine))]
[JsonSerializable(typeof(Stores.ReconcileEnd))]
[JsonSerializable(typeof(Stores.PromotionLine))]
[JsonSerializable(typeof(Stores.PromotionEnd))]
[JsonSerializable(typeof(Roles.EdgeLine))]
[JsonSerializable(typeof(Roles.OriginLine))]
[JsonSerializable(typeof(Roles.TranscoderLine))]
[JsonSerializable(typeof(string[]))]
[JsonSerializable(typeof(Soak.SoakLine))]
[JsonSerializable(typeof(Transcode.OrphanLine))]
[JsonSerializable(typeof(Transcode.OrphansEnd))]
[JsonSerializable(typeof(JsonElement))]
internal sealed partial class CliJson : JsonSerializerContext;
