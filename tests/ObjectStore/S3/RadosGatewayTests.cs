using Amazon.S3.Model;

namespace Delivery.ObjectStore.S3;

/// <summary>What tests rely on when they kill their server.</summary>
public sealed class RadosGatewayTests
{
    [Fact]
    public async Task KilledGateway_ComesBackWithItsData_AndLeavesNothing()
    {
        var token = TestContext.Current.CancellationToken;
        var gateway = await RadosGateway.SharedAsync();
        var bucket = await gateway.NewBucketAsync();
        await gateway.Client.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = "k", ContentBody = "kept" }, token);
        for (var i = 0; i < 2; i++)
        {
            gateway.KillGateway();
            await Assert.ThrowsAsync<HttpRequestException>(() => new HttpClient().GetAsync(gateway.Endpoint, token));
            await gateway.RestartGatewayAsync();
            using var got = await gateway.Client.GetObjectAsync(bucket, "k", token);
            Assert.Equal("kept", await new StreamReader(got.ResponseStream).ReadToEndAsync(token));
        }
    }
}
