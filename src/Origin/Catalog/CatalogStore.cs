using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Delivery.ObjectStore;
using Delivery.Origin.Backfills;

namespace Delivery.Origin.Catalog;

/// <summary>
/// The manifests: JSON objects, each read, changed and written back on condition that nobody else wrote meanwhile. That is all that several
/// origins over one store need to agree. A manifest that may be stale is given to those alone who peek, and nothing is changed by it.
/// </summary>
internal sealed class CatalogStore(IObjectStore store)
{
    /// <summary>
    /// Tries per update. Each failed one means that another writer got through, so n parallel writers of one manifest need at most n; 64 is
    /// four origins with 16 each.
    /// </summary>
    public const int MaxAttempts = 64;

    /// <summary>Largest manifest in bytes. The largest that arises is a file manifest of four hours of 24-bit 192 kHz FLAC: about 9 MB.</summary>
    public const int MaxManifestBytes = 64 << 20;

    private static readonly TimeSpan MaxBackoff = TimeSpan.FromMilliseconds(40);

    /// <summary>Null when there is none.</summary>
    /// <exception cref="StoreException">Also <see cref="StoreError.Unavailable"/> when all that can be had may be stale.</exception>
    public Task<ReleaseManifest?> ReadReleaseAsync(string releaseId, CancellationToken cancellationToken) =>
        ReadAsync(CatalogKeys.Release(releaseId), CatalogJson.Default.ReleaseManifest, cancellationToken);

    /// <inheritdoc cref="ReadReleaseAsync"/>
    public Task<TrackManifest?> ReadTrackAsync(string trackId, CancellationToken cancellationToken) =>
        ReadAsync(CatalogKeys.Track(trackId), CatalogJson.Default.TrackManifest, cancellationToken);

    /// <summary>For answers that say that they may be stale (<see cref="Manifest.MayBeStale"/>), and for nothing that decides a change. Null when there is none.</summary>
    public async Task<ReleaseManifest?> PeekReleaseAsync(string releaseId, CancellationToken cancellationToken)
    {
        var (release, info) = await ReadVersionAsync(CatalogKeys.Release(releaseId), CatalogJson.Default.ReleaseManifest, cancellationToken);
        return info is { MayBeStale: true } ? release! with { MayBeStale = true } : release;
    }

    /// <inheritdoc cref="PeekReleaseAsync"/>
    public async Task<TrackManifest?> PeekTrackAsync(string trackId, CancellationToken cancellationToken)
    {
        var (track, info) = await ReadVersionAsync(CatalogKeys.Track(trackId), CatalogJson.Default.TrackManifest, cancellationToken);
        return info is { MayBeStale: true } ? track! with { MayBeStale = true } : track;
    }

    /// <summary>
    /// Applies <paramref name="change"/> to the manifest as it is now (null: there is none) and writes what it returns, unless that is null
    /// or the very object it was given. Returns what stands afterwards. <paramref name="change"/> may run several times.
    /// </summary>
    public Task<ReleaseManifest?> UpdateReleaseAsync(string releaseId, Func<ReleaseManifest?, ReleaseManifest?> change, CancellationToken cancellationToken) =>
        UpdateAsync(CatalogKeys.Release(releaseId), CatalogJson.Default.ReleaseManifest, change, cancellationToken);

    /// <inheritdoc cref="UpdateReleaseAsync"/>
    public Task<TrackManifest?> UpdateTrackAsync(string trackId, Func<TrackManifest?, TrackManifest?> change, CancellationToken cancellationToken) =>
        UpdateAsync(CatalogKeys.Track(trackId), CatalogJson.Default.TrackManifest, change, cancellationToken);

    /// <inheritdoc cref="UpdateReleaseAsync"/>
    public Task<FileManifest?> UpdateFileAsync(string fileId, Func<FileManifest?, FileManifest?> change, CancellationToken cancellationToken) =>
        UpdateAsync(CatalogKeys.File(fileId), CatalogJson.Default.FileManifest, change, cancellationToken);

    /// <inheritdoc cref="ReadReleaseAsync"/>
    public Task<BackfillManifest?> ReadBackfillAsync(string ladder, CancellationToken cancellationToken) =>
        ReadAsync(CatalogKeys.Backfill(ladder), CatalogJson.Default.BackfillManifest, cancellationToken);

