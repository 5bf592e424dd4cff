// Ranges of 64 KiB and 8 MB through each driver beside the bare SDK, HttpClient or file on the same server, by turns: first byte, throughput, CPU and allocation of the client.
// Usage: Stores [--rounds N] URL...     (bench/stores/run starts the servers and pins everything)
// An S3 URL needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a gs URL is asked without credentials.
using System.Globalization;
using System.Net.Http.Headers;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Delivery.Bench.Stores;
using Delivery.ObjectStore;
using Delivery.Tests;

if (args is ["gcs-server"])
{
    await using var server = await GcsServer.StartAsync(asksForTokens: false);
    server.CreateBucket("bench");
    Console.WriteLine($"gs://bench?endpoint={Uri.EscapeDataString(server.Address.GetLeftPart(UriPartial.Authority))}&credentials=none");
    Console.In.ReadToEnd();
    return 0;
}

const long objectBytes = 64_000_000;
var rounds = 7;
var urls = new List<StoreUrl>();
for (var i = 0; i < args.Length; i++)
{
    if (args[i] == "--rounds")
        rounds = int.Parse(args[++i], CultureInfo.InvariantCulture);
    else
        urls.Add(StoreUrl.Parse(args[i]));
}

Console.WriteLine("| store | range | at a time | first byte p50 ms, driver / bare | p99 ms | MB/s | client CPU µs | allocated KiB | first byte ratio | throughput ratio |");
Console.WriteLine("|---|---|---|---|---|---|---|---|---|---|");
var key = ObjectKey.Parse("audio/bench.ogg");
var bytes = new byte[objectBytes];
Random.Shared.NextBytes(bytes);
foreach (var url in urls)
{
    using var store = ObjectStores.Open(url);
    if (url.Scheme == StoreScheme.S3)
        await S3(url).PutBucketAsync(url.Bucket);
    await store.WriteAsync(key, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/ogg", ExpectedLength = objectBytes }, CancellationToken.None);
    var driver = new Contender("driver", async (offset, length) =>
    {
        var read = await store.OpenReadAsync(key, new ObjectRange(offset, length), CancellationToken.None);
        return (read!.Content, read);
    });
    var bare = Bare(url);
    foreach (var (rangeBytes, ranges, concurrency) in new[] { (65_536L, 400, 1), (65_536L, 800, 16), (8_000_000L, 20, 1), (8_000_000L, 40, 4) })
    {
        var (ours, theirs) = (new List<Batch>(), new List<Batch>());
        for (var round = -1; round < rounds; round++)
        {
            // By turns, and each first as often as the other; the round before the first warms both.
            foreach (var contender in round % 2 == 0 ? new[] { driver, bare } : [bare, driver])
            {
                var batch = await contender.ReadAsync(ranges, concurrency, rangeBytes, objectBytes);
                if (round >= 0)
                    (contender == driver ? ours : theirs).Add(batch);
            }
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {url.Scheme} | {(rangeBytes == 65_536 ? "64 KiB" : "8 MB")} | {concurrency} | {Both(b => b.FirstByteP50, "0.000")} | {Both(b => b.FirstByteP99, "0.00")} | {Both(b => b.MegabytesPerSecond, "0")} | {Both(b => b.CpuMicroseconds, "0")} | {Both(b => b.AllocatedBytes / 1024, "0.0")} | {Ratio(b => b.FirstByteP50)} | {Ratio(b => b.MegabytesPerSecond)} |"));

        string Both(Func<Batch, double> of, string format) =>
            string.Create(CultureInfo.InvariantCulture, $"{Median(ours.Select(of)).ToString(format, CultureInfo.InvariantCulture)} / {Median(theirs.Select(of)).ToString(format, CultureInfo.InvariantCulture)}");

        // Of each round by itself: a machine that slows down for a while slows both.
        string Ratio(Func<Batch, double> of)
        {
            var ratios = ours.Zip(theirs, (o, t) => of(o) / of(t)).Order().ToList();
            return string.Create(CultureInfo.InvariantCulture, $"**{Median(ratios):0.00}** ({ratios[0]:0.00} – {ratios[^1]:0.00})");
        }
    }
}

return 0;

static double Median(IEnumerable<double> values)
{
    var sorted = values.Order().ToList();
    return sorted[sorted.Count / 2];
}

Contender Bare(StoreUrl url)
{
    switch (url.Scheme)
    {
        case StoreScheme.File:
            var path = Path.Combine(url.Path, key.Value);
            return new("file", (offset, _) =>
            {
                var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 0, FileOptions.Asynchronous) { Position = offset };
                return Task.FromResult<(Stream, IAsyncDisposable)>((file, file));
            });
        case StoreScheme.S3:
            var client = S3(url);
            return new("sdk", async (offset, length) =>
            {
                var response = await client.GetObjectAsync(new GetObjectRequest { BucketName = url.Bucket, Key = url.Prefix + key, ByteRange = new ByteRange(offset, offset + length - 1) });
                return (response.ResponseStream, new Owner(response));
            });
        default:
            var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 256 });
            var media = new Uri($"{url.Option("endpoint")!.TrimEnd('/')}/storage/v1/b/{url.Bucket}/o/{Uri.EscapeDataString(url.Prefix + key)}?alt=media");
            return new("HttpClient", async (offset, length) =>
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, media) { Headers = { Range = new RangeHeaderValue(offset, offset + length - 1) } };
                var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                response.EnsureSuccessStatusCode();
                return (await response.Content.ReadAsStreamAsync(), new Owner(response));
            });
    }
}

static AmazonS3Client S3(StoreUrl url) => new(new EnvironmentVariablesAWSCredentials(), new AmazonS3Config
{
    ServiceURL = url.Option("endpoint"),
    AuthenticationRegion = url.Option("region") ?? "us-east-1",
    ForcePathStyle = true,
    RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
    ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
});

/// <summary>An answer whose end gives the connection back.</summary>
internal sealed class Owner(IDisposable response) : IAsyncDisposable
{
    public ValueTask DisposeAsync()
    {
        response.Dispose();
        return default;
    }
}
