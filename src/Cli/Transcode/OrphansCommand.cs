using System.CommandLine;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.ObjectStore;
using Delivery.Transcoder.Results;

namespace Delivery.Cli.Transcode;

/// <summary>One orphan.</summary>
internal sealed record OrphanLine(string Key, long Bytes, DateTimeOffset At, bool Deleted);

/// <summary>The last line.</summary>
internal sealed record OrphansEnd(bool Done, long Orphans, long Deleted, long Bytes);

/// <summary><c>delivery transcode orphans</c>: what workers that died left in the store.</summary>
internal static class OrphansCommand
{
    private static readonly TimeSpan LeastAge = TimeSpan.FromHours(1);

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var flags = new StoreFlags("The store that the workers write to.");
        var age = new Option<TimeSpan>("--older-than")
        {
            Description = "Only files older than this: younger ones may belong to a job under way. At least 1h.",
            HelpName = "TIME",
            CustomParser = Duration.Parse,
            DefaultValueFactory = _ => TimeSpan.FromHours(24),
        };
        var delete = new Option<bool>("--delete") { Description = "Delete them. Without it they are only listed." };
        var command = new Command("orphans", "List the renditions that no result names: their worker died before its job was done. Exit code 1: there are some, and they stay.") { flags.Store, age, delete };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var url = flags.Read(parsed).Store ?? throw new CliException(ExitCode.Usage, $"which store? Give --store URL or set {StoreFlags.StoreVariable}");
            if (parsed.GetValue(age) < LeastAge)
                throw new CliException(ExitCode.Usage, "--older-than takes 1h or more: what is younger may belong to a job under way");
            using var store = StoreFlags.OpenExisting(url);
            var sweep = new OrphanSweep(store, TimeProvider.System);
            try
            {
                var found = await sweep.FindAsync(parsed.GetValue(age), cancellationToken);
                long deleted = 0;
                if (parsed.GetValue(delete))
                {
                    await sweep.DeleteAsync(found, orphan => { deleted++; Say(orphan, true); }, cancellationToken);
                }
                else
                {
                    foreach (var orphan in found.Orphans)
                        Say(orphan, false);
                }

                var bytes = found.Orphans.Sum(o => o.Length);
                if (context.Json)
                    context.WriteJson(new(true, found.Orphans.Count, deleted, bytes), CliJson.Default.OrphansEnd);
                else
                    context.Output.WriteLine($"{found.Orphans.Count:N0} orphans, {ByteText.Of(bytes)}; {(parsed.GetValue(delete) ? $"{deleted:N0} deleted" : "none deleted: --delete does")}");
                return found.Orphans.Count == 0 || parsed.GetValue(delete) ? ExitCode.Ok : ExitCode.Failed;
            }
            catch (StoreException e)
            {
                throw new CliException(e.CanRetry ? ExitCode.Unreachable : ExitCode.Failed, $"the search stopped: {e.Message}", e);
            }

            void Say(ObjectEntry orphan, bool isDeleted)
            {
                if (context.Json)
                    context.WriteJson(new(orphan.Key.Value, orphan.Length, orphan.LastModified, isDeleted), CliJson.Default.OrphanLine);
                else
                    context.Output.WriteLine($"{(isDeleted ? "deleted" : "orphan "),-8} {orphan.Key}  {ByteText.Of(orphan.Length)}  {orphan.LastModified.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}");
            }
        });
        return command;
    }
}
