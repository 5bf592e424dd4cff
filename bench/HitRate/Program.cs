// Hit ratios of the edge's cache policy beside known ones, over generated listening. Writes hit-rate.md and hit-rate.svg.
// Usage: dotnet run -c Release --project bench/HitRate -- [--quick] [FOLDER]     (default folder: bench/results)
using System.Diagnostics;
using Delivery.Bench.HitRate;
using Delivery.Edge;
using Delivery.Edge.Cache.Policy;

var quick = args.Contains("--quick");
var folder = args.FirstOrDefault(a => !a.StartsWith('-')) ?? Path.Combine("bench", "results");
var watch = Stopwatch.StartNew();
var rows = new List<ReportRow>();
foreach (var zipf in (double[])[0.7, 0.9, 1.1])
{
    var trace = TraceGenerator.Generate(new() { Zipf = zipf, Requests = quick ? 1_000_000 : 20_000_000 });
    Console.Error.WriteLine($"Zipf {zipf}: {trace.Requests.Length:N0} requests for {trace.Chunks:N0} chunks, {trace.Footprint >> 30} GiB");
    foreach (var share in (double[])[0.001, 0.01, 0.1])
    {
        var total = (long)(trace.Footprint * share);
        // The least RAM that an edge takes; with less than three times that in all, there is nothing to tell of two tiers.
        var ram = Math.Max(EdgeOptions.MinHotTierBytes, total / 16);
        if (total < 3 * ram)
            continue;
        foreach (var make in (Func<ReplayedCache>[])
        [
            () => new Fifo(trace, total),
            () => new Lru(trace, total),
            () => new Arc(trace, total),
            () => new WindowTinyLfu(trace, total),
            () => new S3Fifo(trace, total),
            () => new EdgeCache(Report.RamOnly, trace, total, 0, CachePolicyOptions.For(total, 0)),
            () => new EdgeCache(Report.Edge, trace, ram, total - ram, CachePolicyOptions.For(ram, total - ram)),
            () => new Belady(trace, total),
        ])
        {
            var result = ReplayResult.Run(trace, make());
            Console.Error.WriteLine($"  {share,6:P1} {result.Name,-22} {result.Requests,8:P2} heads {result.Heads,8:P2}");
            rows.Add(new(zipf, share, total, ram, trace, result));
        }
    }
}

if (rows.Count == 0)
{
    Console.Error.WriteLine("Every cache would be too small.");
    return 1;
}

Directory.CreateDirectory(folder);
File.WriteAllText(Path.Combine(folder, "hit-rate.md"), Report.Markdown(rows, quick, watch.Elapsed));
File.WriteAllText(Path.Combine(folder, "hit-rate.svg"), Plot.Svg(rows));
Console.Error.WriteLine($"{folder}/hit-rate.md, hit-rate.svg: {watch.Elapsed.TotalSeconds:F0} s");
return 0;
