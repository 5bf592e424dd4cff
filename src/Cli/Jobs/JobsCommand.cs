using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;
using Spectre.Console;

namespace Delivery.Cli.Jobs;

/// <summary><c>delivery jobs</c>: what the farm does, and two things that can be done about it.</summary>
internal static class JobsCommand
{
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);

    /// <summary>How long <c>--watch</c> waits for an origin that is away.</summary>
    private static readonly TimeSpan WatchPatience = TimeSpan.FromMinutes(2);

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var phase = new Option<string?>("--phase") { Description = "Only jobs in this phase.", HelpName = "PHASE" };
        phase.AcceptOnlyFromAmong([.. Enum.GetValues<JobPhase>().Select(ApiWord.Of)]);
        var watch = new Option<bool>("--watch") { Description = "Go on, with a line for each job that got further, until Ctrl-C." };
        var command = new Command("jobs", "List the farm's jobs, one per track: phase, progress, worker, time left, or why it failed.")
        {
            phase, watch, Change("retry", "Queue a failed job again.", (origin, id, token) => origin.RetryJobAsync(id, token)),
            Change("cancel", "End a job that waits or runs; the track is failed until it is retried or gets another master.", (origin, id, token) => origin.CancelJobAsync(id, token)),
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            using var origin = new OriginClient(connection.Origin, connection.ApiKey);
            if (parsed.GetValue(watch))
                return await WatchAsync(origin, parsed.GetValue(phase), context, cancellationToken);
            var table = Columns();
            await foreach (var job in origin.ListJobsAsync(parsed.GetValue(phase), cancellationToken))
            {
                if (context.Json)
                    context.Output.WriteLine(JsonSerializer.Serialize(job, ApiJson.Default.JobStatus));
                else
                    table.AddRow(Cells(job));
            }

            if (!context.Json)
                context.Console.Write(table);
            return ExitCode.Ok;
        });
        return command;

        Command Change(string name, string description, Func<OriginClient, string, CancellationToken, Task<JobStatus>> ask)
        {
            var id = new Argument<string>("ID") { Description = "The job's id." };
            var change = new Command(name, description) { id };
            change.Run(options, output, error, async (parsed, context, cancellationToken) =>
            {
                var connection = new Connection(parsed, options);
                using var origin = new OriginClient(connection.Origin, connection.ApiKey);
                Say(await ask(origin, parsed.GetRequiredValue(id), cancellationToken), context);
                return ExitCode.Ok;
            });
            return change;
        }
    }

    private static async Task<int> WatchAsync(OriginClient origin, string? phase, CommandContext context, CancellationToken cancellationToken)
    {
        var patience = new Patience(context, WatchPatience, TimeProvider.System);
        Dictionary<string, JobStatus>? seen = null;
        while (true)
        {
            var jobs = await patience.AskAsync(async _ => await origin.ListJobsAsync(phase, cancellationToken).ToListAsync(cancellationToken), cancellationToken);
            foreach (var job in jobs)
            {
                // What is over when the watch begins is no news.
                if (seen is null ? job.Phase is not (JobPhase.Done or JobPhase.Failed) : !seen.TryGetValue(job.JobId, out var before) || News(before) != News(job))
                    Say(job, context);
            }

            seen = jobs.ToDictionary(job => job.JobId, StringComparer.Ordinal);
            await Task.Delay(WatchInterval, cancellationToken);
        }
    }

    /// <summary>What makes a line worth its while: not that time goes by.</summary>
    private static JobStatus News(JobStatus job) => job with { UpdatedAt = default, SecondsLeft = null, Progress = Math.Round(job.Progress, 2) };

    private static void Say(JobStatus job, CommandContext context)
    {
        if (context.Json)
            context.WriteJson(job, ApiJson.Default.JobStatus);
        else
            context.Output.WriteLine($"{job.JobId}  {string.Join("  ", Texts(job).Skip(1).Where(text => text.Length > 0))}");
        context.Output.Flush();
    }

    private static Table Columns() => new Table().Border(TableBorder.Simple).AddColumns("job", "phase", "progress", "left", "attempt", "worker", "updated", "failure");

    private static Text[] Cells(JobStatus job) => [.. Texts(job).Select(text => new Text(text))];

    private static IEnumerable<string> Texts(JobStatus job)
    {
        yield return job.JobId;
        yield return ApiWord.Of(job.Phase);
        yield return job.Progress.ToString("P0", CultureInfo.InvariantCulture);
        yield return job.SecondsLeft is { } left ? TimeSpan.FromSeconds(Math.Ceiling(left)).ToString("c", CultureInfo.InvariantCulture) : "";
        yield return job.Attempt?.ToString(CultureInfo.InvariantCulture) ?? "";
        yield return job.Worker ?? "";
        yield return job.UpdatedAt.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        yield return job.Failure is { } failure ? $"{ApiWord.Of(failure.Code)}: {failure.Message}" : "";
    }
}
