namespace Delivery.TokenAuth.Tests;

public sealed class KeyRingTests
{
    [Fact]
    public void EveryProblem_IsListedAtOnce()
    {
        var e = Assert.Throws<KeyRingException>(() => Rings.Parse(
            """{"keys":{"a b":"AA==","k1":"!","k2":"","k3":"AA==","k3":"AA==","k4":7},"signing":"k9","sining":"x","signing":"k3"}"""));
        Assert.Equal(
        [
            "the key id '(3 characters)' is not at most 64 characters of A-Z a-z 0-9 . _ -",
            "the key 'k1' is not a string of base64",
            "the key 'k2' has 0 bytes, not 1 to 1024",
            "the key id 'k3' stands twice",
            "the key 'k4' is not a string of base64",
            "'sining' is not a property of a key ring",
            "'signing' stands twice",
            "'signing' names 'k9', which is not a usable key of the ring",
        ], e.Problems);
    }

    [Theory]
    [InlineData("", "not JSON")]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{}", "'keys' is missing")]
    [InlineData("""{"keys":{},"signing":""}""", "'keys' is empty")]
    [InlineData("""{"keys":[],"signing":""}""", "'keys' is not an object")]
    [InlineData("""{"keys":{"":"AA=="}}""", "'signing' is missing")]
    [InlineData("""{"keys":{"":"AA=="},"signing":1}""", "'signing' is not a string")]
    [InlineData("""{"keys":{"\ud800":"AA=="},"signing":"\ud800"}""", "key id")]
    [InlineData("""{"keys":{"":"\ud800"},"signing":""}""", "not a string of base64")]
    public void UnusableRing_SaysWhy(string json, string problem) => Assert.Contains(problem, Assert.Throws<KeyRingException>(() => Rings.Parse(json)).Message);

    [Fact]
    public void Bounds_OfKeysBytesAndIds()
    {
        var most = string.Join(',', Enumerable.Range(0, KeyRing.MaxKeys).Select(i => $"\"k{i}\":\"AA==\""));
        Assert.Equal(KeyRing.MaxKeys, Rings.Parse($$"""{"keys":{{{most}}},"signing":"k0"}""").KeyIds.Count);
        Assert.Throws<KeyRingException>(() => Rings.Parse($$"""{"keys":{{{most}},"more":"AA=="},"signing":"k0"}"""));
        Assert.Throws<KeyRingException>(() => Rings.Parse($$"""{"keys":{"":"{{Convert.ToBase64String(new byte[1025])}}"},"signing":""}"""));
        Assert.Throws<KeyRingException>(() => Rings.Parse($$"""{"keys":{"{{new string('k', 65)}}":"AA=="},"signing":"x"}"""));
        Assert.Throws<KeyRingException>(() => Rings.Parse("""{"keys":{"":"AA=="},"signing":""}""" + new string(' ', KeyRing.MaxFileBytes)));
    }

    [Fact]
    public void Keys_NeverAppearInWords()
    {
        const string Secret = "c2VjcmV0LXNlY3JldA";
        foreach (var json in new[]
        {
            $$"""{"keys":{"":"{{Secret}}"},"signing":""}""", // padding left out
            $$"""{"keys":{"{{Secret}}{{Secret}}{{Secret}}{{Secret}}":""},"signing":"{{Secret}}{{Secret}}"}""",
            $$"""{"keys":"{{Secret}}","{{Secret}}{{Secret}}":1}""",
            $$"""{"keys":{"":"{{Secret}}",""",
            $"{Secret}",
        })
        {
            Assert.DoesNotContain("c2Vjcm", Assert.Throws<KeyRingException>(() => Rings.Parse(json)).ToString());
        }

        Assert.Equal("KeyRing ['', 'k1'], signing 'k1'", Rings.Two.ToString());
    }

    [Fact]
    public void Generated_WrittenAndRead_SameRing()
    {
        var ring = KeyRing.Generate();
        Assert.Equal(("k1", "k1"), (ring.SigningKeyId, Assert.Single(ring.KeyIds)));
        var again = Rings.Parse(ring.ToJson());
        Assert.Equal(ring.ToJson(), again.ToJson());
        Assert.NotEqual(ring.ToJson(), KeyRing.Generate().ToJson());
        Assert.Equal(TokenVerdict.Valid, Rings.Verify(again, NativeScheme.Instance.Sign(ring, "/a", Rings.Grant)));
    }

    [Fact]
    public void ByteOrderMark_IsSkipped() => Assert.Equal("", Rings.Parse("\ufeff" + """{"keys":{"":"AA=="},"signing":""}""").SigningKeyId);

    [Fact]
    public void Rotation_OldUrlsHoldUntilTheirKeyGoes()
    {
        var before = KeyRing.Generate("2026-11");
        var oldUrl = NativeScheme.Instance.Sign(before, "/a", Rings.Grant);
        var both = before.WithNewKey("2026-12");
        Assert.Equal("2026-11", both.SigningKeyId);
        var rotated = both.WithSigningKey("2026-12");
        var newUrl = NativeScheme.Instance.Sign(rotated, "/a", Rings.Grant);
        Assert.Contains("kid=2026-12", newUrl);
        Assert.Equal(TokenVerdict.UnknownKey, Rings.Verify(before, newUrl));
        Assert.Equal([TokenVerdict.Valid, TokenVerdict.Valid], [Rings.Verify(rotated, oldUrl), Rings.Verify(both, newUrl)]);
        var after = rotated.WithoutKey("2026-11");
        Assert.Equal([TokenVerdict.UnknownKey, TokenVerdict.Valid], [Rings.Verify(after, oldUrl), Rings.Verify(after, newUrl)]);
    }

    [Fact]
    public void ImpossibleRotations_ArgumentException()
    {
        Assert.Throws<ArgumentException>(() => Rings.Two.WithNewKey("k1"));
        Assert.Throws<ArgumentException>(() => Rings.Two.WithNewKey("k 1"));
        Assert.Throws<ArgumentException>(() => Rings.Two.WithSigningKey("none"));
        Assert.Throws<ArgumentException>(() => Rings.Two.WithoutKey("k1"));
        Assert.Throws<ArgumentException>(() => KeyRing.Generate("/"));
    }
}
