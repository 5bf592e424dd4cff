using Delivery.Origin.Ingest;
using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Tests.Ingest;

public class CodesTests
{
    [Theory]
    [InlineData("036000291452", true)] // The example of the UPC's own Wikipedia page.
    [InlineData("036000291453", false)]
    [InlineData("4006381333931", true)]
    [InlineData("4006381333932", false)]
    [InlineData("03600029145", false)]
    [InlineData("04006381333931", false)]
    [InlineData("03600029145A", false)]
    [InlineData("", false)]
    public void Gtin_HasTheRightCheckDigit(string text, bool valid) => Assert.Equal(valid, Gtin.IsValid(text));

    [Theory]
    [InlineData("SEXX12600001", "SEXX12600001")]
    [InlineData("se-xx1-26-00001", "SEXX12600001")]
    [InlineData("SEXX1260000", null)]
    [InlineData("S1XX12600001", null)]
    [InlineData("SEXX1260000A", null)]
    [InlineData("SEXX12600001\n", null)]
    [InlineData("", null)]
    public void Isrc_IsCompactAndUpperCase_OrRefused(string text, string? expected) => Assert.Equal(expected, Isrc.Normalize(text));

    [Theory]
    [InlineData("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", true)]
    [InlineData("sha-512=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", true)]
    [InlineData("sha-512=:AAAA:", false)]
    [InlineData("sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", false)]
    [InlineData("sha-256=:AAAA:", false)]
    [InlineData("sha-256=:!!DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", false)]
    [InlineData("sha-256", false)]
    [InlineData("", false)]
    public void DigestField_IsReadOrNamedAsFaulty(string value, bool readable)
    {
        var digest = DigestField.Read(new HeaderDictionary { ["Repr-Digest"] = value }, out var faulty);
        Assert.Equal(readable ? "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" : null, digest);
        Assert.Equal(readable ? null : "Repr-Digest", faulty);
    }

    [Fact]
    public void DigestFields_ThatDiffer_AreFaulty()
    {
        var headers = new HeaderDictionary
        {
            ["Repr-Digest"] = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            ["Content-Digest"] = "sha-256=:17DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        };
        Assert.Null(DigestField.Read(headers, out var faulty));
        Assert.Equal("Content-Digest", faulty);
        Assert.Null(DigestField.Read(new HeaderDictionary(), out faulty));
        Assert.Null(faulty);
    }
}
