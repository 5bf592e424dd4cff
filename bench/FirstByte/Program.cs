// First byte of every rendition in a data folder that `./delivery up --demo --once --data DIR` made.
// Usage: dotnet run -c Release --project bench/FirstByte -- DIR [ROUNDS]
// Each round starts a fresh edge (an empty cache), asks the first 64 KiB of every rendition once (cold), then once more (warm). The store's files
// are in the page cache: "cold" is the edge's cache, not the disk. The client shares the process and the machine.
using System.Globalization;
using Delivery.Bench.FirstByte;
using Delivery.Edge;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

if (args.Length is 0 or > 2)
{
    Console.Error.WriteLine("usage: FirstByte DATA_FOLDER [ROUNDS]");
    return 2;
}

const int firstRangeEnd = 65_535;
var rounds = args.Length == 2 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 200;
var store = FileStore.Open(Path.Combine(args[0], "store"));
var keyRing = Path.Combine(args[0], "keys.json");
var ring = KeyRing.Parse(File.ReadAllBytes(keyRing));
var grant = new UrlGrant { Expires = DateTimeOffset.UtcNow.AddDays(1) };
var targets = new List<string>();
await foreach (var entry in store.ListAsync("audio/", null, CancellationToken.None))
    targets.Add(NativeScheme.Instance.Sign(ring, $"/{entry.Key}", grant));

var cold = targets.ToDictionary(target => target, _ => new List<double>());
var warm = targets.ToDictionary(target => target, _ => new List<double>());
for (var round = 0; round < rounds; round++)
{
    await using var edge = await EdgeNode.StartAsync(
        new EdgeOptions { Port = 0, AdminPort = 0, KeyRingPath = keyRing, HotTierBytes = 256L << 20 }, store, NullLoggerFactory.Instance, TimeProvider.System, CancellationToken.None);
    using var client = new RangeClient(edge.Address);
    // The connection and, in the first round, the compiler: refused requests warm both and leave the cache empty.
    for (var i = 0; i < (round == 0 ? 200 : 3); i++)
        client.Get("/audio/unsigned.ogg", 0);
    foreach (var (samples, label) in new[] { (cold, "cold"), (warm, "warm") })
    {
        foreach (var target in targets)
        {
            var (status, _, firstByte) = client.Get(target, firstRangeEnd);
            if (status != 206)
                throw new InvalidOperationException($"{label}: {status} for {target}");
            samples[target].Add(firstByte.TotalMilliseconds);
        }
    }
}

Console.WriteLine($"{targets.Count} renditions, {rounds} rounds; first 64 KiB, milliseconds to the body's first byte");
Console.WriteLine();
Console.WriteLine("| | requests | p50 | p99 | max | worst rendition's p99 |");
Console.WriteLine("|---|---|---|---|---|---|");
foreach (var (samples, label) in new[] { (cold, "cold"), (warm, "warm") })
{
    var all = samples.Values.SelectMany(values => values).Order().ToList();
    var worst = samples.Values.Max(values => Percentile([.. values.Order()], 0.99));
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {label} | {all.Count} | {Percentile(all, 0.5):0.00} | {Percentile(all, 0.99):0.00} | {all[^1]:0.00} | {worst:0.00} |"));
}

return 0;

static double Percentile(List<double> sorted, double p) => sorted[(int)Math.Ceiling(p * sorted.Count) - 1];
