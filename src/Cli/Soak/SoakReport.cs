using System.Globalization;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Soak;

/// <summary>The line of <c>delivery soak --json</c>. Times are milliseconds, sizes bytes.</summary>
internal sealed record SoakLine
{
    /// <summary><c>good</c>, or <c>failed</c> with the reasons in <see cref="Problems"/>.</summary>
    public required string Verdict { get; init; }

    public required IReadOnlyList<string> Problems { get; init; }

    public required bool Interrupted { get; init; }

    public required ulong Seed { get; init; }

    public required double Seconds { get; init; }

    public required int Objects { get; init; }

    public required long StoreBytes { get; init; }

    public required long RamBudgetBytes { get; init; }

    /// <summary>Null without a disk tier.</summary>
    public required long? DiskBudgetBytes { get; init; }

    public required long Requests { get; init; }

    public required long Bytes { get; init; }

    public required long LeftByClient { get; init; }

    public required long LostToKills { get; init; }

    public required long CutByReplacement { get; init; }

    public required long WrongBytes { get; init; }

    public required long StaleVersions { get; init; }

    public required int Faults { get; init; }

    public required int Kills { get; init; }

    public required RestartLine? Restarts { get; init; }

    public required long PurgesAcknowledged { get; init; }

    public required long PurgesRepeated { get; init; }

    public required IReadOnlyList<LatencyLine> Latency { get; init; }

    public required SampleLine? Rss { get; init; }

    public required SampleLine? Descriptors { get; init; }

    public required SampleLine? UnlinkedFiles { get; init; }

    public required SampleLine? Threads { get; init; }

    public required SampleLine? CacheBytes { get; init; }

    public required int Leftovers { get; init; }
}

/// <param name="State">What <c>Cache-Status</c> said; <c>none</c> for refusals.</param>
/// <param name="Requests">Whose first byte came.</param>
/// <param name="P50">To the first byte.</param>
/// <param name="P99">To the first byte.</param>
/// <param name="Max">To the first byte.</param>
/// <param name="MaxStall">Longest wait for a next byte within a body.</param>
internal sealed record LatencyLine(string State, long Requests, double P50, double P99, double Max, double MaxStall);

/// <param name="Count">Restarts that were let live until they were ready.</param>
/// <param name="ReadyMedian">From the start of the process to <c>/readyz</c>.</param>
/// <param name="ReadyMax">The slowest.</param>
/// <param name="FirstHitMedian">From the start of the process to the first answer from the cache.</param>
/// <param name="FirstHitMax">The slowest.</param>
/// <param name="Asked">Objects asked for, with the store away, that the cache was known to have held.</param>
/// <param name="AnsweredWithoutStore">Of those, answered.</param>
internal sealed record RestartLine(int Count, double ReadyMedian, double ReadyMax, double? FirstHitMedian, double? FirstHitMax, int Asked, int AnsweredWithoutStore);

/// <param name="Median">Of all samples.</param>
/// <param name="Max">Of all samples.</param>
/// <param name="PerMinute">Slope over the longest life of the edge, without its first quarter; null when that is too short to tell.</param>
internal sealed record SampleLine(double Median, double Max, double? PerMinute);

/// <summary>The judgement of a run.</summary>
internal sealed class SoakReport
{
    // Fewer samples say nothing of a trend.
    private const int MinTrendSamples = 20;

    // Sockets come and go with the load.
    private const int DescriptorAllowance = 16;

