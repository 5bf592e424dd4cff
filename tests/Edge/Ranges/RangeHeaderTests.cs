using Delivery.Edge.Ranges;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Tests.Ranges;

public sealed class RangeHeaderTests
{
    [Theory]
    [InlineData("bytes=0-0", 1000, 0, 1)]
    [InlineData("bytes=0-65535", 1000, 0, 1000)]
    [InlineData("bytes=0-999", 1000, 0, 1000)]
    [InlineData("bytes=999-", 1000, 999, 1000)]
    [InlineData("BYTES=5-9", 1000, 5, 10)]
    [InlineData("bytes=-1", 1000, 999, 1000)]
    [InlineData("bytes=-5000", 1000, 0, 1000)]
    [InlineData("bytes=-99999999999999999999", 1000, 0, 1000)]
    [InlineData("bytes=7-99999999999999999999", 1000, 7, 1000)]
    [InlineData("bytes=007-009", 1000, 7, 10)]
    [InlineData("bytes=5-9,", 1000, 5, 10)]
    [InlineData("bytes=, ,5-9", 1000, 5, 10)]
    public void Satisfiable_IsClampedToTheObject(string field, long length, long start, long end)
    {
        Assert.Equal(RangeFit.Part, RangeHeader.Parse(field).Fit(length, out var from, out var to));
        Assert.Equal((start, end), (from, to));
    }

    [Theory]
    [InlineData("bytes=1000-", 1000)]
    [InlineData("bytes=1000-1001", 1000)]
    [InlineData("bytes=99999999999999999999-", 1000)]
    [InlineData("bytes=9223372036854775807-9223372036854775807", 1000)]
    [InlineData("bytes=-0", 1000)]
    [InlineData("bytes=0-", 0)]
    [InlineData("bytes=0-0", 0)]
    public void Unsatisfiable_IsSaid(string field, long length) =>
        Assert.Equal(RangeFit.Unsatisfiable, RangeHeader.Parse(field).Fit(length, out _, out _));

    [Theory]
    [InlineData("")]
    [InlineData("bytes")]
    [InlineData("bytes=")]
    [InlineData("bytes=-")]
    [InlineData("bytes=,")]
    [InlineData("bytes=9-5")]
    [InlineData("bytes=a-b")]
    [InlineData("bytes=0-5x")]
    [InlineData("bytes=+0-5")]
    [InlineData("bytes=0 -5")]
    [InlineData("bytes= 0-5")]
    [InlineData("bytes=0-5 ")]
    [InlineData("bytes =0-5")]
    [InlineData("bytes=--5")]
    [InlineData("bytes=0-5-9")]
    [InlineData("bytes=0x0-5")]
    [InlineData("bytes=٣-٥")]
    [InlineData("bytes=0-1,2-3")]
    [InlineData("bytes=0-1,x")]
    [InlineData("items=0-5")]
    [InlineData("seconds=1-2")]
    public void InvalidUnknownOrSeveral_IsNoOneRange(string field)
    {
        Assert.True(RangeHeader.Parse(field).IsNone);
        Assert.Equal(RangeFit.Whole, RangeHeader.Parse(field).Fit(1000, out var start, out var end));
        Assert.Equal((0, 1000), (start, end));
    }

    [Fact]
    public void SentTwice_IsIgnored() => Assert.True(RangeHeader.Parse(new StringValues(["bytes=0-1", "bytes=2-3"])).IsNone);

    [Fact]
    public void SuffixOfEmptyObject_IsTheWholeOfIt() => Assert.Equal(RangeFit.Whole, RangeHeader.Parse("bytes=-5").Fit(0, out _, out _));
}
