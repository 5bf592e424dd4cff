using System.Threading.Channels;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// Brings queued tracks to the job queue. What it holds is only a hint: the manifests say what is queued, each is read again before its
/// job goes out, and a sweep over them finds whatever a hint was lost for, at start and when the hints overflow.
/// </summary>
/// <remarks>
/// With a queue that outlives the process, a job that it has confirmed is marked so in the track's manifest, and sweeps pass it over: a restart
/// must not double the backlog. What a mark can be wrong about, the repair finds: a release that has become more urgent than the line its job
/// waits in, and jobs that a broker lost. Too many jobs are harmless, a missing one is not.
/// </remarks>
internal sealed partial class JobDispatcher(
    IJobQueue queue, CatalogStore catalog, CatalogWatch watch, ReadModel model, LiveJobs live, TimeSpan repairInterval, TimeProvider time, ILogger<JobDispatcher> logger)
{
    /// <summary>Jobs that one repair enqueues again; the next one goes on.</summary>
    public const int MaxRepairs = 1_000;

    /// <summary>A mark younger than this says nothing of a loss: the job may be on its way to a worker.</summary>
    public static readonly TimeSpan MarkGrace = TimeSpan.FromMinutes(2);

    /// <summary>Workers report every few seconds; who says nothing for so long is not at it.</summary>
    public static readonly TimeSpan LifeSign = TimeSpan.FromMinutes(1);

    /// <summary>Track ids waiting to be enqueued; one more asks for a sweep instead.</summary>
    private const int Capacity = 10_000;

    /// <summary>Longest that a call waits until workers have been told that a job is cancelled.</summary>
    private static readonly TimeSpan CancelTimeout = TimeSpan.FromSeconds(5);

    private readonly Channel<string> _offered = Channel.CreateBounded<string>(new BoundedChannelOptions(Capacity) { SingleReader = true });
    private readonly Channel<bool> _sweeps = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly Channel<string> _cancels = Channel.CreateBounded<string>(new BoundedChannelOptions(Capacity) { SingleReader = true, FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>The track's newest master wants a job. Returns at once.</summary>
    public void Offer(string trackId)
    {
        if (!_offered.Writer.TryWrite(trackId))
            Sweep();
    }

    /// <summary>Every track that the read model knows as queued, and whose job is not known to be in the queue, wants a job.</summary>
    public void Sweep() => _sweeps.Writer.TryWrite(true);

    /// <summary>Nobody wants the job any more. Returns at once; past the bound it is forgotten, which costs a worker's time and nothing else.</summary>
    public void Cancel(string jobId) => _cancels.Writer.TryWrite(jobId);

    /// <summary>As <see cref="Cancel"/>, and returns when the queue knows it, or cannot be told now.</summary>
    public async Task CancelAsync(string jobId, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(CancelTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            await queue.CancelAsync(jobId, either.Token);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            LogNotCancelled(logger, e, jobId);
        }
    }

    public Task RunAsync(CancellationToken cancellationToken) => Task.WhenAll(
        RunOffersAsync(cancellationToken), RunSweepsAsync(cancellationToken), RunCancelsAsync(cancellationToken), queue.OutlivesProcess ? RunRepairsAsync(cancellationToken) : Task.CompletedTask);

    private async Task RunOffersAsync(CancellationToken cancellationToken)
    {
        await foreach (var trackId in _offered.Reader.ReadAllAsync(cancellationToken))
            await EnqueueAsync(trackId, cancellationToken);
    }

    private async Task RunSweepsAsync(CancellationToken cancellationToken)
    {
        await foreach (var _ in _sweeps.Reader.ReadAllAsync(cancellationToken))
        {
            var enqueued = 0;
            foreach (var track in model.Tracks.Values)
            {
                if (track.State != MasterState.Queued || (queue.OutlivesProcess && track.Enqueued is not null))
                    continue;
                await EnqueueAsync(track.TrackId, cancellationToken);
                enqueued++;
            }

            if (enqueued > 0)
                LogSwept(logger, enqueued);
        }
    }

    private async Task RunCancelsAsync(CancellationToken cancellationToken)
    {
        await foreach (var jobId in _cancels.Reader.ReadAllAsync(cancellationToken))
            await CancelAsync(jobId, cancellationToken);
    }

    private async Task RunRepairsAsync(CancellationToken cancellationToken)
    {
        await model.Built.WaitAsync(cancellationToken);
        using var timer = new PeriodicTimer(repairInterval, time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            try
            {
                await RepairAsync(cancellationToken);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogNotRepaired(logger, StackOf(e), e.Message);
            }
        }
    }

    private async Task RepairAsync(CancellationToken cancellationToken)
    {
        // Measured before the model is looked at: what is enqueued in between has a young mark.
        var depth = await queue.MeasureAsync(cancellationToken);
        var isIdle = depth.Waiting.Values.Sum() + depth.Delayed == 0;
        var now = time.GetUtcNow();
        var releases = model.Releases;
        var repaired = 0;
        foreach (var track in model.Tracks.Values)
        {
            // What a worker has in hand is neither lost nor waiting.
            if (track is not { State: MasterState.Queued, UploadId: { } uploadId } || live.HeardSince(JobIds.Of(track.TrackId, uploadId), now - LifeSign))
                continue;
            var isLost = isIdle && now - (track.Enqueued?.At ?? track.UpdatedAt) > MarkGrace;
            var isMoreUrgent = track.Enqueued is { } mark && track.Urgency(releases.GetValueOrDefault(track.ReleaseId)?.Document.AvailableFrom, now) < mark.Urgency;
            if (!isLost && !isMoreUrgent)
                continue;
            await EnqueueAsync(track.TrackId, cancellationToken);
            if (++repaired == MaxRepairs)
                break;
        }

        if (repaired > 0)
            LogRepaired(logger, repaired);
    }

    private async Task EnqueueAsync(string trackId, CancellationToken cancellationToken)
    {
        for (var backoff = new Backoff(time); ;)
        {
            try
            {
                if (await catalog.ReadTrackAsync(trackId, cancellationToken) is not { State: MasterState.Queued } track)
                    return;
                var release = await catalog.ReadReleaseAsync(track.ReleaseId, cancellationToken);
                var job = track.Job(release?.Document.AvailableFrom)!;
                var now = time.GetUtcNow();
                await queue.EnqueueAsync(job, cancellationToken);
                if (queue.OutlivesProcess)
                    await MarkAsync(trackId, track.Master!.UploadId, new EnqueuedJob(now, job.Urgency(now)), cancellationToken);
                return;
            }
            catch (CatalogCorruptException e)
            {
                LogUnreadable(logger, trackId, e.Message);
                return;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                // The queue or the store is away; both come back, and the job must not be lost.
                LogRetry(logger, StackOf(e), trackId, e.Message);
                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    /// <summary>A broker that is away is no fault of this program: its message says all.</summary>
    private static Exception? StackOf(Exception error) => error is QueueException ? null : error;

    private async Task MarkAsync(string trackId, string uploadId, EnqueuedJob mark, CancellationToken cancellationToken)
    {
        var track = await catalog.UpdateTrackAsync(
            trackId,
            before => before is { State: MasterState.Queued } && before.Master?.UploadId == uploadId ? before.Next(time.GetUtcNow()) with { Enqueued = mark } : before,
            cancellationToken);
        watch.Saw(track!);
    }

    [LoggerMessage(2301, LogLevel.Information, "{Count} queued tracks were handed to the farm again")]
    private static partial void LogSwept(ILogger logger, int count);

    [LoggerMessage(2302, LogLevel.Warning, "The job of track {TrackId} could not be enqueued; it will be tried again: {Reason}")]
    private static partial void LogRetry(ILogger logger, Exception? exception, string trackId, string reason);

    [LoggerMessage(2303, LogLevel.Error, "The job of track {TrackId} cannot be enqueued: {Reason}")]
    private static partial void LogUnreadable(ILogger logger, string trackId, string reason);

    [LoggerMessage(2340, LogLevel.Warning, "Workers could not be told that job {JobId} is cancelled; its result will not be published")]
    private static partial void LogNotCancelled(ILogger logger, Exception exception, string jobId);

    [LoggerMessage(2341, LogLevel.Information, "{Count} jobs were enqueued again: more urgent than before, or lost by the queue")]
    private static partial void LogRepaired(ILogger logger, int count);

    [LoggerMessage(2342, LogLevel.Warning, "The queue could not be compared with the catalog; it will be tried again: {Reason}")]
    private static partial void LogNotRepaired(ILogger logger, Exception? exception, string reason);
}
