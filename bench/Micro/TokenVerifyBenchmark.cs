using System.Net;
using System.Security.Cryptography;
using System.Text;
using BenchmarkDotNet.Attributes;
using Delivery.TokenAuth;

namespace Delivery.Bench;

/// <summary>What admitting a signed URL costs, beside the least that a plain implementation could do: one HMAC of a ready message and a compare.</summary>
[MemoryDiagnoser]
[Config(typeof(InProcessConfig))]
public class TokenVerifyBenchmark
{
    private const long Now = 1_800_000_000;
    private const string Path = "/audio/0123456789abcdef0123456789abcdef01234567.ogg";

    private readonly KeyRing _ring = KeyRing.Generate().WithNewKey("k2");
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);
    private readonly byte[] _message = Encoding.UTF8.GetBytes($"{Path}:{Now + 60}:kid=k1");
    private readonly byte[] _mac = new byte[32];
    private readonly IPAddress _client = IPAddress.Parse("203.0.113.7");
    private string _bare = "";
    private string _grant = "";
    private string _allClaims = "";
    private string _badSignature = "";

    [GlobalSetup]
    public void SignUrls()
    {
        var bare = new UrlGrant { Expires = DateTimeOffset.FromUnixTimeSeconds(Now + 60) };
        // What POST /v1/playback signs: every listener's request.
        var grant = bare with
        {
            SessionId = "6Jdm9RkY2wwblb1Kh_jJLw",
            TrackId = "demo-album-1",
            Country = "SE",
            NextFile = "audio/0123456789abcdef0123456789abcdef01234567.ogg",
        };
        var all = grant with
        {
            NotBefore = DateTimeOffset.FromUnixTimeSeconds(Now),
            Address = "203.0.113.0/24",
            Prefix = "/audio/",
        };
        _bare = NativeScheme.Instance.Sign(_ring, Path, bare);
        _grant = NativeScheme.Instance.Sign(_ring, Path, grant);
        _allClaims = NativeScheme.Instance.Sign(_ring, Path, all);
        _badSignature = _bare.Replace("/0123", "/1123", StringComparison.Ordinal);
        HMACSHA256.HashData(_key, _message, _mac);
        Check(Bare(), TokenVerdict.Valid);
        Check(Grant(), TokenVerdict.Valid);
        Check(AllClaims(), TokenVerdict.Valid);
        Check(BadSignature(), TokenVerdict.BadSignature);
    }

    [Benchmark(Baseline = true, Description = "HMACSHA256.HashData + compare")]
    public bool Plain()
    {
        Span<byte> mac = stackalloc byte[32];
        HMACSHA256.HashData(_key, _message, mac);
        return CryptographicOperations.FixedTimeEquals(mac, _mac);
    }

    [Benchmark(Description = "verify: expires, kid, sig")]
    public TokenVerdict Bare() => Verify(_bare);

    [Benchmark(Description = "verify: a playback grant (kid, cc, nxt, sid, tid)")]
    public TokenVerdict Grant() => Verify(_grant);

    [Benchmark(Description = "verify: all claims")]
    public TokenVerdict AllClaims() => Verify(_allClaims);

    [Benchmark(Description = "verify: bad signature")]
    public TokenVerdict BadSignature() => Verify(_badSignature);

    // As an edge does it: the target is split and judged, then verified.
    private TokenVerdict Verify(string url)
    {
        RequestTarget.TrySplit(url, out var path, out var query);
        return NativeScheme.Instance.Verify(_ring, path, query, _client, Now, out _);
    }

    private static void Check(TokenVerdict actual, TokenVerdict expected)
    {
        if (actual != expected)
            throw new InvalidOperationException($"The benchmark verifies to {actual}, not to {expected}.");
    }
}
