namespace Delivery.TokenAuth.Tests;

public sealed class RequestTargetTests
{
    [Theory]
    [InlineData("/", "/", "")]
    [InlineData("/a?", "/a", "")]
    [InlineData("/audio/x.ogg?a=/../b?c", "/audio/x.ogg", "a=/../b?c")]
    [InlineData("/a%20b/%c3%A9..x/...", "/a%20b/%c3%A9..x/...", "")]
    [InlineData("/a/.b/..c/", "/a/.b/..c/", "")]
    [InlineData("/%61+!$&'()*,=:@~[]{}|^`\"<>", "/%61+!$&'()*,=:@~[]{}|^`\"<>", "")]
    [InlineData("/%F0%9F%8E%B5%c3%a9", "/%F0%9F%8E%B5%c3%a9", "")]
    public void CanonicalTarget_SplitAsSent(string target, string path, string query)
    {
        Assert.True(RequestTarget.TrySplit(target, out var actualPath, out var actualQuery));
        Assert.Equal((path, query), (actualPath.ToString(), actualQuery.ToString()));
    }

    [Theory]
    [InlineData("")]
    [InlineData("*")]
    [InlineData("a")]
    [InlineData("?a")]
    [InlineData("http://h/a")]
    [InlineData("//h/a")]
    [InlineData("/a//b")]
    [InlineData("/a//")]
    [InlineData("/.")]
    [InlineData("/..")]
    [InlineData("/./a")]
    [InlineData("/../a")]
    [InlineData("/a/.")]
    [InlineData("/a/..")]
    [InlineData("/.a/./b")]
    [InlineData("/a\\b")]
    [InlineData("/a;b")]
    [InlineData("/a#b")]
    [InlineData("/a?b#c")]
    [InlineData("/a b")]
    [InlineData("/a\0")]
    [InlineData("/a\u007f")]
    [InlineData("/a?b\n")]
    [InlineData("/a?b\u007f")]
    [InlineData("/é")]
    [InlineData("/\ud800")]
    [InlineData("/%2e%2e/a")]
    [InlineData("/a%2Eb")]
    [InlineData("/a%2fb")]
    [InlineData("/a%5Cb")]
    [InlineData("/a%3bb")]
    [InlineData("/a%3fb")]
    [InlineData("/a%23b")]
    [InlineData("/a%252fb")]
    [InlineData("/a%00")]
    [InlineData("/a%0a")]
    [InlineData("/a%7f")]
    [InlineData("/a%c2%85")]
    [InlineData("/a%c0%afb")]
    [InlineData("/a%c0%ae")]
    [InlineData("/a%ed%a0%80")]
    [InlineData("/a%c3")]
    [InlineData("/a%c3b%a9")]
    [InlineData("/a%zz")]
    [InlineData("/a%")]
    [InlineData("/a%2")]
    public void TargetWithMoreThanOneReading_Refused(string target)
    {
        Assert.False(RequestTarget.TrySplit(target, out var path, out var query));
        Assert.True(path.IsEmpty && query.IsEmpty);
    }

    [Fact]
    public void TargetBeyondTheBound_Refused()
    {
        Assert.True(RequestTarget.TrySplit("/" + new string('a', RequestTarget.MaxLength - 1), out _, out _));
        Assert.False(RequestTarget.TrySplit("/" + new string('a', RequestTarget.MaxLength), out _, out _));
    }
}
