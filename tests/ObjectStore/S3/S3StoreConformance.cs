using Amazon;

namespace Delivery.ObjectStore.S3;

public sealed class S3StoreConformance : RemoteStoreConformance
{
    private readonly TestBucket _bucket;

    public S3StoreConformance() : this(new())
    {
    }

    private S3StoreConformance(TestBucket bucket) : base(bucket.OpenAsync) => _bucket = bucket;

    protected override Uri Server => _bucket.Gateway.Endpoint;

    protected override IObjectStore OpenAt(Uri address, StoreClientOptions options) => ObjectStores.Open(_bucket.Url(address: address), options);

    protected override Task<IObjectStore> OpenWronglyAsync(Misuse misuse)
    {
        if (misuse == Misuse.SkewedClock)
            AWSConfigs.ManualClockCorrection = TimeSpan.FromHours(-1);
        return Task.FromResult(ObjectStores.Open(misuse switch
        {
            Misuse.WrongSecret => _bucket.Url("&profile=wrong-secret"),
            Misuse.NoPermission => _bucket.Url("&profile=stranger"),
            Misuse.MissingBucket => StoreUrl.Parse(_bucket.Gateway.Url("no-such-bucket")),
            _ => _bucket.Url(),
        }));
    }

    protected override Task<int> PendingUploadsAsync() => _bucket.PendingUploadsAsync();
}
