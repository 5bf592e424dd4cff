namespace Delivery.ObjectStore.Gcs;

public sealed class GcsStore
{
    internal static IObjectStore Open(StoreUrl url, StoreClientOptions options) => throw new StoreException(StoreError.Misconfigured, $"{url} with {options}: the driver is on its way.");
}
