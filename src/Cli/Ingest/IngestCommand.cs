using System.CommandLine;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Api;

namespace Delivery.Cli.Ingest;

/// <summary>How a track of an ingested release ended (or stands, with <c>--no-wait</c>).</summary>
internal sealed record IngestLine(string Track, string Title, string State, bool Uploaded, string? Failure, string? Message);

/// <summary><c>delivery ingest</c>: a folder of masters becomes a release.</summary>
internal static class IngestCommand
{
    /// <summary>A store's failover or an origin's restart takes less; an operator who promotes a secondary store says more.</summary>
    private static readonly TimeSpan DefaultRetryFor = TimeSpan.FromMinutes(2);

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var folder = new Argument<string>("DIR") { Description = "Folder of masters (WAV, W64, AIFF, FLAC), with or without a release.json." };
        var release = new Option<string?>("--release") { Description = "The release's id; needed without a release.json.", HelpName = "ID" };
        var noWait = new Option<bool>("--no-wait") { Description = "Return when everything is uploaded; do not wait for the renditions." };
        var retryFor = new Option<TimeSpan>("--retry-for")
        {
            Description = "How long to wait for an origin that is away, or cannot write for the moment, before giving up: 90s, 15m, 1h. It goes on with what is left.",
            HelpName = "DURATION",
            DefaultValueFactory = _ => DefaultRetryFor,
            CustomParser = Duration.Parse,
        };
        var command = new Command("ingest", "Create or update a release from a folder, upload its masters, and follow them until they are ready.")
        {
            folder, release, noWait, retryFor,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var read = ReleaseFolder.Read(parsed.GetRequiredValue(folder), parsed.GetValue(release));
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            return await new FolderIngest(origin, context, parsed.GetValue(retryFor)).RunAsync(read, !parsed.GetValue(noWait), cancellationToken);
        });
        return command;
    }
}
