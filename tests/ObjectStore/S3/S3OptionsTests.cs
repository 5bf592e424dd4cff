namespace Delivery.ObjectStore.S3;

public sealed class S3OptionsTests
{
    [Fact]
    public void Defaults_AreThoseOfAws()
    {
        var options = S3Options.Of(StoreUrl.Parse("s3://bucket/prefix?region=eu-north-1"));
        Assert.Equal((null, "eu-north-1", null), (options.Endpoint, options.Region, options.Profile));
        Assert.Equal((false, true, true, S3Options.DefaultPartSize), (options.PathStyle, options.ChecksumsWhenSupported, options.ConditionalMultipart, options.PartSize));
    }

    [Fact]
    public void Endpoint_MeansPathStyle_UnlessItIsSaid()
    {
        var options = S3Options.Of(StoreUrl.Parse("s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A7480&checksums=whenRequired&conditionalMultipart=false&partSize=5242880"));
        Assert.Equal((new Uri("http://127.0.0.1:7480"), true, false, false, 5 << 20), (options.Endpoint, options.PathStyle, options.ChecksumsWhenSupported, options.ConditionalMultipart, options.PartSize));
        Assert.False(S3Options.Of(StoreUrl.Parse("s3://bucket?endpoint=https://objects.example&pathStyle=false")).PathStyle);
    }

    [Fact]
    public void Wrong_IsSaidOfAllOptionsAtOnce()
    {
        var e = Assert.Throws<StoreException>(() => S3Options.Of(StoreUrl.Parse("s3://bucket?region=EU&endpoint=objects.example&pathStyle=yes&checksums=never&partSize=5242879&conditionalMultipart=1")));
        Assert.Equal(StoreError.Misconfigured, e.Error);
        foreach (var option in new[] { "region", "endpoint", "pathStyle", "checksums", "partSize", "conditionalMultipart" })
            Assert.Contains($"'{option}'", e.Message);
        Assert.Contains("5242880 to 1073741824", e.Message);
    }

    [Theory]
    [InlineData("partSize=1073741825")]
    [InlineData("partSize=-5242880")]
    [InlineData("partSize=8MiB")]
    [InlineData("endpoint=ftp://objects.example")]
    [InlineData("endpoint=https://key:secret@objects.example")]
    [InlineData("endpoint=https://objects.example/path")]
    public void Wrong_IsMisconfigured(string option) =>
        Assert.Equal(StoreError.Misconfigured, Assert.Throws<StoreException>(() => S3Options.Of(StoreUrl.Parse($"s3://bucket?{option}"))).Error);

    [Theory]
    [InlineData(100_000_000L, 8 << 20)]
    [InlineData(10_000L * (8 << 20), 8 << 20)]
    [InlineData(10_000L * (8 << 20) + 1, (8 << 20) + 1)]
    [InlineData(5L << 40, 549_755_814)]
    public void PartsOfAKnownLength_AreEqual_AndNoMoreThanTenThousand(long length, int expected)
    {
        Assert.Equal(expected, PartSizes.Of(1, 8 << 20, length));
        Assert.Equal(expected, PartSizes.Of(10_000, 8 << 20, length));
        Assert.InRange((length + expected - 1) / expected, 1, PartSizes.MaxParts);
    }

    [Theory]
    [InlineData(S3Options.MinPartSize)]
    [InlineData(S3Options.DefaultPartSize)]
    [InlineData(S3Options.MaxPartSize)]
    public void PartsOfAnUnknownLength_Grow_UntilTenThousandHoldFiveTebibytes(int configured)
    {
        long sum = 0;
        var last = 0;
        for (var number = 1; number <= PartSizes.MaxParts; number++)
        {
            var size = PartSizes.Of(number, configured, null);
            Assert.InRange(size, Math.Max(configured, last), Array.MaxLength);
            if (number <= 1000)
                Assert.Equal(configured, size);
            sum += last = size;
        }

        Assert.True(sum >= 5L << 40, $"{sum}");
    }
}
