namespace Delivery.ObjectStore;

/// <summary>What the parts may rely on of a key: docs/formats/object-keys.md.</summary>
public static class StoreKeys
{
    /// <summary>Where a store keeps its own role (docs/formats/replication.md).</summary>
    public static readonly ObjectKey Role = ObjectKey.Parse("control/store.json");

    /// <summary>What lies below is of replication itself.</summary>
    public const string ReplicationPrefix = "replication/";

    /// <summary>The control log, whose order is the numbers of its entries.</summary>
    public const string ControlLogPrefix = "control/log/";

    private static readonly string[] Immutable = ["audio/", "masters/", "catalog/renditions/", "catalog/waveforms/", "ladders/", ControlLogPrefix];

    /// <summary>
    /// Whether what is written under the key once stays so until it is deleted: then any store that has it, has the same. Of every other key the last version alone counts.
    /// </summary>
    public static bool IsImmutable(ObjectKey key)
    {
        foreach (var prefix in Immutable)
        {
            if (key.Value.StartsWith(prefix, StringComparison.Ordinal))
                return true;
        }

        return false;
    }

    /// <summary>Whether the key is one store's own: never copied to another one, never compared with it, and not to be had through <see cref="Failover.FailoverStore"/>.</summary>
    public static bool IsStoresOwn(ObjectKey key) => key == Role || key.Value.StartsWith(ReplicationPrefix, StringComparison.Ordinal);
}
