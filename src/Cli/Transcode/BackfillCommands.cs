using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Cli.Stores;
using Delivery.Origin.Api;
using Delivery.Origin.Backfills;
using Spectre.Console;

namespace Delivery.Cli.Transcode;

/// <summary><c>delivery transcode backfill --ladder NAME</c> and <c>delivery transcode backfills</c>.</summary>
internal static class BackfillCommands
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(1);

    /// <summary>How long a watched origin may be away before the watch ends; the backfill goes on without it.</summary>
    private static readonly TimeSpan OriginPatience = TimeSpan.FromMinutes(2);

    public static Command CreateBackfill(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var ladder = new Option<string>("--ladder") { Description = "The ladder to make every track with that plays.", HelpName = "NAME", Required = true };
        var watch = new Option<bool>("--watch") { Description = "Show how it goes until it ends. Exit code 1: tracks failed, or it was cancelled." };
        var cancel = new Option<bool>("--cancel") { Description = "Cancel it; what is made already stays." };
        var command = new Command("backfill", "Make the catalogue anew with a ladder, behind every release. Safe to run again: it goes on, and tries failed tracks again.") { ladder, watch, cancel };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            if (parsed.GetValue(watch) && parsed.GetValue(cancel))
                throw new CliException(ExitCode.Usage, "--watch and --cancel do not go together");
            var name = parsed.GetRequiredValue(ladder);
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var now = parsed.GetValue(cancel) ? await origin.CancelBackfillAsync(name, cancellationToken) : await origin.StartBackfillAsync(name, cancellationToken);
            if (parsed.GetValue(watch))
                now = await WatchAsync(origin, now, context, cancellationToken);
            Say(now, context);
            return !parsed.GetValue(watch) || (now.State == BackfillState.Done && now.Failed == 0) ? ExitCode.Ok : ExitCode.Failed;
        });
        return command;
    }

    public static Command CreateList(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var command = new Command("backfills", "List the backfills that were ordered, and how far each is.");
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            var table = new Table().Border(TableBorder.Simple).AddColumns("ladder", "state", "done", "outstanding", "failed", "skipped", "total");
            foreach (var backfill in (await origin.ListBackfillsAsync(cancellationToken)).Backfills)
            {
                if (context.Json)
                    context.WriteJson(backfill, ApiJson.Default.BackfillStatus);
                else
                    table.AddRow([Markup.Escape(backfill.Ladder), ApiWord.Of(backfill.State), .. new[] { backfill.Done, backfill.Outstanding, backfill.Failed, backfill.Skipped, backfill.Total }.Select(n => n.ToString("N0", CultureInfo.InvariantCulture))]);
            }

            if (!context.Json)
                context.Console.Write(table);
            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<BackfillStatus> WatchAsync(OriginClient origin, BackfillStatus start, CommandContext context, CancellationToken cancellationToken)
    {
        var now = start;
        var patience = new Patience(context, OriginPatience, TimeProvider.System);
        await using (new LiveStatus(context, () => Text(now), () => context.WriteJson(now, ApiJson.Default.BackfillStatus)))
        {
            while (now.State == BackfillState.Running)
            {
                await Task.Delay(PollInterval, cancellationToken);
                now = await patience.AskAsync(_ => origin.GetBackfillAsync(start.BackfillId, cancellationToken), cancellationToken);
            }
        }

        return now;
    }

    private static void Say(BackfillStatus backfill, CommandContext context)
    {
        if (context.Json)
        {
            context.WriteJson(backfill, ApiJson.Default.BackfillStatus);
            return;
        }

        context.Output.WriteLine(Text(backfill));
        foreach (var failure in backfill.Failures)
            context.Output.WriteLine($"  {failure.TrackId}: {ApiWord.Of(failure.Failure.Code)}: {failure.Failure.Message}");
        if (backfill.Failed > backfill.Failures.Count)
            context.Output.WriteLine($"  and {backfill.Failed - backfill.Failures.Count} more");
    }

    private static string Text(BackfillStatus now) => string.Create(
        CultureInfo.InvariantCulture,
        $"{now.Ladder}: {ApiWord.Of(now.State)}, {now.Done:N0} of {now.Total:N0} done, {now.Outstanding:N0} outstanding, {now.Failed:N0} failed, {now.Skipped:N0} skipped{(now.SecondsLeft is { } left ? $", about {TimeSpan.FromSeconds(left):d\\d\\ hh\\:mm\\:ss} left" : "")}");
}