    public SoakReport(
        SoakSettings settings, SoakCatalog catalog, SoakTally tally, IReadOnlyList<SoakSample> samples, IReadOnlyList<RestartFigures> restarts, Purger purger,
        IReadOnlyList<int> leftovers, int kills, TimeSpan elapsed, bool interrupted)
    {
        Faults = tally.Faults;
        var problems = new List<string>();
        foreach (var fault in tally.Faults.GroupBy(f => f.Fault))
            problems.Add($"{fault.Key}: {fault.Count()}{(tally.FaultCount > tally.Faults.Count ? " or more" : "")}");
        var longest = samples.GroupBy(s => s.Life).MaxBy(life => life.Count())?.OrderBy(s => s.Age).ToList() ?? [];
        var rss = Summarize(samples, longest, f => f.RssBytes);
        var cache = Summarize(samples, longest, f => f.CacheBytes);
        if (rss is null && !interrupted)
            problems.Add("the edge's memory was never sampled");
        else if (rss?.Max > settings.RssBoundBytes)
            problems.Add($"RSS {Bytes(rss.Max)} is above the bound of {Bytes(settings.RssBoundBytes)} (RAM budget, fill buffers, disk directory, and {Bytes(SoakSettings.RssAllowanceBytes)})");
        if (settings.DiskTier && cache?.Max > settings.DiskBoundBytes)
            problems.Add($"the cache folder held {Bytes(cache.Max)}, above the bound of {Bytes(settings.DiskBoundBytes)} (disk budget + 2 %)");
        if (DescriptorGrowth(longest) is { } growth)
            problems.Add(growth);
        if (leftovers.Count > 0)
            problems.Add($"processes were left: {string.Join(", ", leftovers)}");
        if (kills < settings.Kills && !interrupted && problems.Count == 0)
            problems.Add($"only {kills} of {settings.Kills} kills were made");
        var hits = tally.FirstByte[AnswerState.Hit].Count;
        if (hits == 0 && !interrupted)
            problems.Add("nothing was served from the cache");
        var (asked, answered) = (restarts.Sum(r => r.Asked), restarts.Sum(r => r.Answered));
        if (settings.DiskTier && asked > 0 && answered == 0)
            problems.Add($"after {restarts.Count} restarts none of {asked} objects that the cache had held was served from its disk");
        if (settings.Purges && purger.Acknowledged == 0 && !interrupted)
            problems.Add("no purge was acknowledged");

        Line = new SoakLine
        {
            Verdict = problems.Count == 0 ? "good" : "failed",
            Problems = problems,
            Interrupted = interrupted,
            Seed = settings.Seed,
            Seconds = Math.Round(elapsed.TotalSeconds, 1),
            Objects = catalog.Objects.Count,
            StoreBytes = catalog.TotalBytes,
            RamBudgetBytes = settings.RamBytes,
            DiskBudgetBytes = settings.DiskTier ? settings.DiskBytes : null,
            Requests = tally.Requests,
            Bytes = tally.Bytes,
            LeftByClient = tally.Aborted,
            LostToKills = tally.LostToKills,
            CutByReplacement = tally.CutByReplacement,
            WrongBytes = tally.Count(SoakFault.WrongByte),
            StaleVersions = tally.Count(SoakFault.StaleVersion),
            Faults = tally.FaultCount,
            Kills = kills,
            Restarts = Summarize(restarts),
            PurgesAcknowledged = purger.Acknowledged,
            PurgesRepeated = purger.Repeated,
            Latency = [.. tally.FirstByte.Where(s => s.Value.Count > 0).Select(s => new LatencyLine(
                s.Key.ToString().ToLowerInvariant(), s.Value.Count, Milliseconds(s.Value.Percentile(0.5)), Milliseconds(s.Value.Percentile(0.99)), Milliseconds(s.Value.Max), Milliseconds(tally.Stall[s.Key].Max)))],
            Rss = rss,
            Descriptors = Summarize(samples, longest, f => f.Descriptors),
            UnlinkedFiles = Summarize(samples, longest, f => f.UnlinkedFiles),
            Threads = Summarize(samples, longest, f => f.Threads),
            CacheBytes = settings.DiskTier ? cache : null,
            Leftovers = leftovers.Count,
        };
    }

    public SoakLine Line { get; }

    public IReadOnlyList<(SoakFault Fault, string Detail)> Faults { get; }

    public bool IsGood => Line.Problems.Count == 0;

