using System.Security.Cryptography;
using Delivery.Tests;

namespace Delivery.ObjectStore.Gcs;

public sealed class GcsStoreConformance : RemoteStoreConformance
{
    private readonly Starter _starter;

    public GcsStoreConformance()
        : this(new Starter())
    {
    }

    private GcsStoreConformance(Starter starter)
        : base(starter.StartAsync) => _starter = starter;

    protected override bool ReadsTellTheDigest => false;

    protected override Uri Server => Bench.Server.Address;

    private GcsBench Bench => _starter.Bench;

    protected override IObjectStore OpenAt(Uri address, StoreClientOptions options) => Bench.Open(options, address);

    protected override Task<IObjectStore> OpenWronglyAsync(Misuse misuse)
    {
        switch (misuse)
        {
            case Misuse.WrongSecret:
                using (var other = RSA.Create(2048))
                    return Task.FromResult(Bench.Open(credentials: Bench.KeyFile(Bench.User, other)));
            case Misuse.NoPermission:
                return Task.FromResult(Bench.Open(credentials: Bench.KeyFile(Bench.Server.Tokens.CreateAccount("stranger", GcsAccount.Nothing))));
            case Misuse.MissingBucket:
                return Task.FromResult(Bench.Open(bucket: "no-such-bucket"));
            default:
                // That this machine's clock is late and that the server's is early is the same.
                Bench.Server.ClockAhead = TimeSpan.FromHours(1);
                return Task.FromResult(Bench.Open());
        }
    }

    protected override Task<int> PendingUploadsAsync() => Task.FromResult(Bench.Server.PendingUploads);

    private sealed class Starter
    {
        public GcsBench Bench { get; private set; } = null!;

        public async Task<(IObjectStore, Func<Task>)> StartAsync()
        {
            Bench = await GcsBench.StartAsync();
            return (Bench.Open(), async () => await Bench.DisposeAsync());
        }
    }
}
