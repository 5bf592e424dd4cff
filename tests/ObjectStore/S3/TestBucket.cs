using Amazon;
using Amazon.S3.Model;

namespace Delivery.ObjectStore.S3;

/// <summary>A fresh bucket of the server that all tests of this process share, with credentials where the SDK's chain finds them.</summary>
internal sealed class TestBucket
{
    private static readonly Lazy<Task<RadosGateway>> Ready = new(async () =>
    {
        var gateway = await RadosGateway.SharedAsync();
        var profiles = Path.Combine(gateway.Folder, "profiles");
        await File.WriteAllTextAsync(profiles, $"""
            [stranger]
            aws_access_key_id = {RadosGateway.StrangerAccessKey}
            aws_secret_access_key = {RadosGateway.StrangerSecretKey}
            [wrong-secret]
            aws_access_key_id = {RadosGateway.AccessKey}
            aws_secret_access_key = not-the-secret
            """);
        // As AWS_SHARED_CREDENTIALS_FILE says it, which the SDK reads only once in a process.
        AWSConfigs.AWSProfilesLocation = profiles;
        Environment.SetEnvironmentVariable("AWS_ACCESS_KEY_ID", RadosGateway.AccessKey);
        Environment.SetEnvironmentVariable("AWS_SECRET_ACCESS_KEY", RadosGateway.SecretKey);
        Environment.SetEnvironmentVariable("AWS_EC2_METADATA_DISABLED", "true");
        return gateway;
    });

    private string _name = "";

    public RadosGateway Gateway { get; private set; } = null!;

    public string Name => _name;

    public async Task<(IObjectStore Store, Func<Task> Cleanup)> OpenAsync()
    {
        Gateway = await Ready.Value;
        _name = await Gateway.NewBucketAsync();
        var store = ObjectStores.Open(Url());
        return (store, () =>
        {
            AWSConfigs.ManualClockCorrection = null;
            store.Dispose();
            return RemoveAsync();
        }
        );
    }

    public StoreUrl Url(string options = "", string prefix = "", Uri? address = null) => StoreUrl.Parse(Gateway.Url(_name, prefix, options, address));

    public async Task<int> PendingUploadsAsync() => (await Gateway.Client.ListMultipartUploadsAsync(new ListMultipartUploadsRequest { BucketName = _name })).MultipartUploads?.Count ?? 0;

    /// <summary>The server's memory is this machine's, so what a test leaves goes with it.</summary>
    private async Task RemoveAsync()
    {
        for (var more = true; more;)
        {
            var page = await Gateway.Client.ListObjectsV2Async(new ListObjectsV2Request { BucketName = _name });
            if (page.S3Objects is { Count: > 0 } objects)
                await Gateway.Client.DeleteObjectsAsync(new DeleteObjectsRequest { BucketName = _name, Objects = [.. objects.Select(o => new KeyVersion { Key = o.Key })] });
            more = page.IsTruncated == true;
        }
    }
}
