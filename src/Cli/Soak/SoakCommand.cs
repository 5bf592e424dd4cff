using System.CommandLine;
using Delivery.Cli.CommandLine;
using Delivery.Edge;

namespace Delivery.Cli.Soak;

/// <summary><c>delivery soak</c>: an edge of its own under load, killed and restarted, with every byte judged.</summary>
internal static class SoakCommand
{
    private const long DefaultRamBytes = 128L << 20;
    private const long DefaultDiskBytes = 1L << 30;

    private const double MaxMinutes = 7 * 24 * 60;

    private const int MaxConnections = 64;

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var minutes = new Option<double>("--minutes") { Description = "How long; 0.5 is half a minute.", HelpName = "N", DefaultValueFactory = _ => 10 };
        var kills = new Option<int?>("--kills") { Description = "SIGKILLs, spread over the time; default: ten a minute.", HelpName = "K" };
        var seed = new Option<ulong?>("--seed") { Description = "Repeats a run's objects, choices and moments; default: a new one, which is printed.", HelpName = "S" };
        var ram = new Option<long>("--ram") { Description = "The edge's RAM budget in bytes.", HelpName = "BYTES", DefaultValueFactory = _ => DefaultRamBytes };
        var disk = new Option<long>("--disk") { Description = "The edge's disk budget in bytes.", HelpName = "BYTES", DefaultValueFactory = _ => DefaultDiskBytes };
        var connections = new Option<int>("--connections") { Description = "Requests at once; few, so that the edge gets a core for itself.", HelpName = "N", DefaultValueFactory = _ => 4 };
        var folder = new Option<string>("--folder")
        {
            Description = "Where the store and the cache go, in a folder of their own that a good run removes; default: the system's temporary folder.",
            HelpName = "DIR",
            DefaultValueFactory = _ => Path.GetTempPath(),
        };
        var noDisk = new Option<bool>("--no-disk") { Description = "An edge without a disk tier." };
        var noPurges = new Option<bool>("--no-purges") { Description = "Replace and purge nothing." };
        var command = new Command("soak", "Run an edge on data of its own, load it, kill it, restart it, and judge every byte.")
        {
            minutes, kills, seed, ram, disk, connections, folder, noDisk, noPurges,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var duration = Within("--minutes", parsed.GetValue(minutes), 0.05, MaxMinutes);
            var settings = new SoakSettings
            {
                Duration = TimeSpan.FromMinutes(duration),
                // One a second at most: a restart takes a good part of that.
                Kills = (int)Within("--kills", parsed.GetValue(kills) ?? Math.Round(duration * 10), 0, Math.Floor(duration * 60)),
                Seed = parsed.GetValue(seed) ?? (ulong)Random.Shared.Next(1, int.MaxValue),
                RamBytes = (long)Within("--ram", parsed.GetValue(ram), EdgeOptions.MinHotTierBytes, 1L << 40),
                DiskBytes = (long)Within("--disk", parsed.GetValue(disk), EdgeOptions.MinDiskTierBytes, 16L << 40),
                Connections = (int)Within("--connections", parsed.GetValue(connections), 1, MaxConnections),
                Folder = parsed.GetValue(folder)!,
                DiskTier = !parsed.GetValue(noDisk),
                Purges = !parsed.GetValue(noPurges),
            };
            using var run = new SoakRun(settings, context);
            SoakReport report;
            try
            {
                report = await run.RunAsync(cancellationToken);
            }
            catch
            {
                // Nothing was judged, so nothing in it is worth keeping.
                run.RemoveFolder();
                throw;
            }

            report.Print(context);
            if (report.IsGood)
                run.RemoveFolder();
            else
                context.Warn($"seed {settings.Seed}; store and cache are kept in {run.FolderPath}");
            return !report.IsGood ? ExitCode.Failed : cancellationToken.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Ok;
        });
        return command;
    }

    private static double Within(string name, double value, double min, double max) =>
        value >= min && value <= max ? value : throw new CliException(ExitCode.Usage, FormattableString.Invariant($"{name} {value}: {min} to {max}"));
}
