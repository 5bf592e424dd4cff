namespace Delivery.ObjectStore.S3;

public sealed class S3Store
{
    internal static IObjectStore Open(StoreUrl url, StoreClientOptions options) => throw new StoreException(StoreError.Misconfigured, $"{url} with {options}: the driver is on its way.");
}
