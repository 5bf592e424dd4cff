using System.Diagnostics;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Copying;
using Delivery.ObjectStore.Failover;

namespace Delivery.Cli.Stores;

/// <summary>One key that is not the same in both stores, and what was done.</summary>
internal sealed record DifferenceLine(string Key, string State, string? Done, string? Failure);

/// <summary>Where a reconciliation stands.</summary>
/// <param name="At">All keys up to this one are done: what <c>--start-after</c> takes.</param>
internal sealed record ReconcileProgressLine(long Equal, long NotCompared, long Missing, long Different, long Extra, long Repaired, long Deleted, long Failed, long Bytes, string? At);

/// <summary>The last line of a reconciliation.</summary>
internal sealed record ReconcileEnd(
    bool Done, bool InSync, long Equal, long NotCompared, long Missing, long Different, long Extra, long Repaired, long Deleted, long Failed, long Bytes, double Seconds, string? StartAfter);

/// <summary><c>delivery store reconcile</c>: tells every key in which two stores differ, and repairs when told so. Nothing is kept of them, so they may be as many as there are.</summary>
internal sealed class StoreReconcile(IObjectStore primary, IObjectStore secondary, CommandContext context)
{
    private readonly long _started = Stopwatch.GetTimestamp();
    private ReconcileProgressLine _now = new(0, 0, 0, 0, 0, 0, 0, 0, 0, null);

    public bool Repair { get; init; }

    public bool DeleteExtra { get; init; }

    public string Prefix { get; init; } = "";

    public string? StartAfter { get; init; }

    public int Parallel { get; init; } = StoreCopy.DefaultParallel;

    public bool Verify { get; init; }

    /// <returns>The exit code: 0 when the secondary has what the primary has, and nothing else; or has it now.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        _now = _now with { At = StartAfter };
        var options = new ReconcileOptions
        {
            Comparison = new() { Prefix = Prefix, StartAfter = StartAfter, Verify = Verify, Concurrency = Parallel },
            Repair = Repair,
            DeleteExtras = DeleteExtra,
        };
        StoreException? broken = null;
        await using (new LiveStatus(context, Text, () => context.WriteJson(_now, CliJson.Default.ReconcileProgressLine)))
        {
            try
            {
                await StoreReconciler.RunAsync(primary, secondary, options, Tell, cancellationToken);
            }
            catch (StoreException e)
            {
                broken = e;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                SayEnd(done: false);
                throw;
            }
        }

        SayEnd(done: broken is null);
        if (broken is not null)
            throw new CliException(broken.CanRetry ? ExitCode.Unreachable : ExitCode.Failed, $"the comparison stopped: {broken.Message} {Resume()}", broken);
        return IsInSync ? ExitCode.Ok : ExitCode.Failed;
    }

    private bool IsInSync => _now.Missing + _now.Different <= _now.Repaired && _now.Extra <= _now.Deleted && _now.Failed == 0;

    private void Tell(ReconciledKey key, ReconcileReport report)
    {
        _now = new(report.Equal, report.NotCompared, report.Missing, report.Different, report.Extra, report.Repaired, report.Deleted, report.Failed, report.Bytes, report.LastKey);
        if (key.Found.State is KeyState.Equal or KeyState.NotCompared)
            return;
        var line = new DifferenceLine(key.Found.Key.Value, ApiWord.Of(key.Found.State), key.Done is { } done ? ApiWord.Of(done) : null, key.Failure?.Message);
        if (context.Json)
            context.WriteJson(line, CliJson.Default.DifferenceLine);
        else
            context.Output.WriteLine($"{line.State,-10} {line.Key}{(line.Done is null ? "" : $"  {line.Done}")}{(line.Failure is null ? "" : $"  failed: {line.Failure}")}");
    }

    private string Text()
    {
        var now = _now;
        return $"{now.Equal:N0} equal, {now.Missing:N0} missing, {now.Different:N0} different, {now.Extra:N0} extra{(Repair ? $"; {now.Repaired:N0} repaired, {now.Deleted:N0} deleted, {ByteText.Of(now.Bytes)}" : "")}"
            + $"{(now.Failed > 0 ? $"; {now.Failed:N0} failed" : "")}{(now.At is null ? "" : $", at {now.At}")}";
    }

    private string Resume() => _now.At is null ? "Run it again." : $"Run it again, or go on with --start-after '{_now.At}'.";

    private void SayEnd(bool done)
    {
        var now = _now;
        if (context.Json)
        {
            var seconds = Math.Round(Stopwatch.GetElapsedTime(_started).TotalSeconds, 2);
            context.WriteJson(
                new(done, done && IsInSync, now.Equal, now.NotCompared, now.Missing, now.Different, now.Extra, now.Repaired, now.Deleted, now.Failed, now.Bytes, seconds, done ? null : now.At),
                CliJson.Default.ReconcileEnd);
            return;
        }

        context.Output.WriteLine($"{(!done ? "stopped: " : IsInSync ? "in sync: " : "they differ: ")}{Text()}");
        if (now.NotCompared > 0)
            context.Output.WriteLine($"{now.NotCompared:N0} are as long in both stores, and no digest says that they are the same: --verify reads them.");
        if (!done)
            context.Output.WriteLine(Resume());
        context.Output.Flush();
    }
}
