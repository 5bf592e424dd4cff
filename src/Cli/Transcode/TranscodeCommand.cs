using System.CommandLine;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Transcode;

/// <summary><c>delivery transcode</c>: what operators do with the farm as a whole.</summary>
internal static class TranscodeCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error) => new(
        "transcode", "Ladders, and the catalogue's way from one to another (docs/farm.md).")
    {
        LadderCommands.CreateList(options, output, error),
        LadderCommands.CreateLadder(options, output, error),
    };
}