    /// <inheritdoc cref="UpdateReleaseAsync"/>
    public Task<BackfillManifest?> UpdateBackfillAsync(string ladder, Func<BackfillManifest?, BackfillManifest?> change, CancellationToken cancellationToken) =>
        UpdateAsync(CatalogKeys.Backfill(ladder), CatalogJson.Default.BackfillManifest, change, cancellationToken);

    /// <summary>Every backfill that there was, in the order of their ladders' names.</summary>
    public async Task<IReadOnlyList<BackfillManifest>> ReadBackfillsAsync(CancellationToken cancellationToken)
    {
        var found = new List<BackfillManifest>();
        await foreach (var entry in store.ListAsync(CatalogKeys.BackfillPrefix, null, cancellationToken))
        {
            if (CatalogKeys.IdOf(entry.Key, CatalogKeys.BackfillPrefix) is { } ladder && await ReadBackfillAsync(ladder, cancellationToken) is { } backfill)
                found.Add(backfill);
        }

        return found;
    }

    /// <summary>Reads any bounded JSON object of the store; null when it is not there.</summary>
    /// <exception cref="CatalogCorruptException">It is not of this shape, or too large.</exception>
    /// <exception cref="StoreException">Also <see cref="StoreError.Unavailable"/> when all that can be had may be stale.</exception>
    public async Task<T?> ReadAsync<T>(ObjectKey key, JsonTypeInfo<T> type, CancellationToken cancellationToken)
        where T : class => (await ReadCurrentAsync(key, type, cancellationToken)).Value;

    private async Task<T?> UpdateAsync<T>(ObjectKey key, JsonTypeInfo<T> type, Func<T?, T?> change, CancellationToken cancellationToken)
        where T : class
    {
        for (var attempt = 1; ; attempt++)
        {
            var (before, version) = await ReadCurrentAsync(key, type, cancellationToken);
            var after = change(before);
            if (after is null || ReferenceEquals(after, before))
                return before;

            try
            {
                using var content = new MemoryStream(JsonSerializer.SerializeToUtf8Bytes(after, type));
                var write = new ObjectWrite
                {
                    ContentType = "application/json",
                    ExpectedLength = content.Length,
                    Precondition = version is null ? WritePrecondition.Absent : WritePrecondition.Version(version),
                };
                await store.WriteAsync(key, content, write, cancellationToken);
                return after;
            }
            catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
            {
                if (attempt == MaxAttempts)
                    throw new CatalogConflictException(key.Value);
                await Task.Delay(MaxBackoff * Random.Shared.NextDouble(), cancellationToken);
            }
        }
    }

    private async Task<(T? Value, string? Version)> ReadCurrentAsync<T>(ObjectKey key, JsonTypeInfo<T> type, CancellationToken cancellationToken)
        where T : class
    {
        var (value, info) = await ReadVersionAsync(key, type, cancellationToken);
        return info is { MayBeStale: true }
            ? throw new StoreException(StoreError.Unavailable, $"'{key}' can only be had from the secondary store, and may be stale there: nothing is decided by that.")
            : (value, info?.Version);
    }

    private async Task<(T? Value, ObjectInfo? Info)> ReadVersionAsync<T>(ObjectKey key, JsonTypeInfo<T> type, CancellationToken cancellationToken)
        where T : class
    {
        for (var isAgain = false; ; isAgain = true)
        {
            await using var read = await store.OpenReadAsync(key, null, cancellationToken);
            if (read is null)
                return (null, null);
            if (read.Length > MaxManifestBytes)
                throw new CatalogCorruptException(key.Value, $"it has {read.Length} bytes, more than {MaxManifestBytes}");
            try
            {
                var value = await JsonSerializer.DeserializeAsync(read.Content, type, cancellationToken)
                    ?? throw new CatalogCorruptException(key.Value, "it is null");
                if (value is Manifest { Format: not Manifest.CurrentFormat } manifest)
                    throw new CatalogCorruptException(key.Value, $"its format is {manifest.Format}");
                return (value, read.Info);
            }
            catch (StoreException e) when (e.CanRetry && !isAgain)
            {
                // A body that broke off is read once more, from whichever store answers then; what breaks twice has more wrong with it than a connection.
            }
            catch (JsonException e)
            {
                throw new CatalogCorruptException(key.Value, e.Message, e);
            }
        }
    }
}
