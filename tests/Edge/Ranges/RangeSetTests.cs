using Delivery.Edge.Ranges;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Tests.Ranges;

public sealed class RangeSetTests
{
    [Theory]
    [InlineData("bytes=0-1,4-5", "0-2 4-6")]
    [InlineData("bytes=0-1, 2-3", "0-2 2-4")]
    [InlineData("bytes=0-0,-1", "0-1 999-1000")]
    [InlineData("bytes=0-9,,500-,", "0-10 500-1000")]
    [InlineData("bytes=0-9,2000-", "0-10")]
    [InlineData("bytes=2000-,3-3", "3-4")]
    [InlineData("bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-99999999999999999999", "0-1 2-3 4-5 6-7 8-9 10-11 12-13 14-1000")]
    public void FewAscendingRanges_AreSentInParts(string field, string expected)
    {
        Assert.Equal(RangeFit.Part, RangeSet.Parse(field)!.Fit(1000, out var parts));
        Assert.Equal(expected, string.Join(' ', parts.Select(p => $"{p.Start}-{p.End}")));
    }

    [Theory]
    [InlineData("bytes=0-5,5-6")]
    [InlineData("bytes=4-5,0-1")]
    [InlineData("bytes=0-,0-,0-")]
    [InlineData("bytes=-1,-1")]
    [InlineData("bytes=-10,0-1")]
    public void OverlappingOrDescending_IsTheWholeObjectOnce(string field) =>
        Assert.Equal(RangeFit.Whole, RangeSet.Parse(field)!.Fit(1000, out _));

    [Theory]
    [InlineData("bytes=1000-,2000-")]
    [InlineData("bytes=-0,-0")]
    [InlineData("bytes=99999999999999999999-,1000-1000")]
    public void NoneSatisfiable_IsSaid(string field) => Assert.Equal(RangeFit.Unsatisfiable, RangeSet.Parse(field)!.Fit(1000, out _));

    [Theory]
    [InlineData("")]
    [InlineData("bytes=0-1")]
    [InlineData("bytes=0-1,")]
    [InlineData("bytes=0-1,x")]
    [InlineData("bytes=0-1,9-5")]
    [InlineData("items=0-1,2-3")]
    [InlineData("bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16")]
    public void OneTooManyOrMalformed_IsNoSet(string field) => Assert.Null(RangeSet.Parse(field));

    [Fact]
    public void SentTwice_IsIgnored() => Assert.Null(RangeSet.Parse(new StringValues(["bytes=0-1,4-5", "bytes=7-8,9-9"])));
}
