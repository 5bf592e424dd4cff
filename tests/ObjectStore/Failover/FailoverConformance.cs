using Delivery.ObjectStore.Files;

namespace Delivery.ObjectStore.Failover;

/// <summary>Two stores are one to whoever uses them. Time-outs are those of a slow machine: what is tested here is not speed.</summary>
public sealed class FailoverConformance() : ObjectStoreConformance(() =>
{
    var (first, second) = (new TempFolder(), new TempFolder());
    var options = new FailoverOptions { Sweeps = true, FirstByteTimeout = TimeSpan.FromSeconds(30), IdleTimeout = TimeSpan.FromSeconds(30) };
    var store = FailoverStore.Open(FileStore.Open(first.Path), FileStore.Open(second.Path), options, null, TimeProvider.System);
    return Task.FromResult<(IObjectStore, Func<Task>)>((store, async () =>
    {
        await store.DisposeAsync();
        first.Dispose();
        second.Dispose();
    }
    ));
})
{
    // Constant memory is the driver's doing below.
    protected override long LargeObjectBytes => 256L << 20;

    // A write here is six of a folder's: marker, object, marker's end, and a copy.
    protected override int ListedObjects => 3000;

    protected override int StressOperations => 60;
}
