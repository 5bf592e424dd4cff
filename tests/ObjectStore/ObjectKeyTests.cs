using System.Text;

namespace Delivery.ObjectStore;

public sealed class ObjectKeyTests
{
    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a//b")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("../a")]
    [InlineData("a/../b")]
    [InlineData("a/./b")]
    [InlineData("a/..")]
    [InlineData("a\\b")]
    [InlineData("a\0b")]
    [InlineData("a\nb")]
    [InlineData("a\u007fb")]
    [InlineData("a\u0085b")]
    [InlineData("a\ufffdb")]
    public void TextThatIsNoKey_IsRefused(string text)
    {
        Assert.False(ObjectKey.TryParse(text, out _));
        Assert.Throws<FormatException>(() => ObjectKey.Parse(text));
    }

    [Fact]
    public void LoneSurrogate_IsRefused()
    {
        Assert.False(ObjectKey.TryParse("a\ud83c", out _));
        Assert.False(ObjectKey.TryParse("\udfb5b", out _));
    }

    [Fact]
    public void Bounds_AreInUtf8Bytes()
    {
        Assert.True(ObjectKey.TryParse(new string('a', 255), out _));
        Assert.False(ObjectKey.TryParse(new string('a', 256), out _));
        Assert.True(ObjectKey.TryParse(string.Concat(Enumerable.Repeat("é", 127)), out _));
        Assert.False(ObjectKey.TryParse(string.Concat(Enumerable.Repeat("é", 128)), out _));
        Assert.True(ObjectKey.TryParse(string.Join('/', Enumerable.Repeat(new string('a', 204), 5)), out var longest));
        Assert.Equal(1024, longest.Value.Length);
        Assert.False(ObjectKey.TryParse(longest.Value + "a", out _));
    }

    [Fact]
    public void CompareUtf8_IsTheOrderOfTheBytes()
    {
        string[] atoms = ["a", "b", "-", "/", "0", "é", "\ud7ff", "\ue000", "\uffee", "😀", "😁", "𐀀", "\U0010ffff"];
        var random = new Random(5);
        for (var i = 0; i < 20_000; i++)
        {
            var (left, right) = (Text(), Text());
            var expected = Math.Sign(Encoding.UTF8.GetBytes(left).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(right)));
            Assert.Equal(expected, Math.Sign(ObjectKey.CompareUtf8(left, right)));
        }

        string Text() => string.Concat(random.GetItems(atoms, random.Next(5)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("audio/ogg\r\nx: y")]
    [InlineData("audio/ögg")]
    public void ContentTypeThatCannotBeAHeader_IsAProgrammingError(string contentType) =>
        Assert.Throws<ArgumentException>(() => new ObjectWrite { ContentType = contentType });

    [Theory]
    [InlineData("")]
    [InlineData("ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789")]
    [InlineData("g123456789012345678901234567890123456789012345678901234567890123")]
    public void DigestThatIsNone_IsAProgrammingError(string digest) =>
        Assert.Throws<ArgumentException>(() => new ObjectWrite { ContentType = "audio/ogg", ExpectedSha256 = digest });
}
