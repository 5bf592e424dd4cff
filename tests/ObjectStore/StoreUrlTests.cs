namespace Delivery.ObjectStore;

public sealed class StoreUrlTests
{
    [Theory]
    [InlineData("s3://bucket", StoreScheme.S3, "bucket", "", "")]
    [InlineData("s3://my.bucket-1/", StoreScheme.S3, "my.bucket-1", "", "")]
    [InlineData("s3://bucket/a/b?region=eu-north-1", StoreScheme.S3, "bucket", "a/b/", "")]
    [InlineData("s3://bucket/a%20b/", StoreScheme.S3, "bucket", "a b/", "")]
    [InlineData("s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A7480&pathStyle=true", StoreScheme.S3, "bucket", "", "")]
    [InlineData("gs://under_score/p", StoreScheme.Gs, "under_score", "p/", "")]
    [InlineData("file:///var/lib/delivery/store", StoreScheme.File, "", "", "/var/lib/delivery/store")]
    [InlineData("file:///with%20space/x/", StoreScheme.File, "", "", "/with space/x")]
    [InlineData("/var/lib/store", StoreScheme.File, "", "", "/var/lib/store")]
    [InlineData("/odd?name=1", StoreScheme.File, "", "", "/odd?name=1")]
    public void Url_NamesAStore(string text, StoreScheme scheme, string bucket, string prefix, string path)
    {
        var url = StoreUrl.Parse(text);
        Assert.Equal((scheme, bucket, prefix, path), (url.Scheme, url.Bucket, url.Prefix, url.Path));
        Assert.Equal(text, url.ToString());
    }

    [Fact]
    public void PlainPath_IsTakenFromTheWorkingFolder() => Assert.Equal(Path.GetFullPath("data/store"), StoreUrl.Parse("data/store").Path);

    [Fact]
    public void Options_AreDecoded()
    {
        var url = StoreUrl.Parse("s3://bucket/p?endpoint=http%3A%2F%2Flocalhost%3A9000&region=eu&partSize=8388608");
        Assert.Equal(("http://localhost:9000", "eu", "8388608", null), (url.Option("endpoint"), url.Option("region"), url.Option("partSize"), url.Option("profile")));
        Assert.Equal("http://localhost:9000", StoreUrl.Parse("gs://bucket?endpoint=http://localhost:9000").Option("endpoint"));
    }

    [Theory]
    [InlineData("", "empty")]
    [InlineData("http://bucket/x", "'http'")]
    [InlineData("s3://", "bucket")]
    [InlineData("s3://ab", "bucket")]
    [InlineData("s3://Bucket/x", "bucket")]
    [InlineData("s3://key:secret@bucket/x", "credentials")]
    [InlineData("gs://user@bucket", "credentials")]
    [InlineData("s3://bucket/a//b", "keys")]
    [InlineData("s3://bucket/a%0Ab", "keys")]
    [InlineData("s3://bucket/x#part", "fragment")]
    [InlineData("s3://bucket?secret=x", "secret")]
    [InlineData("s3://bucket?region", "region")]
    [InlineData("s3://bucket?region=", "region")]
    [InlineData("s3://bucket?region=a&region=b", "region")]
    [InlineData("gs://bucket?region=a", "region")]
    [InlineData("file:///x?region=a", "region")]
    [InlineData("file://host/x", "slashes")]
    public void WhatNamesNoStore_IsRefusedWithItsReason(string text, string reason)
    {
        Assert.Contains(reason, Assert.Throws<FormatException>(() => StoreUrl.Parse(text)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("s3://key:hunter2@bucket/x")]
    [InlineData("s3://key:hunter2@")]
    [InlineData("s3://bucket/x?secretKey=hunter2")]
    public void RefusedUrl_DoesNotRepeatTheSecretInIt(string text)
    {
        var message = Assert.Throws<FormatException>(() => StoreUrl.Parse(text)).Message;
        Assert.DoesNotContain("hunter2", message, StringComparison.Ordinal);
    }

    [Fact]
    public void LongPrefix_IsRefused()
    {
        StoreUrl.Parse("s3://bucket/" + new string('p', StoreUrl.MaxPrefixUtf8Bytes - 1));
        Assert.Throws<FormatException>(() => StoreUrl.Parse("s3://bucket/" + new string('p', StoreUrl.MaxPrefixUtf8Bytes)));
    }
}
