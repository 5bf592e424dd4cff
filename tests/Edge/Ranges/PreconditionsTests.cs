using Delivery.Edge.Ranges;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Tests.Ranges;

public sealed class PreconditionsTests
{
    private const string ETag = "\"abc\"";

    [Theory]
    [InlineData(null, null, null, "Proceed")]
    [InlineData("\"abc\"", null, null, "Proceed")]
    [InlineData("*", null, null, "Proceed")]
    [InlineData("\"x\", \"abc\"", null, null, "Proceed")]
    [InlineData("\"a,b\",\"abc\"", null, null, "Proceed")]
    [InlineData("W/\"abc\"", null, null, "Failed")]
    [InlineData("\"x\"", null, null, "Failed")]
    [InlineData("abc", null, null, "Failed")]
    [InlineData("\"abc", null, null, "Failed")]
    [InlineData(null, "\"abc\"", null, "NotModified")]
    [InlineData(null, "W/\"abc\"", null, "NotModified")]
    [InlineData(null, "*", null, "NotModified")]
    [InlineData(null, " ,\"x\" , W/\"abc\"", null, "NotModified")]
    [InlineData(null, "\"x\"", null, "Proceed")]
    [InlineData(null, "\"ab\"", null, "Proceed")]
    [InlineData(null, null, "\"abc\"", "Proceed")]
    [InlineData(null, null, "W/\"abc\"", "ProceedWhole")]
    [InlineData(null, null, "\"x\"", "ProceedWhole")]
    [InlineData(null, null, "Sat, 21 Nov 2026 12:00:00 GMT", "ProceedWhole")]
    // §13.2.2: If-Match is judged first, then If-None-Match, then If-Range.
    [InlineData("\"x\"", "\"abc\"", null, "Failed")]
    [InlineData("\"abc\"", "\"abc\"", "\"x\"", "NotModified")]
    [InlineData("\"abc\"", "\"x\"", "\"x\"", "ProceedWhole")]
    public void Fields_AreJudgedInOrder(string? ifMatch, string? ifNoneMatch, string? ifRange, string expected)
    {
        IHeaderDictionary headers = new HeaderDictionary();
        if (ifMatch is not null)
            headers.IfMatch = ifMatch;
        if (ifNoneMatch is not null)
            headers.IfNoneMatch = ifNoneMatch;
        if (ifRange is not null)
            headers.IfRange = ifRange;
        Assert.Equal(expected, Preconditions.Evaluate(headers, ETag).ToString());
    }
}
