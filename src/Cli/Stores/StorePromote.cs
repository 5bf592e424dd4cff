using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;

namespace Delivery.Cli.Stores;

/// <summary>A step of a promotion, as <c>--json</c> tells it.</summary>
internal sealed record PromotionLine(string Step);

/// <summary>What a promotion came to.</summary>
/// <param name="Planned">The other store was fenced and drained.</param>
/// <param name="LeftBehind">Keys that could not be copied all the same; the other store keeps them and their markers.</param>
/// <param name="ReplicatedAsOf">Of a forced one: everything accepted before is there; absent when nobody has ever noted it.</param>
internal sealed record PromotionEnd(string Primary, int Epoch, bool WasPrimary, bool Planned, int Drained, IReadOnlyList<string> LeftBehind, DateTimeOffset? ReplicatedAsOf);

/// <summary><c>delivery store promote</c>.</summary>
internal static class StorePromote
{
    /// <param name="next">The store to promote.</param>
    /// <param name="nextUrl">Its name.</param>
    /// <param name="presentUrl">The primary's name; that it cannot be opened is no reason against a forced promotion.</param>
    /// <param name="force">Also while the primary does not answer.</param>
    /// <param name="context">Where it is told.</param>
    /// <param name="cancellationToken">Stops it where it is.</param>
    public static async Task<int> RunAsync(IObjectStore next, StoreUrl nextUrl, StoreUrl presentUrl, bool force, CommandContext context, CancellationToken cancellationToken)
    {
        using var present = OpenPresent(presentUrl, force, context);
        try
        {
            var report = await StorePromotion.PromoteAsync(next, present, new() { Force = force, By = By(), Progress = Tell }, TimeProvider.System, cancellationToken);
            var end = new PromotionEnd(nextUrl.ToString(), report.Epoch, report.WasPrimary, report.IsPlanned, report.Drained, report.LeftBehind, report.ReplicatedAsOf);
            if (context.Json)
                context.WriteJson(end, CliJson.Default.PromotionEnd);
            else
                context.Output.WriteLine(InWords(end));
            context.Output.Flush();
            return report.LeftBehind.Count == 0 ? ExitCode.Ok : ExitCode.Failed;
        }
        catch (StoreException e)
        {
            throw new CliException(
                e.CanRetry ? ExitCode.Unreachable : ExitCode.Failed,
                $"{e.Message}{(e.CanRetry && !force ? " Nothing is promoted: run it again when it answers, or with --force." : " Run it again: it finishes what was begun.")}",
                e);
        }

        void Tell(string step)
        {
            if (context.Json)
                context.WriteJson(new PromotionLine(step), CliJson.Default.PromotionLine);
            else
                context.Output.WriteLine(step.EndsWith('.') ? step : $"{step} …");
            context.Output.Flush();
        }
    }

    private static IObjectStore? OpenPresent(StoreUrl url, bool force, CommandContext context)
    {
        try
        {
            return StoreFlags.OpenExisting(url);
        }
        catch (CliException e) when (force)
        {
            context.Warn($"{e.Message}; going on without it, as --force says");
            return null;
        }
    }

    private static string By() => $"{Environment.UserName}@{Environment.MachineName}";

    internal static string InWords(PromotionEnd end) => end switch
    {
        { WasPrimary: true } => $"{end.Primary} was the primary already, of epoch {end.Epoch}.",
        { Planned: true, LeftBehind: [_, ..] left } =>
            $"{end.Primary} is the primary of epoch {end.Epoch}. {left.Count} keys could not be copied and are left behind: {string.Join(", ", left.Take(10))}{(left.Count > 10 ? ", …" : "")}. {end.Drained} changes were copied after the fence.",
        { Planned: true } => $"{end.Primary} is the primary of epoch {end.Epoch}. Nothing is left behind; {end.Drained} changes were copied after the fence.",
        { ReplicatedAsOf: { } mark } =>
            $"{end.Primary} is the primary of epoch {end.Epoch}. Everything accepted before {mark:u} is there; what came later is taken over when the old primary comes back.",
        _ => $"{end.Primary} is the primary of epoch {end.Epoch}. How far replication was, nobody has noted; what is missing is taken over when the old primary comes back.",
    };
}
