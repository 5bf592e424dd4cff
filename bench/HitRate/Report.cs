using System.Globalization;
using System.Text;

namespace Delivery.Bench.HitRate;

/// <summary>One policy at one size over one trace; of the trace only numbers are kept.</summary>
internal sealed record ReportRow
{
    public ReportRow(double zipf, double share, long totalBytes, long ramBytes, Trace trace, ReplayResult result)
    {
        Zipf = zipf;
        Share = share;
        TotalBytes = totalBytes;
        RamBytes = ramBytes;
        Requests = trace.Requests.Length;
        Chunks = trace.Chunks;
        Footprint = trace.Footprint;
        Result = result;
    }

    public double Zipf { get; }

    public double Share { get; }

    public long TotalBytes { get; }

    public long RamBytes { get; }

    public int Requests { get; }

    public int Chunks { get; }

    public long Footprint { get; }

    public ReplayResult Result { get; }
}

internal static class Report
{
    public const string Edge = "edge, RAM + disk";
    public const string RamOnly = "edge, RAM alone";
    public const string Belady = "Belady";

    public static string Markdown(List<ReportRow> rows, bool quick, TimeSpan elapsed)
    {
        var text = new StringBuilder();
        Line($"# Hit ratios of the cache policy");
        Line($"");
        Line($"{DateTime.UtcNow:yyyy-MM-dd}, written by `bench/HitRate`{(quick ? " --quick" : "")} in {elapsed.TotalSeconds:F0} s. Seeded: a second run gives the same figures.");
        Line($"");
        Line($"![Hit ratios by cache size](hit-rate.svg)");
        Line($"");
        Line($"**Traces.** Listeners start tracks out of a million (Zipf); a request is one chunk of 128 KiB, counted once for each pass, however many ranges the player cuts it");
        Line($"into. A quarter hear the first 64 KiB alone, 15 % leave somewhere later, 60 % go to the end, one in ten who go on seeks. 5 % of the starts are a crawler's, which reads");
        Line($"the tail once. At half-time an album of 20 new tracks takes 20 % of the starts and decays. 2,000 sessions are mixed at random. The first fifth warms up and is not");
        Line($"counted. The size is a share of all bytes that the trace asks for; **every policy has the same bytes in all**.");
        Line($"");
        Line($"**The edge** runs the real `CachePolicy` and `GhostTable`, over the pages, shards and segments of the real tiers without their bytes. Its RAM is a sixteenth of the size");
        Line($"(64 MiB at least) and pays for index and ghost; what RAM main holds is on disk as well, so a sixteenth is spent twice.");
        Line($"The known policies are charged for nothing but the chunks' bytes, and nothing limits how");
        Line($"often they write.");
        foreach (var trace in rows.GroupBy(r => r.Zipf))
        {
            var first = trace.First();
            Line($"");
            Line($"## Zipf {first.Zipf:0.0}");
            Line($"");
            Line($"{first.Requests:N0} requests for {first.Chunks:N0} chunks, {first.Footprint / (double)(1L << 30):N0} GiB.");
            foreach (var size in trace.GroupBy(r => r.Share))
            {
                Line($"");
                Line($"**{size.Key * 100:0.0} %: {Size(size.First().TotalBytes)}**, of which the edge's RAM {Size(size.First().RamBytes)}");
                Line($"");
                Line($"| | chunk requests | bytes | first chunks | hits from RAM | written / admitted |");
                Line($"|---|---|---|---|---|---|");
                foreach (var result in size.Select(r => r.Result))
                {
                    var isTiered = result.WriteAmplification > 0;
                    var bold = result.Name == Edge ? "**" : "";
                    Line($"| {bold}{result.Name}{bold} | {Percent(result.Requests)} | {Percent(result.Bytes)} | {Percent(result.Heads)} | {(isTiered ? Percent(result.RamShare) : "")} | {(isTiered ? $"{result.WriteAmplification:F2}" : "")} |");
                }
            }
        }

        Line($"");
        Line($"## Against the goals");
        Line($"");
        Line($"Points above the best of the others (Belady is no online policy). Goals: chunk requests at least S3-FIFO's, first chunks above every other, written / admitted below 1.3.");
        Line($"");
        Line($"| Zipf | size | requests over S3-FIFO | first chunks over the best other | written / admitted | RAM alone: requests | RAM alone: first chunks |");
        Line($"|---|---|---|---|---|---|---|");
        foreach (var group in rows.GroupBy(r => (r.Zipf, r.Share)))
        {
            var of = group.ToDictionary(r => r.Result.Name, r => r.Result);
            var others = of.Values.Where(r => r.Name is not (Edge or RamOnly or Belady)).ToList();
            var (s3, best) = (others.Single(r => r.Name == "S3-FIFO").Requests, others.Max(r => r.Heads));
            Line($"| {group.Key.Zipf:0.0} | {group.Key.Share * 100:0.0} % | {Points(of[Edge].Requests - s3)} | {Points(of[Edge].Heads - best)} | {of[Edge].WriteAmplification:F2} | {Points(of[RamOnly].Requests - s3)} | {Points(of[RamOnly].Heads - best)} |");
        }

        return text.ToString();

        void Line(FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }

    private static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:F2} %");

    private static string Points(double difference) => string.Create(CultureInfo.InvariantCulture, $"{difference * 100:+0.00;-0.00}");

    private static string Size(long bytes) => bytes >= 10L << 30
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):F0} GiB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):F0} MiB");
}
