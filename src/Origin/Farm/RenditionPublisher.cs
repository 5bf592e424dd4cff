using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Origin.Backfills;
using Delivery.Origin.Catalog;
using Delivery.Origin.Webhooks;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// Turns a job's end into manifests. Repeating it changes nothing, and a crash between any two steps is made good by the job's next
/// report or by <see cref="RetireAsync"/> at the next start:
/// <code>
/// 1 read the farm's result
/// 2 file manifests name the track
/// 3 track manifest: ready, new renditions; the old ones' file ids in "retired"   ◀── this is the publication
/// 4 the old files' manifests no longer name the track
/// 5 track manifest: nothing retired
/// </code>
/// </summary>
internal sealed partial class RenditionPublisher(
    CatalogStore catalog, CatalogWatch watch, JobDispatcher dispatcher, WebhookOutbox webhooks, LiveJobs live, QualityThresholds quality, OriginMetrics metrics, TimeProvider time,
    ILogger<RenditionPublisher> logger)
{
    /// <summary>File manifests written at once for one track.</summary>
    private const int Parallelism = 4;

    /// <summary>Settles the job of a final report.</summary>
    public async Task SettleAsync(JobReport report, CancellationToken cancellationToken)
    {
        if (!CatalogKeys.IsId(report.TrackId))
        {
            LogStray(logger, report.JobId);
            return;
        }

        if (report.Phase == JobPhase.Failed)
            await EndAsync(report, report.Failure ?? JobFailure.Internal, report.Message ?? "The worker gave no reason.", cancellationToken);
        else
            await PublishAsync(report, cancellationToken);
        live.Remove(report.JobId);
    }

    /// <summary>Steps 4 and 5.</summary>
    public async Task RetireAsync(string trackId, CancellationToken cancellationToken)
    {
        if (await catalog.ReadTrackAsync(trackId, cancellationToken) is not { Retired: { } retired })
            return;
        await ForgetUseAsync(trackId, retired, cancellationToken);
        var track = await catalog.UpdateTrackAsync(trackId, before =>
            before?.Retired is null || !before.Retired.SequenceEqual(retired) ? before : before.Next(time.GetUtcNow()) with { Retired = null }, cancellationToken);
        watch.Saw(track!);
    }

    private async Task PublishAsync(JobReport report, CancellationToken cancellationToken)
    {
        // 1
        RenditionSet? set;
        try
        {
            // Manifests and masters lie in the same store, so a worker's word must not name any object it likes.
            set = report.ResultKey is { } text && text.StartsWith(CatalogKeys.ResultPrefix, StringComparison.Ordinal) && ObjectKey.TryParse(text, out var key)
                ? await catalog.ReadAsync(key, ResultJson.Default.RenditionSet, cancellationToken)
                : null;
        }
        catch (CatalogCorruptException e)
        {
            await EndAsync(report, JobFailure.Internal, $"The farm's result cannot be read: {e.Message}", cancellationToken);
            return;
        }

        if (set is not { Format: RenditionSet.CurrentFormat, Renditions.Count: > 0, Report.Channels.Count: > 0, Waveform.Sha256.Length: 64 } || !set.Renditions.All(r => CatalogKeys.IsId(r.FileId) && r.SampleRate > 0))
        {
            await EndAsync(report, JobFailure.Internal, $"The farm's result '{report.ResultKey}' is not in the store, or not as format {RenditionSet.CurrentFormat} has it.", cancellationToken);
            return;
        }

        if (await catalog.ReadTrackAsync(report.TrackId, cancellationToken) is not { } track || !IsWanted(track, set, report) || !await IsStillAskedForAsync(report, cancellationToken))
        {
            Supersede(report);
            return;
        }

        // 2
        var published = Published(set, report.ResultKey!);
        var files = set.Renditions.DistinctBy(r => r.FileId).ToList();
        if (!IsThere(track, report))
        {
            await Parallel.ForEachAsync(files, Options(cancellationToken), async (file, token) =>
                await catalog.UpdateFileAsync(file.FileId, before => AddUse(before, file, track.TrackId), token));

            // 3
            var superseded = false;
            track = (await catalog.UpdateTrackAsync(track.TrackId, before =>
            {
                superseded = before is null || !IsWanted(before, set, report);
                if (before is null || superseded || IsThere(before, report))
                    return before;
                var retired = (before.Published?.Renditions ?? []).Select(r => r.FileId).Concat(before.Retired ?? [])
                    .Except(files.Select(f => f.FileId)).ToList();
                var ready = before.Next(time.GetUtcNow()) with { State = MasterState.Ready, Failure = null, QueuedAt = null, Enqueued = null, BackfillFailure = null, Published = published, Retired = retired.Count > 0 ? retired : null };
                // A backfill changes nothing that a receiver waits for, a hundred million times.
                return JobIds.BackfillLadder(report.JobId) is null ? webhooks.Announce(ready) : ready;
            }, cancellationToken))!;
            Tell(track);
            if (superseded)
            {
                // A newer master or an operator's cancel came between 2 and 3. What 2 wrote is taken back, unless the renditions that play are among it.
                var playing = track.Published?.Renditions.Select(r => r.FileId) ?? [];
                await ForgetUseAsync(track.TrackId, files.Select(f => f.FileId).Except(playing), cancellationToken);
                Supersede(report);
                return;
            }

            Count(report, "published");
            LogPublished(logger, track.TrackId, report.JobId, files.Count);
        }
        else
        {
            // An earlier try wrote it and lost the store's answer, or another origin did and died.
            Tell(track);
        }

        // 4, 5
        await RetireAsync(track.TrackId, cancellationToken);
    }

    private Task EndAsync(JobReport report, JobFailure failure, string message, CancellationToken cancellationToken) =>
        JobIds.BackfillLadder(report.JobId) is { } ladder ? FailBackfillAsync(report, ladder, failure, message, cancellationToken) : FailAsync(report, failure, message, cancellationToken);

    /// <summary>The track plays on as it is; that it could not be made anew stands beside.</summary>
    private async Task FailBackfillAsync(JobReport report, string ladder, JobFailure failure, string message, CancellationToken cancellationToken)
    {
        var changed = false;
        var track = await catalog.UpdateTrackAsync(report.TrackId, before =>
        {
            changed = failure != JobFailure.Cancelled && before is { State: MasterState.Ready } && IsBackfillOf(before, report) && before.Published?.Ladder != ladder;
            return changed ? before!.Next(time.GetUtcNow()) with { BackfillFailure = new BackfillFailure(ladder, failure, message, time.GetUtcNow()) } : before;
        }, cancellationToken);
        Count(report, OriginMetrics.Word(failure));
        if (!changed)
            return;
        watch.Saw(track!);
        LogBackfillFailed(logger, report.TrackId, ladder, failure, message);
    }

    private async Task FailAsync(JobReport report, JobFailure failure, string message, CancellationToken cancellationToken)
    {
        var (changed, wanted) = (false, false);
        var track = await catalog.UpdateTrackAsync(report.TrackId, before =>
        {
            // A report of an earlier master, or a late one of a job that succeeded since, says nothing of the master that counts.
            var isCurrent = before is { State: MasterState.Queued, Master: { } master } && JobIds.Of(before.TrackId, master.UploadId) == report.JobId;
            // The origin cancels in the manifest first, so a queued track was retried since: its job is wanted, and its worker has just dropped it.
            wanted = isCurrent && failure == JobFailure.Cancelled;
            changed = isCurrent && !wanted;
            return changed
                ? webhooks.Announce(before!.Next(time.GetUtcNow()) with { State = MasterState.Failed, QueuedAt = null, Enqueued = null, Failure = new TrackFailure(failure, message, report.At) })
                : before;
        }, cancellationToken);
        if (wanted)
        {
            dispatcher.Offer(report.TrackId);
            return;
        }

        if (!changed)
        {
            // An earlier try may have written it and lost the store's answer, or another origin did and died.
            if (track is { State: MasterState.Failed, Master: { } master } && JobIds.Of(track.TrackId, master.UploadId) == report.JobId)
                Tell(track);
            LogStray(logger, report.JobId);
            return;
        }

        Tell(track!);
        Count(report, OriginMetrics.Word(failure));
        LogFailed(logger, report.TrackId, report.JobId, failure, message);
    }

    /// <summary>This origin's lists, and the receivers of webhooks.</summary>
    private void Tell(TrackManifest track)
    {
        watch.Saw(track);
        webhooks.Send(track);
    }

    /// <summary>Made from the newest master, and no operator has cancelled it; of a backfill, also with its ladder, and of a master that plays.</summary>
    private static bool IsWanted(TrackManifest track, RenditionSet set, JobReport report) =>
        track.Master?.Sha256 == set.MasterSha256
        && (JobIds.BackfillLadder(report.JobId) is { } ladder
            ? track.State == MasterState.Ready && IsBackfillOf(track, report) && set.Ladder == ladder
            : track is not { State: MasterState.Failed, Failure.Code: JobFailure.Cancelled });

    private static bool IsBackfillOf(TrackManifest track, JobReport report) =>
        track.Master is { } master && JobIds.OfBackfill(track.TrackId, master.UploadId, JobIds.BackfillLadder(report.JobId)!) == report.JobId;

    /// <summary>Published already. A track's own job has nothing to add to a ready one: its ladder may have been replaced by a backfill since.</summary>
    private static bool IsThere(TrackManifest track, JobReport report) =>
        track.State == MasterState.Ready && (JobIds.BackfillLadder(report.JobId) is not { } ladder || track.Published?.Ladder == ladder);

    /// <summary>A backfill that was cancelled wants no more results; it may have been cancelled because of them.</summary>
    private async Task<bool> IsStillAskedForAsync(JobReport report, CancellationToken cancellationToken) =>
        JobIds.BackfillLadder(report.JobId) is not { } ladder
        || (CatalogKeys.IsId(ladder) && await catalog.ReadBackfillAsync(ladder, cancellationToken) is { State: BackfillState.Running });

    private void Count(JobReport report, string outcome)
    {
        if (JobIds.BackfillLadder(report.JobId) is null)
            metrics.CountJob(outcome);
        else
            metrics.CountBackfill(outcome);
    }

    private void Supersede(JobReport report)
    {
        Count(report, "superseded");
        LogSuperseded(logger, report.TrackId, report.JobId);
    }

    private Task ForgetUseAsync(string trackId, IEnumerable<string> fileIds, CancellationToken cancellationToken) =>
        Parallel.ForEachAsync(fileIds, Options(cancellationToken), async (fileId, token) =>
            await catalog.UpdateFileAsync(fileId, before =>
                before is null || !before.Tracks.Contains(trackId) ? before : before with { Tracks = [.. before.Tracks.Where(t => t != trackId)] }, token));

    private static FileManifest AddUse(FileManifest? before, Rendition file, string trackId)
    {
        if (before is null)
        {
            return new FileManifest
            {
                FileId = file.FileId,
                Key = file.Key,
                ContentType = file.ContentType,
                Bytes = file.Bytes,
                Sha256 = file.Sha256,
                ChunkBytes = file.ChunkBytes,
                ChunkSha256 = file.ChunkSha256,
                TimeMap = file.TimeMap,
                Tracks = [trackId],
            };
        }

        return before.Tracks.Contains(trackId)
            ? before
            : before with { Tracks = [.. before.Tracks.Append(trackId).Order(StringComparer.Ordinal)] };
    }

    private PublishedRenditions Published(RenditionSet set, string resultKey) => new()
    {
        MasterSha256 = set.MasterSha256,
        Ladder = set.Ladder,
        Encoder = set.Encoder,
        ResultKey = resultKey,
        PublishedAt = time.GetUtcNow(),
        Master = set.Master,
        Loudness = set.Loudness,
        Report = set.Report,
        Waveform = set.Waveform,
        Warnings = QualityJudge.Judge(set, quality),
        Renditions = [.. set.Renditions.Select(r => new PublishedRendition
        {
            Quality = r.Quality,
            Codec = r.Codec,
            CodecString = r.CodecString,
            FileId = r.FileId,
            Extension = r.Extension,
            ContentType = r.ContentType,
            Bytes = r.Bytes,
            Bitrate = r.Bitrate,
            SampleRate = r.SampleRate,
            Channels = r.Channels,
            BitsPerSample = r.BitsPerSample,
            Gapless = r.Gapless,
            FirstSoundBytes = r.FirstSoundBytes,
            Sha256 = r.Sha256,
        })],
    };

    private static ParallelOptions Options(CancellationToken cancellationToken) =>
        new() { MaxDegreeOfParallelism = Parallelism, CancellationToken = cancellationToken };

    [LoggerMessage(2311, LogLevel.Information, "Track {TrackId} is ready: job {JobId} made {Files} files")]
    private static partial void LogPublished(ILogger logger, string trackId, string jobId, int files);

    [LoggerMessage(2312, LogLevel.Warning, "Track {TrackId} failed: job {JobId}: {Failure}: {Reason}")]
    private static partial void LogFailed(ILogger logger, string trackId, string jobId, JobFailure failure, string reason);

    [LoggerMessage(2313, LogLevel.Information, "The result of job {JobId} is not published: track {TrackId} has a newer master, or the job was cancelled")]
    private static partial void LogSuperseded(ILogger logger, string trackId, string jobId);

    [LoggerMessage(2352, LogLevel.Warning, "Track {TrackId} plays on as it is: it cannot be made with ladder {Ladder}: {Failure}: {Reason}")]
    private static partial void LogBackfillFailed(ILogger logger, string trackId, string ladder, JobFailure failure, string reason);

    [LoggerMessage(2314, LogLevel.Information, "A report of job {JobId} changes nothing: the track is unknown, ready, failed already, or has a newer master")]
    private static partial void LogStray(ILogger logger, string jobId);
}
