namespace Delivery.ObjectStore.Failover;

internal static class Replicated
{
    /// <summary>Waits until nothing that this process wrote waits for the secondary any more; false when the time is over.</summary>
    public static async Task<bool> FlushAsync(this FailoverStore store, TimeSpan timeout, CancellationToken cancellationToken)
    {
        for (var from = Environment.TickCount64; !store.Replicator.IsIdle; await Task.Delay(20, cancellationToken))
        {
            if (Environment.TickCount64 - from >= timeout.TotalMilliseconds)
                return false;
        }

        return true;
    }
}
