using System.CommandLine;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Api;
using Delivery.Transcoder.Ladders;
using Spectre.Console;

namespace Delivery.Cli.Transcode;

/// <summary><c>delivery transcode ladders</c>, <c>ladder add FILE</c>, <c>ladder show NAME</c>.</summary>
internal static class LadderCommands
{
    public static Command CreateList(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var command = new Command("ladders", "List the ladders that masters can be made with.");
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var table = new Table().Border(TableBorder.Simple).AddColumns("ladder", "built in", "for new masters");
            foreach (var ladder in (await origin.ListLaddersAsync(cancellationToken)).Ladders)
            {
                if (context.Json)
                    context.Output.WriteLine(JsonSerializer.Serialize(ladder, ApiJson.Default.LadderSummary));
                else
                    table.AddRow(Markup.Escape(ladder.Name), ladder.BuiltIn ? "yes" : "", ladder.Current ? "yes" : "");
            }

            if (!context.Json)
                context.Console.Write(table);
            return ExitCode.Ok;
        });
        return command;
    }

    public static Command CreateLadder(GlobalOptions options, TextWriter output, TextWriter error) => new("ladder", "Add a ladder, or show one. A ladder never changes: a change is a new version.")
    {
        CreateAdd(options, output, error),
        CreateShow(options, output, error),
    };

    private static Command CreateAdd(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var file = new Argument<string>("FILE") { Description = "The ladder's JSON (docs/formats/ladder.md); its name is in it." };
        var command = new Command("add", "Check a ladder and add it, for good. Adding the same one again changes nothing.") { file };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var path = parsed.GetRequiredValue(file);
            var ladder = Read(path);
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var added = await origin.PutLadderAsync(ladder.Name, ladder.ToJson(), cancellationToken);
            if (context.Json)
                context.Output.WriteLine(added.GetRawText());
            else
                context.Output.WriteLine($"{ladder.Name} is there: {ladder.Rungs.Count} rungs. New masters are made with it when the origin's option Ladder names it; `delivery transcode backfill --ladder {ladder.Name}` makes the catalogue anew.");
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command CreateShow(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var name = new Argument<string>("NAME") { Description = "The ladder's name, for example default-1." };
        var command = new Command("show", "Print a ladder's JSON: what `add` takes.") { name };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var ladder = await origin.GetLadderAsync(parsed.GetRequiredValue(name), cancellationToken);
            context.Output.WriteLine(context.Json ? ladder.GetRawText() : Indented(ladder));
            return ExitCode.Ok;
        });
        return command;
    }

    private static Ladder Read(string path)
    {
        try
        {
            var file = new FileInfo(path);
            if (file.Exists && file.Length > LadderStore.MaxBytes)
                throw new CliException(ExitCode.Usage, $"{path} has {file.Length} bytes; a ladder has at most {LadderStore.MaxBytes}");
            return Ladder.Parse(File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Usage, $"{path} cannot be read: {e.Message}", e);
        }
        catch (LadderException e)
        {
            throw new CliException(ExitCode.Usage, $"{path} is not a ladder:{string.Concat(e.Problems.Select(problem => $"\n  - {problem}"))}", e);
        }
    }

    private static string Indented(JsonElement json)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
            json.WriteTo(writer);
        return System.Text.Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }
}
