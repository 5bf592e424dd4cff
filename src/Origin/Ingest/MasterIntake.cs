using Delivery.ObjectStore;
using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Ingest;

/// <summary>What became of an upload. The name is also the metric label.</summary>
internal enum UploadOutcome
{
    /// <summary>A new master; its job is on its way.</summary>
    Accepted,

    /// <summary>The bytes of the current master.</summary>
    Unchanged,

    /// <summary>Not a byte.</summary>
    Empty,

    /// <summary>Above <see cref="OriginOptions.MaxMasterBytes"/>.</summary>
    TooLarge,

    /// <summary>Not the bytes that the digest field named.</summary>
    DigestMismatch,

    /// <summary>Below <see cref="OriginOptions.MinUploadBytesPerSecond"/>.</summary>
    TooSlow,

    /// <summary>The client left or broke the message.</summary>
    ClientGone,

    /// <summary><see cref="OriginOptions.MaxUploads"/> were under way.</summary>
    Busy,

    /// <summary>No space left.</summary>
    StorageFull,

    /// <summary>Any other failure of the store.</summary>
    StoreFailed,
}

/// <summary>
/// Takes a master in an order that no crash can break:
/// <code>
/// 1 object committed   ── crash: an orphan below masters/, harmless; the client repeats
/// 2 manifest: queued   ── crash: the master is accepted; the next start finds it queued
/// 3 answer             ── crash: as above
/// 4 job enqueued
/// </code>
/// </summary>
internal sealed partial class MasterIntake(
    IObjectStore store, CatalogStore catalog, CatalogWatch watch, JobDispatcher dispatcher, OriginOptions options, TimeProvider time, ILogger<MasterIntake> logger)
{
    /// <summary>Streams the body to the store and records it. Throws what the store throws; nothing is changed then.</summary>
    public async Task<(TrackManifest Track, UploadOutcome Outcome)> TakeAsync(
        string releaseId, string trackId, MasterStream body, MasterDescription description, CancellationToken aborted)
    {
        // Version 7 ascends with time, so a listing of masters/{trackId}/ is in the order of upload.
        var uploadId = Guid.CreateVersion7(time.GetUtcNow()).ToString("N");
        var key = CatalogKeys.Master(trackId, uploadId, description.Extension);
        await store.WriteAsync(key, body, new ObjectWrite
        {
            ContentType = description.ContentType,
            Precondition = WritePrecondition.Absent,
            ExpectedLength = description.Length,
            ExpectedSha256 = description.Sha256,
        }, aborted);

        // From here on the client's leaving changes nothing: the whole master is here.
        using var timeout = new CancellationTokenSource(options.StoreTimeout, time);
        var master = new TrackMaster
        {
            UploadId = uploadId,
            Key = key.Value,
            Sha256 = body.Sha256(),
            Bytes = body.Bytes,
            Filename = description.Filename,
            Ladder = options.Ladder,
            UploadedAt = time.GetUtcNow(),
        };
        var outcome = UploadOutcome.Accepted;
        string? supersededJob = null;
        var track = (await catalog.UpdateTrackAsync(trackId, found =>
        {
            var before = found ?? TrackManifest.New(trackId, releaseId, master.UploadedAt);
            // A master that the farm found missing or changed in the store is replaced by its own bytes: the current object is worth nothing. One whose job was cancelled is asked for again.
            var isNew = before is { State: MasterState.Failed, Failure.Code: JobFailure.MasterMissing or JobFailure.MasterDigestMismatch or JobFailure.Cancelled };
            outcome = before.Master?.Sha256 == master.Sha256 && !isNew ? UploadOutcome.Unchanged : UploadOutcome.Accepted;
            supersededJob = outcome == UploadOutcome.Accepted && before is { State: MasterState.Queued, Master: { } older } ? JobIds.Of(trackId, older.UploadId) : null;
            return outcome == UploadOutcome.Unchanged
                ? before
                : before.Next(time.GetUtcNow()) with { State = MasterState.Queued, Master = master, Failure = null, QueuedAt = time.GetUtcNow(), Enqueued = null, BackfillFailure = null };
        }, timeout.Token))!;
        watch.Saw(track);
        if (outcome == UploadOutcome.Accepted)
        {
            LogAccepted(logger, trackId, releaseId, master.Bytes, master.Sha256);
            dispatcher.Offer(trackId);
            if (supersededJob is not null)
                dispatcher.Cancel(supersededJob);
        }
        else
        {
            await DeleteDuplicateAsync(key, timeout.Token);
        }

        return (track, outcome);
    }

    // Only when the manifest surely does not name the object. After a failed update it might, with the answer lost: then an orphan is the lesser evil.
    private async Task DeleteDuplicateAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        try
        {
            await store.DeleteAsync(key, cancellationToken);
        }
        catch (Exception e) when (e is StoreException or OperationCanceledException)
        {
            LogDuplicateStays(logger, key.Value, e.Message);
        }
    }

    [LoggerMessage(2201, LogLevel.Information, "Master of {TrackId} ({ReleaseId}) accepted: {Bytes} bytes, SHA-256 {Sha256}")]
    private static partial void LogAccepted(ILogger logger, string trackId, string releaseId, long bytes, string sha256);

    [LoggerMessage(2202, LogLevel.Warning, "The second copy {Key} of a master stays in the store: {Reason}")]
    private static partial void LogDuplicateStays(ILogger logger, string key, string reason);
}

/// <summary>What a request says of the master that it carries.</summary>
internal sealed record MasterDescription(string Extension, string ContentType, string? Filename, long? Length, string? Sha256);
