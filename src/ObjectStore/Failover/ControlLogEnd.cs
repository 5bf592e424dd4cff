namespace Delivery.ObjectStore.Failover;

/// <summary>Finds the last entry of the control log without listing it: entries are numbered without gaps, so a search by halves needs some forty questions for a million of them.</summary>
internal static class ControlLogEnd
{
    public static ObjectKey KeyOf(int epoch, long sequence) => ObjectKey.Parse($"{StoreKeys.ControlLogPrefix}{epoch:D4}-{sequence:D16}.json");

    /// <summary>Epoch and number of the last entry, and the number of the first one of its epoch; null when there is none.</summary>
    public static async ValueTask<(int Epoch, long Sequence, long First)?> FindAsync(IObjectStore store, CancellationToken cancellationToken)
    {
        // Epochs are few: a step for each.
        if (await FirstAfterAsync(store, StoreKeys.ControlLogPrefix, cancellationToken) is not { } first)
            return null;
        while (await FirstAfterAsync(store, KeyOf(first.Epoch, 9_999_999_999_999_999).Value, cancellationToken) is { } next)
            first = next;

        var last = first.Sequence;
        for (long step = 1; step > 0;)
        {
            if (await FirstAfterAsync(store, KeyOf(first.Epoch, last + step - 1).Value, cancellationToken) is { } found)
                (last, step) = (found.Sequence, step * 2);
            else
                step /= 2;
        }

        return (first.Epoch, last, first.Sequence);
    }

    private static async ValueTask<(int Epoch, long Sequence)?> FirstAfterAsync(IObjectStore store, string after, CancellationToken cancellationToken)
    {
        await foreach (var entry in store.ListAsync(StoreKeys.ControlLogPrefix, after, cancellationToken))
        {
            var name = entry.Key.Value.AsSpan(StoreKeys.ControlLogPrefix.Length);
            if (name.Length == 26 && name[4] == '-' && name.EndsWith(".json", StringComparison.Ordinal) && int.TryParse(name[..4], out var epoch) && long.TryParse(name[5..21], out var sequence))
                return (epoch, sequence);
        }

        return null;
    }
}
