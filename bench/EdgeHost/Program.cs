using Delivery.Edge;
using Delivery.ObjectStore;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging.Abstractions;

// EdgeHost FOLDER KEY PORT TLSPORT [CERT CERTKEY] [--scheduled]
// Line by line on its input: "gc" prints the bytes allocated since the start; the end of input stops it.
var files = args.Where(a => !a.StartsWith("--", StringComparison.Ordinal)).ToArray();
var ring = KeyRing.Generate();
var ringPath = Path.Combine(files[0], "keys.json");
await File.WriteAllTextAsync(ringPath, ring.ToJson());
var options = new EdgeOptions
{
    Host = "127.0.0.1",
    Port = int.Parse(files[2], null),
    TlsPort = int.Parse(files[3], null),
    AdminPort = 0,
    KeyRingPath = ringPath,
    HotTierBytes = 256 << 20,
    CertificatePath = files.Length > 4 ? files[4] : null,
    CertificateKeyPath = files.Length > 5 ? files[5] : null,
    InlineScheduling = !args.Contains("--scheduled"),
};
await using var node = await EdgeNode.StartAsync(options, FileStore.Open(files[0]), NullLoggerFactory.Instance, TimeProvider.System, CancellationToken.None);
Console.WriteLine(NativeScheme.Instance.Sign(ring, "/" + files[1], new() { Expires = DateTimeOffset.UtcNow.AddHours(12) }));
while (await Console.In.ReadLineAsync() is { } line)
{
    if (line == "gc")
        Console.WriteLine(GC.GetTotalAllocatedBytes());
}