    public void Print(CommandContext context)
    {
        // What went wrong, for people; with --json too, as the line only counts it.
        foreach (var (fault, detail) in Faults)
            context.Error.WriteLine($"{fault}: {detail}");
        if (context.Json)
        {
            context.WriteJson(Line, CliJson.Default.SoakLine);
            return;
        }

        var line = Line;
        Row("soak", $"seed {line.Seed}, {line.Seconds:0} s{(line.Interrupted ? " (interrupted)" : "")}; {line.Objects} objects, {Bytes(line.StoreBytes)}; budgets: {Bytes(line.RamBudgetBytes)} RAM, {(line.DiskBudgetBytes is { } disk ? $"{Bytes(disk)} disk" : "no disk tier")}");
        Row("requests", $"{line.Requests}, {Bytes(line.Bytes)} judged; {line.WrongBytes} wrong, {line.StaleVersions} stale; {line.LeftByClient} left by the client, {line.LostToKills} lost to kills, {line.CutByReplacement} cut by a replacement");
        foreach (var state in line.Latency)
            Row(state.State, $"{state.Requests}; first byte p50 {state.P50} ms, p99 {state.P99} ms, max {state.Max} ms; longest stall {state.MaxStall} ms");
        if (line.Restarts is { } restarts)
            Row("restarts", $"{line.Kills} kills, {restarts.Count} restarts; ready after {restarts.ReadyMedian} ms (max {restarts.ReadyMax}), first hit after {Optional(restarts.FirstHitMedian)} ms (max {Optional(restarts.FirstHitMax)}); {restarts.AnsweredWithoutStore} of {restarts.Asked} answered with the store away");
        else
            Row("restarts", $"{line.Kills} kills");
        Row("purges", $"{line.PurgesAcknowledged} acknowledged, {line.PurgesRepeated} sent again");
        Sampled("rss", line.Rss, value => Bytes(value));
        Sampled("files", line.Descriptors, value => $"{value:0.#} descriptors");
        Sampled("unlinked", line.UnlinkedFiles, value => $"{value:0.#} descriptors of deleted files");
        Sampled("threads", line.Threads, value => $"{value:0.#}");
        Sampled("disk", line.CacheBytes, value => Bytes(value));
        RowText("verdict", IsGood ? "good" : $"failed: {string.Join("; ", line.Problems)}");
        context.Output.Flush();

        void Row(string name, FormattableString text) => RowText(name, FormattableString.Invariant(text));

        void RowText(string name, string text) => context.Output.WriteLine($"{name,-10}{text}");

        void Sampled(string name, SampleLine? samples, Func<double, string> format)
        {
            if (samples is not null)
                RowText(name, $"median {format(samples.Median)}, max {format(samples.Max)}{(samples.PerMinute is { } slope ? $", {(slope < 0 ? "-" : "+")}{format(Math.Abs(slope))} per minute" : "")}");
        }
    }

    /// <summary>Descriptors beyond the cache's own files, in the longest life: the last quarter beside the second.</summary>
    internal static string? DescriptorGrowth(IReadOnlyList<SoakSample> life)
    {
        if (life.Count < MinTrendSamples)
            return null;
        var quarter = life.Count / 4;
        var before = Median([.. life.Skip(quarter).Take(quarter).Select(Other)]);
        var after = Median([.. life.TakeLast(quarter).Select(Other)]);
        return after > before + before / 10 + DescriptorAllowance
            ? string.Create(CultureInfo.InvariantCulture, $"descriptors grow: {before:0} beside the cache's files in the longest life's second quarter, {after:0} in its last")
            : null;

        static double Other(SoakSample sample) => sample.Figures.Descriptors - sample.Figures.CacheFiles;
    }

    /// <summary>Least squares over the longest life, without its first quarter, in which caches fill.</summary>
    internal static double? SlopePerMinute(IReadOnlyList<SoakSample> life, Func<ProcessFigures, double> of)
    {
        if (life.Count < MinTrendSamples)
            return null;
        var points = life.Skip(life.Count / 4).Select(s => (X: s.Age.TotalMinutes, Y: of(s.Figures))).ToList();
        var (meanX, meanY) = (points.Average(p => p.X), points.Average(p => p.Y));
        var spread = points.Sum(p => (p.X - meanX) * (p.X - meanX));
        return spread == 0 ? null : points.Sum(p => (p.X - meanX) * (p.Y - meanY)) / spread;
    }

    private static SampleLine? Summarize(IReadOnlyList<SoakSample> samples, IReadOnlyList<SoakSample> longest, Func<ProcessFigures, double> of)
    {
        if (samples.Count == 0)
            return null;
        var values = samples.Select(s => of(s.Figures)).ToList();
        return new(Median(values), values.Max(), SlopePerMinute(longest, of) is { } slope ? Math.Round(slope, 1) : null);
    }

    private static RestartLine? Summarize(IReadOnlyList<RestartFigures> restarts)
    {
        if (restarts.Count == 0)
            return null;
        var ready = restarts.Select(r => r.Ready.TotalMilliseconds).ToList();
        var hits = restarts.Where(r => r.FirstHit is not null).Select(r => r.FirstHit!.Value.TotalMilliseconds).ToList();
        return new(
            restarts.Count, Math.Round(Median(ready)), Math.Round(ready.Max()), hits.Count > 0 ? Math.Round(Median(hits)) : null, hits.Count > 0 ? Math.Round(hits.Max()) : null,
            restarts.Sum(r => r.Asked), restarts.Sum(r => r.Answered));
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return values[values.Count / 2];
    }

    private static double Milliseconds(TimeSpan time) => Math.Round(time.TotalMilliseconds, 2);

    private static string Bytes(double bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576:0.#} MiB");

    private static string Optional(double? value) => value?.ToString(CultureInfo.InvariantCulture) ?? "-";
}
