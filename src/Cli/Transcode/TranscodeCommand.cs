using System.CommandLine;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Transcode;

/// <summary><c>delivery transcode</c>: what operators do with the farm as a whole.</summary>
internal static class TranscodeCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error) => new(
        "transcode", "Ladders, the catalogue's way from one to another, and what dead workers left behind (docs/farm.md).")
    {
        LadderCommands.CreateList(options, output, error),
        LadderCommands.CreateLadder(options, output, error),
        BackfillCommands.CreateBackfill(options, output, error),
        BackfillCommands.CreateList(options, output, error),
        OrphansCommand.Create(options, output, error),
    };
}
