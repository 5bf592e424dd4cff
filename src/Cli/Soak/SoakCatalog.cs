using System.Globalization;
using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.TokenAuth;

namespace Delivery.Cli.Soak;

/// <summary>The seeded objects below <c>audio/</c>: more than the disk budget and several times the RAM budget, so that both tiers must evict.</summary>
internal sealed class SoakCatalog
{
    // One in five is mutable: purges need objects that are asked often and ones that are hardly asked.
    private const int MutableEvery = 5;

    // Where chunk, CRC block and first range begin and end.
    private static readonly int[] Edges = [16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 262_144, 262_145, 1_048_576];

    private readonly double[] _cumulative;

    private SoakCatalog(IReadOnlyList<SoakObject> objects)
    {
        Objects = objects;
        TotalBytes = objects.Sum(o => o.Length);
        _cumulative = new double[objects.Count];
        var sum = 0.0;
        for (var i = 0; i < objects.Count; i++)
            _cumulative[i] = sum += 1 / Math.Pow(i + 1, ZipfExponent);
    }

    /// <summary>Popularity by rank: 0.9 is what catalogues of audio show.</summary>
    public const double ZipfExponent = 0.9;

    public IReadOnlyList<SoakObject> Objects { get; }

    public long TotalBytes { get; }

    /// <summary>Bytes that a catalog for these budgets holds.</summary>
    public static long BytesFor(long ramBytes, long diskBytes) => Math.Max(4 * ramBytes, diskBytes + diskBytes / 2);

    /// <summary>Writes every object to the store.</summary>
    public static async Task<SoakCatalog> FillAsync(
        FileStore store, KeyRing ring, ulong seed, long totalBytes, DateTimeOffset expires, Action<long> written, CancellationToken cancellationToken)
    {
        var random = new Random((int)(seed ^ (seed >> 32)));
        var objects = new List<SoakObject>();
        for (long total = 0; total < totalBytes;)
        {
            var number = objects.Count;
            var length = PickLength(random, number);
            var isMutable = number % MutableEvery == MutableEvery - 1;
            var content = new SoakContent(seed, number, 0);
            // A rendition's name is its digest; a name that is not leaves the store free to hold other bytes under it tomorrow.
            var name = isMutable ? string.Create(CultureInfo.InvariantCulture, $"live-{number:d6}") : await FileIdAsync(content, length, cancellationToken);
            var key = $"audio/{name}.ogg";
            await WriteAsync(store, key, content, length, cancellationToken);
            objects.Add(new(seed, number, key, length, NativeScheme.Instance.Sign(ring, "/" + key, new UrlGrant { Expires = expires }), isMutable));
            total += length;
            written(total);
        }

        return new(objects);
    }

    /// <summary>Puts an object's newest version into the store, whole and durable.</summary>
    public static async Task WriteAsync(FileStore store, string key, SoakContent content, long length, CancellationToken cancellationToken)
    {
        await using var stream = new SoakContentStream(content, length);
        await store.WriteAsync(ObjectKey.Parse(key), stream, new ObjectWrite { ContentType = "audio/ogg", ExpectedLength = length }, cancellationToken);
    }

    /// <summary>An object by popularity.</summary>
    public SoakObject Pick(Random random)
    {
        var at = Array.BinarySearch(_cumulative, random.NextDouble() * _cumulative[^1]);
        return Objects[Math.Min(at < 0 ? ~at : at, Objects.Count - 1)];
    }

    private static long PickLength(Random random, int number) => number switch
    {
        // What the smallest catalog must have, whatever the seed.
        0 => 3_500_000,
        1 => 1,
        _ => random.Next(100) switch
        {
            < 4 => random.Next(1, 1_000),
            < 10 => Edges[random.Next(Edges.Length)],
            < 70 => (long)Math.Exp(Math.Log(10_000) + random.NextDouble() * Math.Log(100)),
            _ => random.Next(1_000_000, 6_000_000),
        },
    };

    private static async Task<string> FileIdAsync(SoakContent content, long length, CancellationToken cancellationToken)
    {
        await using var stream = new SoakContentStream(content, length);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, cancellationToken))[..40];
    }
}
