using System.Text;

namespace Delivery.TokenAuth.Tests;

internal static class Rings
{
    public const long Now = 1_800_000_000;

    public static readonly KeyRing Two = Parse("""{"keys":{"":"pU3KGCUwux1tEyze1iN7LtkeP3IfyxlxF0SU1kk8nVw=","k1":"NGC+MSAeaf7aoO7ouZl/XHwpmf2v5ZMlPNZUr0361xQ="},"signing":"k1"}""");

    public static KeyRing Parse(string json) => KeyRing.Parse(Encoding.UTF8.GetBytes(json));

    public static UrlGrant Grant => new() { Expires = DateTimeOffset.FromUnixTimeSeconds(Now + 60) };

    public static TokenVerdict Verify(KeyRing ring, string url, long now = Now, string? client = "203.0.113.7")
    {
        Assert.True(RequestTarget.TrySplit(url, out var path, out var query), url);
        return NativeScheme.Instance.Verify(ring, path, query, client is null ? null : System.Net.IPAddress.Parse(client), now, out _);
    }
}
