using System.CommandLine;
using System.Globalization;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Api;
using Spectre.Console;

namespace Delivery.Cli.Releases;

/// <summary><c>delivery releases</c> and <c>delivery release ID</c>: what the catalog knows.</summary>
internal static class ReleasesCommand
{
    public static Command CreateList(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var command = new Command("releases", "List the releases and how many of their tracks are ready.");
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var table = new Table().Border(TableBorder.Simple).AddColumns("release", "title", "artists", "tracks", "ready", "in work", "failed");
            await foreach (var release in origin.ListReleasesAsync(cancellationToken))
            {
                if (context.Json)
                    context.Output.WriteLine(System.Text.Json.JsonSerializer.Serialize(release, ApiJson.Default.ReleaseSummary));
                else
                    table.AddRow(Cells(release.ReleaseId, release.Title, string.Join(", ", release.Artists), release.Counts.Total, release.Counts.Ready, release.Counts.Queued + release.Counts.Transcoding, release.Counts.Failed));
            }

            if (!context.Json)
                context.Console.Write(table);
            return ExitCode.Ok;
        });
        return command;
    }

    public static Command CreateShow(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var id = new Argument<string>("ID") { Description = "The release's id." };
        var command = new Command("release", "Show a release down to each rendition.") { id };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var release = await origin.GetReleaseAsync(parsed.GetRequiredValue(id), cancellationToken);
            if (context.Json)
                context.WriteJson(release, ApiJson.Default.ReleaseStatus);
            else
                Print(release, context);
            return ExitCode.Ok;
        });
        return command;
    }

    private static void Print(ReleaseStatus release, CommandContext context)
    {
        context.Output.WriteLine($"{release.ReleaseId}: {release.Title} by {string.Join(", ", release.Artists)}");
        foreach (var track in release.Tracks)
        {
            context.Output.WriteLine();
            context.Output.WriteLine($"{track.Number} {track.Title} ({track.TrackId}): {ApiWord.Of(track.State)}{Progress(track)}");
            if (track.Failure is { } failure)
                context.Output.WriteLine($"  {ApiWord.Of(failure.Code)}: {failure.Message}");
            if (track.Published is not { } published)
                continue;
            var loudness = published.Loudness is { } l ? string.Create(CultureInfo.InvariantCulture, $"{l.IntegratedLufs:0.0} LUFS, {(l.RangeLu is { } range ? string.Create(CultureInfo.InvariantCulture, $"range {range:0.0} LU, ") : "")}true peak {l.TruePeakDbtp:0.0} dBTP") : "silent";
            context.Output.WriteLine($"  {TimeSpan.FromMilliseconds(published.DurationMs):hh\\:mm\\:ss\\.fff}, {loudness}");
            foreach (var warning in published.Warnings)
                context.Output.WriteLine($"  warning: {warning.Message}");
            var table = new Table().Border(TableBorder.Simple).AddColumns("quality", "codec", "kbit/s", "bytes", "first sound", "path");
            foreach (var r in published.Renditions)
                table.AddRow(Cells(r.Quality, r.Codec, r.Bitrate / 1000, r.Bytes, r.FirstSoundBytes, r.Path));
            context.Console.Write(table);
        }
    }

    private static string Progress(TrackStatus track) => track is { State: TrackState.Transcoding, Job: { } job }
        ? string.Create(CultureInfo.InvariantCulture, $", {ApiWord.Of(job.Phase)} {job.Progress:P0}")
        : "";

    private static Text[] Cells(params object[] values) => [.. values.Select(value => new Text(string.Format(CultureInfo.InvariantCulture, "{0}", value)))];
}
