using System.Text;
using Delivery.TokenAuth;

namespace Delivery.Fuzz;

/// <summary>Input: a key ring file. It is read, or refused by <see cref="KeyRingException"/> with reasons; what is read survives being written.</summary>
public sealed class KeyRingTarget : FuzzTarget
{
    public override string Name => "key-ring";

    public override IReadOnlyList<string> Dictionary { get; } =
    [
        "{", "}", "[", "]", "\"", ":", ",", "\"keys\"", "\"signing\"", "\"\"", "\"k1\"", "\"k2\"", "null", "1", "true", "\\ud800", "\\u0000", "c2VjcmV0LTc=", "\"k1\":\"c2VjcmV0LTc=\"", "\ufeff",
    ];

    public override string Run(ReadOnlySpan<byte> input)
    {
        KeyRing ring;
        try
        {
            ring = KeyRing.Parse(input);
        }
        catch (KeyRingException e)
        {
            Require(e.Problems.Count > 0 && e.Problems.All(problem => problem.Length > 0), "refused without a reason");
            return e.Problems[0].StartsWith("it is not JSON", StringComparison.Ordinal) ? "not JSON" : "refused";
        }

        Require(ring.KeyIds.Contains(ring.SigningKeyId) && ring.KeyIds.Distinct().Count() == ring.KeyIds.Count, "inconsistent ids");
        var again = KeyRing.Parse(Encoding.UTF8.GetBytes(ring.ToJson()));
        Require(again.ToJson() == ring.ToJson(), "does not survive being written");
        var url = NativeScheme.Instance.Sign(ring, "/a", new UrlGrant { Expires = DateTimeOffset.UnixEpoch });
        Require(NativeScheme.Instance.Verify(again, "/a", url.AsSpan(3), null, 0, out _) == TokenVerdict.Valid, "the ring written and read again does not verify");
        return "read";
    }
}
