using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Catalog;

/// <summary>
/// What lists run on: a summary of every release and track in memory, built from the manifests at start, told of every write of this origin,
/// and caught up with other origins' writes by listing again. It can be thrown away at any time; the manifests are the truth.
/// </summary>
internal sealed partial class ReadModel(CatalogStore catalog, IObjectStore store, ILogger<ReadModel> logger)
{
    /// <summary>Manifests read at once while catching up.</summary>
    private const int ReadParallelism = 16;

    private readonly Lock _lock = new();
    private readonly ConcurrentDictionary<string, string> _versions = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource _built = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Immutable sorted maps: a page is cut from a snapshot without holding a lock, in the order of ids.
    private ImmutableSortedDictionary<string, ReleaseManifest> _releases = ImmutableSortedDictionary.Create<string, ReleaseManifest>(StringComparer.Ordinal);
    private ImmutableSortedDictionary<string, TrackSummary> _tracks = ImmutableSortedDictionary.Create<string, TrackSummary>(StringComparer.Ordinal);

    /// <summary>Ends when every manifest has been read once.</summary>
    public Task Built => _built.Task;

    public ImmutableSortedDictionary<string, ReleaseManifest> Releases => Volatile.Read(ref _releases);

    public ImmutableSortedDictionary<string, TrackSummary> Tracks => Volatile.Read(ref _tracks);

    public void Apply(ReleaseManifest release)
    {
        lock (_lock)
        {
            if (!_releases.TryGetValue(release.ReleaseId, out var known) || known.Revision < release.Revision)
                _releases = _releases.SetItem(release.ReleaseId, release);
        }
    }

    public void Apply(TrackManifest track)
    {
        lock (_lock)
        {
            if (!_tracks.TryGetValue(track.TrackId, out var known) || known.Revision < track.Revision)
                _tracks = _tracks.SetItem(track.TrackId, TrackSummary.Of(track));
        }
    }

    /// <summary>Reads every manifest that is new or changed since the last time. A manifest that cannot be read is logged and left out.</summary>
    /// <exception cref="StoreException">The store failed; what was read stays.</exception>
    public async Task CatchUpAsync(CancellationToken cancellationToken)
    {
        var options = new ParallelOptions { MaxDegreeOfParallelism = ReadParallelism, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(Changed(CatalogKeys.ReleasePrefix, cancellationToken), options, async (changed, token) =>
            await ReadAsync(changed, async () =>
            {
                if (await catalog.ReadReleaseAsync(changed.Id, token) is { } release)
                    Apply(release);
            }));
        await Parallel.ForEachAsync(Changed(CatalogKeys.TrackPrefix, cancellationToken), options, async (changed, token) =>
            await ReadAsync(changed, async () =>
            {
                if (await catalog.ReadTrackAsync(changed.Id, token) is { } track)
                    Apply(track);
            }));
        _built.TrySetResult();
    }

    private async IAsyncEnumerable<(string Id, ObjectEntry Info)> Changed(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var info in store.ListAsync(prefix, null, cancellationToken))
        {
            var known = _versions.TryGetValue(info.Key.Value, out var version) && version == info.Version;
            if (!known && CatalogKeys.IdOf(info.Key, prefix) is { } id)
                yield return (id, info);
        }
    }

    private async ValueTask ReadAsync((string Id, ObjectEntry Info) changed, Func<Task> read)
    {
        try
        {
            await read();
        }
        catch (CatalogCorruptException e)
        {
            LogUnreadable(logger, changed.Info.Key.Value, e.Message);
        }

        // The version that was listed, not the one that was read: a write in between is read again next time, never missed.
        _versions[changed.Info.Key.Value] = changed.Info.Version;
    }

    [LoggerMessage(2101, LogLevel.Error, "A manifest cannot be read and is missing from lists: {Key}: {Reason}")]
    private static partial void LogUnreadable(ILogger logger, string key, string reason);
}

/// <summary>What lists need of a track.</summary>
internal sealed record TrackSummary(
    string TrackId, string ReleaseId, int Revision, MasterState State, string? UploadId, TrackFailure? Failure, bool Retires, DateTimeOffset UpdatedAt)
{
    public EnqueuedJob? Enqueued { get; private init; }

    /// <summary>Bytes of the newest master; 0 when there is none.</summary>
    public long MasterBytes { get; private init; }

    /// <inheritdoc cref="TrackManifest.QueuedAt"/>
    public DateTimeOffset? QueuedAt { get; private init; }

    /// <summary>Ladder of what is published; null: nothing is.</summary>
    public string? PublishedLadder { get; private init; }

    public DateTimeOffset? PublishedAt { get; private init; }

    public BackfillFailure? BackfillFailure { get; private init; }

    /// <summary>Age of the oldest event that receivers of webhooks have not all taken; null: there is none.</summary>
    public DateTimeOffset? AnnouncesSince { get; private init; }

    public bool Plays => PublishedLadder is not null;

    public static TrackSummary Of(TrackManifest track) => new(
        track.TrackId, track.ReleaseId, track.Revision, track.State, track.Master?.UploadId, track.Failure, track.Retired is not null, track.UpdatedAt)
    {
        Enqueued = track.Enqueued,
        MasterBytes = track.Master?.Bytes ?? 0,
        QueuedAt = track.QueuedAt,
        PublishedLadder = track.Published?.Ladder,
        PublishedAt = track.Published?.PublishedAt,
        BackfillFailure = track.BackfillFailure,
        AnnouncesSince = track.Announcements is [var oldest, ..] ? oldest.At : null,
    };

    /// <inheritdoc cref="TrackManifest.Deadline"/>
    public DateTimeOffset? Deadline(DateTimeOffset? availableFrom) => Plays ? null : availableFrom;

    /// <summary>How urgent the newest master's job is now.</summary>
    public JobUrgency Urgency(DateTimeOffset? availableFrom, DateTimeOffset now) => JobUrgencies.Of(JobPriority.Release, Deadline(availableFrom), now);
}
