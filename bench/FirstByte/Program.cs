// First byte of every rendition in a data folder that `./delivery up --demo --once --data DIR` made.
// Usage: dotnet run -c Release --project bench/FirstByte -- DIR [ROUNDS [URL...]]
// With URLs the edges of a round take turns over the folder and stores that hold copies of it (`delivery store copy DIR/store URL`). Each round starts a fresh edge (an empty cache), asks the first 64 KiB of every rendition once (cold), then once more (warm). The store's files
// are in the page cache: "cold" is the edge's cache, not the disk. The client shares the process and the machine.
using System.Globalization;
using Delivery.Bench.FirstByte;
using Delivery.Edge;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

if (args.Length == 0)
{
    Console.Error.WriteLine("usage: FirstByte DATA_FOLDER [ROUNDS [URL...]]");
    return 2;
}

const int firstRangeEnd = 65_535;
var rounds = args.Length >= 2 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 200;
var stores = new List<(string Name, IObjectStore Store)> { ("File", FileStore.Open(Path.Combine(args[0], "store"))) };
foreach (var url in args.Skip(2).Select(StoreUrl.Parse))
    stores.Add((url.Scheme.ToString(), ObjectStores.Open(url)));
var keyRing = Path.Combine(args[0], "keys.json");
var ring = KeyRing.Parse(File.ReadAllBytes(keyRing));
var grant = new UrlGrant { Expires = DateTimeOffset.UtcNow.AddDays(1) };
var targets = new List<string>();
await foreach (var entry in stores[0].Store.ListAsync("audio/", null, CancellationToken.None))
    targets.Add(NativeScheme.Instance.Sign(ring, $"/{entry.Key}", grant));

string[] labels = ["cold", "warm"];
var samples = stores.SelectMany(_ => labels, (store, label) => (store.Name, label)).ToDictionary(k => k, _ => targets.ToDictionary(target => target, _ => new List<double>()));
for (var round = 0; round < rounds; round++)
{
    foreach (var (name, store) in stores)
    {
        await using var edge = await EdgeNode.StartAsync(
            new EdgeOptions { Port = 0, AdminPort = 0, KeyRingPath = keyRing, HotTierBytes = 256L << 20 }, store, NullLoggerFactory.Instance, TimeProvider.System, CancellationToken.None);
        using var client = new RangeClient(edge.Address);
        // The connection and, in the first round, the compiler: refused requests warm both and leave the cache empty.
        for (var i = 0; i < (round == 0 ? 200 : 3); i++)
            client.Get("/audio/unsigned.ogg", 0);
        foreach (var label in labels)
        {
            foreach (var target in targets)
            {
                var (status, _, firstByte) = client.Get(target, firstRangeEnd);
                if (status != 206)
                    throw new InvalidOperationException($"{name}, {label}: {status} for {target}");
                samples[(name, label)][target].Add(firstByte.TotalMilliseconds);
            }
        }
    }
}

Console.WriteLine($"{targets.Count} renditions, {rounds} rounds; first 64 KiB, milliseconds to the body's first byte");
Console.WriteLine();
Console.WriteLine("| store | | requests | p50 | p99 | max | worst rendition's p99 |");
Console.WriteLine("|---|---|---|---|---|---|---|");
foreach (var ((name, label), ofTarget) in samples)
{
    var all = ofTarget.Values.SelectMany(values => values).Order().ToList();
    var worst = ofTarget.Values.Max(values => Percentile([.. values.Order()], 0.99));
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {label} | {all.Count} | {Percentile(all, 0.5):0.00} | {Percentile(all, 0.99):0.00} | {all[^1]:0.00} | {worst:0.00} |"));
}

return 0;

static double Percentile(List<double> sorted, double p) => sorted[(int)Math.Ceiling(p * sorted.Count) - 1];
