using System.Text.Json;
using Delivery.ObjectStore;

namespace Delivery.Transcoder.Results;

/// <summary>
/// Finds what workers left behind that died between a rendition and the result manifest that was to name it, and deletes it when told so. A file is an orphan if it
/// is older than the age given and named neither by a file manifest nor by any result.
/// </summary>
/// <remarks>
/// <code>
/// 1 listings of audio/ and catalog/files/ side by side, of catalog/waveforms/ and catalog/renditions/ likewise: what has no partner is a candidate
/// 2 every result manifest is read: what it names is none
/// 3 per batch: results that are new since 1 are read again, then the batch is deleted
/// </code>
/// A worker may find an orphan of its own content and build on it between two of these steps: it looks up every file again after it has written its
/// manifest, and uploads what is missing.
/// </remarks>
public sealed class OrphanSweep(IObjectStore store, TimeProvider time)
{
    /// <summary>Orphans of one run; run it again for more.</summary>
    public const int MaxOrphans = 1_000_000;

    /// <summary>Deleted between two looks at new results.</summary>
    private const int Batch = 500;

    private const int ReadParallelism = 16;

    private const string Results = "catalog/renditions/";

    /// <summary>A store's clock may differ from ours by less than this: signed requests would fail else.</summary>
    private static readonly TimeSpan ClockTolerance = TimeSpan.FromMinutes(15);

    /// <summary>The orphans, by key. Nothing is changed.</summary>
    /// <param name="olderThan">Younger files may belong to a job under way.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="StoreException">The store failed, or a result manifest cannot be read: then nothing is known of what it names.</exception>
    public async Task<OrphanList> FindAsync(TimeSpan olderThan, CancellationToken cancellationToken)
    {
        var started = time.GetUtcNow();
        var found = new SortedDictionary<string, ObjectEntry>(StringComparer.Ordinal);
        await AddLonelyAsync("audio/", "catalog/files/", cancellationToken);
        if (found.Count > 0)
            await RemoveNamedAsync(found, DateTimeOffset.MinValue, cancellationToken);
        await AddLonelyAsync("catalog/waveforms/", Results, cancellationToken);
        return new OrphanList(started, [.. found.Values]);

        async Task AddLonelyAsync(string prefix, string partnerPrefix, CancellationToken token)
        {
            await using var partners = store.ListAsync(partnerPrefix, null, token).GetAsyncEnumerator(token);
            var more = await partners.MoveNextAsync();
            await foreach (var entry in store.ListAsync(prefix, null, token))
            {
                var stem = Stem(entry.Key, prefix);
                while (more && string.CompareOrdinal(Stem(partners.Current.Key, partnerPrefix), stem) < 0)
                    more = await partners.MoveNextAsync();
                if ((!more || Stem(partners.Current.Key, partnerPrefix) != stem) && started - entry.LastModified > olderThan && found.Count < MaxOrphans)
                    found.Add(entry.Key.Value, entry);
            }
        }
    }

    /// <summary>Deletes what is still an orphan.</summary>
    /// <param name="orphans">What <see cref="FindAsync"/> found, not long ago.</param>
    /// <param name="onDeleted">Called after each deletion.</param>
    /// <param name="cancellationToken">Ends it between two deletions.</param>
    /// <exception cref="StoreException">As <see cref="FindAsync"/>; what was deleted before stays so.</exception>
    public async Task DeleteAsync(OrphanList orphans, Action<ObjectEntry> onDeleted, CancellationToken cancellationToken)
    {
        foreach (var chunk in orphans.Orphans.Chunk(Batch))
        {
            var batch = new SortedDictionary<string, ObjectEntry>(chunk.ToDictionary(o => o.Key.Value), StringComparer.Ordinal);
            await RemoveNamedAsync(batch, orphans.FoundAt - ClockTolerance, cancellationToken);
            foreach (var orphan in batch.Values)
            {
                await store.DeleteAsync(orphan.Key, cancellationToken);
                onDeleted(orphan);
            }
        }
    }

    /// <summary>Takes out what results name that were written since.</summary>
    private async Task RemoveNamedAsync(SortedDictionary<string, ObjectEntry> candidates, DateTimeOffset since, CancellationToken cancellationToken)
    {
        var options = new ParallelOptions { MaxDegreeOfParallelism = ReadParallelism, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(store.ListAsync(Results, null, cancellationToken), options, async (result, token) =>
        {
            if (result.LastModified < since)
                return;
            var named = await ReadAsync(result.Key, token);
            lock (candidates)
            {
                foreach (var key in named)
                    candidates.Remove(key);
                candidates.Remove(ResultKeys.Waveform(result.Key).Value);
            }
        });
    }

    /// <summary>The renditions that a result names. Of any format: those of earlier versions lie in the store as long as what they name.</summary>
    private async Task<IReadOnlyList<string>> ReadAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return [];
        try
        {
            using var result = await JsonDocument.ParseAsync(read.Content, default, cancellationToken);
            return [.. result.RootElement.GetProperty("renditions").EnumerateArray().Select(r => $"audio/{Text(r, "fileId")}.{Text(r, "extension")}")];
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new StoreException(StoreError.Corrupt, $"The result {key} cannot be read, so what it names is not known: {e.Message}", e);
        }
    }

    private static string Text(JsonElement rendition, string name) => rendition.GetProperty(name).GetString() ?? throw new JsonException($"{name} is null.");

    /// <summary>The name without prefix and extension, with its dot: so both sides of a pair are in one order.</summary>
    private static string Stem(ObjectKey key, string prefix)
    {
        var name = key.Value[prefix.Length..];
        return name[..(name.LastIndexOf('.') + 1)];
    }
}

/// <param name="FoundAt">When the search began.</param>
/// <param name="Orphans">In the order of their keys.</param>
public sealed record OrphanList(DateTimeOffset FoundAt, IReadOnlyList<ObjectEntry> Orphans);
