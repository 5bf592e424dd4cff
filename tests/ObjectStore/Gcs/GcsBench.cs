using System.Security.Cryptography;
using Delivery.ObjectStore.Files;
using Delivery.Tests;

namespace Delivery.ObjectStore.Gcs;

/// <summary>A server, a bucket, and stores that reach it, with the key files that they need.</summary>
internal sealed class GcsBench : IAsyncDisposable
{
    public const string Bucket = "delivery-tests";

    private readonly TempFolder _folder = new();
    private readonly List<IObjectStore> _stores = [];

    private GcsBench(GcsServer server)
    {
        Server = server;
        User = server.Tokens.CreateAccount("origin", GcsAccount.ObjectUser);
        server.CreateBucket(Bucket);
    }

    public GcsServer Server { get; }

    public GcsAccount User { get; }

    public static async Task<GcsBench> StartAsync() => new(await GcsServer.StartAsync());

    /// <summary>A key file; of the account's right key, unless another is given.</summary>
    public string KeyFile(GcsAccount account, RSA? key = null)
    {
        var path = Path.Combine(_folder.Path, $"{Guid.NewGuid():N}.json");
        File.WriteAllText(path, account.KeyFile(Server.Address, key));
        return path;
    }

    public IObjectStore Open(
        StoreClientOptions? options = null, Uri? address = null, string bucket = Bucket, string prefix = "", string? credentials = null, int? chunkSize = null)
    {
        var store = ObjectStores.Open(
            StoreUrl.Parse(
                $"gs://{bucket}/{prefix}?endpoint={Uri.EscapeDataString((address ?? Server.Address).AbsoluteUri)}&credentials={Uri.EscapeDataString(credentials ?? KeyFile(User))}"
                + (chunkSize is null ? "" : $"&chunkSize={chunkSize}")),
            options);
        _stores.Add(store);
        return store;
    }

    public async ValueTask DisposeAsync()
    {
        _stores.ForEach(s => s.Dispose());
        await Server.DisposeAsync();
        _folder.Dispose();
    }
}
