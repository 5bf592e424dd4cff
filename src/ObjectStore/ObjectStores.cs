using Delivery.ObjectStore.Gcs;
using Delivery.ObjectStore.S3;

namespace Delivery.ObjectStore;

/// <summary>Where a <see cref="StoreUrl"/> becomes a store.</summary>
public static class ObjectStores
{
    /// <summary>Opens the store that a URL names. A folder is checked now; a bucket is asked for at its first use, so that a node starts while a cloud is away.</summary>
    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: the folder is not usable, or there are no credentials of the kind that the URL asks for.</exception>
    public static IObjectStore Open(StoreUrl url, StoreClientOptions? options = null) => url.Scheme switch
    {
        StoreScheme.File => FileStore.Open(url.Path),
        StoreScheme.S3 => S3Store.Open(url, options ?? new()),
        _ => GcsStore.Open(url, options ?? new()),
    };
}
