using System.Diagnostics;
using Delivery.Bench.HitRate;
using Delivery.Edge.Cache.Policy;

var zipf = double.Parse(args[0], System.Globalization.CultureInfo.InvariantCulture);
var n = int.Parse(args[1]) * 1_000_000;
var watch = Stopwatch.StartNew();
var trace = TraceGenerator.Generate(new() { Name = args[0], Zipf = zipf, Requests = n });
Console.WriteLine($"zipf {zipf}: {trace.Requests.Length} requests, {trace.Chunks} chunks, {trace.Footprint >> 30} GiB, {watch.Elapsed.TotalSeconds:F1} s");
var sets = args.Skip(3).ToArray();
foreach (var share in args[2].Split(',').Select(x => double.Parse(x, System.Globalization.CultureInfo.InvariantCulture)))
{
    var total = (long)(trace.Footprint * share);
    var ram = Math.Max(64L << 20, total / 16);
    Console.WriteLine($"{share}: {total >> 20} MiB");
    var runs = new List<ReplayedCache>();
    foreach (var set in sets)
    {
        watch.Restart();
        ReplayedCache cache;
        if (set == "s3") cache = new S3Fifo(trace, total);
        else if (set == "arc") cache = new Arc(trace, total);
        else if (set == "tlfu") cache = new WindowTinyLfu(trace, total);
        else
        {
            var o = CachePolicyOptions.For(ram, total - ram);
            var r1 = ram; var d = total - ram;
            foreach (var kv in set.Split(';', StringSplitOptions.RemoveEmptyEntries))
            {
                var (k, v) = (kv.Split('=')[0], kv.Split('=')[1]);
                if (k == "ramonly") { r1 = total; d = 0; o = CachePolicyOptions.For(total, 0); continue; }
                if (k == "ghost") { o = o with { GhostKeys = (int)Math.Min(o.GhostKeys * double.Parse(v, System.Globalization.CultureInfo.InvariantCulture), 1e9) }; continue; }
                if (k == "ram") { r1 = Math.Max(64L << 20, (long)(total * double.Parse(v, System.Globalization.CultureInfo.InvariantCulture))); d = total - r1; continue; }
                var prop = typeof(CachePolicyOptions).GetProperty(k)!;
                prop.SetValue(o, Convert.ChangeType(v, prop.PropertyType, System.Globalization.CultureInfo.InvariantCulture));
            }
            cache = new EdgeCache(set, trace, r1, d, o);
        }
        var r = ReplayResult.Run(trace, cache);
        Console.WriteLine($"  {r.Name,-40} req {r.Requests:P2} bytes {r.Bytes:P2} heads {r.Heads:P2} ram {r.RamShare:P1} wa {r.WriteAmplification:F3}  {watch.Elapsed.TotalSeconds:F1} s");
    }
}
