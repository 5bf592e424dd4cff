using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Backfills;

/// <summary>
/// Hands out the jobs of the running backfill, at most a window of them at a time, behind every release. One origin does so for all, by a
/// lease in the backfill's manifest; whoever takes over begins with what the catalog says. One backfill runs: two ladders would undo each other.
/// </summary>
internal sealed partial class BackfillRun(
    IJobQueue queue, CatalogStore catalog, ReadModel model, JobDispatcher dispatcher, LiveJobs live, OriginOptions options, TimeProvider time, ILogger<BackfillRun> logger) : IDisposable
{
    /// <summary>How often what is in flight is compared with the catalog in memory.</summary>
    private static readonly TimeSpan PassInterval = TimeSpan.FromMilliseconds(200);

    /// <summary>How often the manifest and the queue's depth are read: so soon an order of another origin is heard.</summary>
    private static readonly TimeSpan CheckInterval = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(60);

    /// <summary>Longest that a new runner waits for the jobs of the one before, which it does not know by name, to leave the queue.</summary>
    private static readonly TimeSpan Inheritance = TimeSpan.FromMinutes(10);

    /// <summary>How often tracks are looked for that became outstanding meanwhile.</summary>
    private static readonly TimeSpan ScanInterval = TimeSpan.FromSeconds(30);

    private readonly string _id = Guid.NewGuid().ToString("N");
    private readonly SemaphoreSlim _asked = new(0, 1);
    private readonly Dictionary<string, (string JobId, string UploadId, DateTimeOffset At)> _inFlight = new(StringComparer.Ordinal);
    private readonly Queue<string> _candidates = [];
    private BackfillManifest? _mine;
    private QueueDepth? _depth;
    private DateTimeOffset _nextCheck, _nextScan, _inheritedUntil;
    private bool _hasOrder;

    /// <summary>The running backfill as this origin last saw it, whoever hands out its jobs.</summary>
    public BackfillManifest? Running { get; private set; }

    /// <summary>There is a new order, or one less. Returns at once.</summary>
    public void Ask()
    {
        Volatile.Write(ref _hasOrder, true);
        try
        {
            _asked.Release();
        }
        catch (SemaphoreFullException)
        {
            // Asked already.
        }
    }

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await model.Built.WaitAsync(cancellationToken);
        var backoff = new Backoff(time);
        while (true)
        {
            try
            {
                await PassAsync(cancellationToken);
                backoff = new Backoff(time);
                await _asked.WaitAsync(_mine is null ? Min(options.ReadModelRefresh, ScanInterval) : PassInterval, cancellationToken);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogRetry(logger, e);
                await backoff.WaitAsync(cancellationToken);
            }
        }
    }

    public void Dispose() => _asked.Dispose();

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    private async Task PassAsync(CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        if (Interlocked.Exchange(ref _hasOrder, false) || _mine is null || now >= _nextCheck)
        {
            await CheckAsync(now, cancellationToken);
            _nextCheck = now + CheckInterval;
        }

        if (_mine is not { } backfill)
            return;
        Settle(backfill, now);
        if (_candidates.Count == 0 && (_inFlight.Count == 0 || now >= _nextScan))
            Scan(backfill, now);
        if (_candidates.Count == 0 && _inFlight.Count == 0)
            await EndAsync(backfill, BackfillState.Done, cancellationToken);
        else
            await HandOutAsync(backfill, now, cancellationToken);
    }

    /// <summary>Which backfill runs, and whether its jobs are this origin's to hand out.</summary>
    private async Task CheckAsync(DateTimeOffset now, CancellationToken cancellationToken)
    {
        var running = (await catalog.ReadBackfillsAsync(cancellationToken)).Where(b => b.State == BackfillState.Running).OrderBy(b => b.StartedAt).ToList();
        foreach (var older in running.SkipLast(1))
            await EndAsync(older, BackfillState.Cancelled, cancellationToken);
        Running = running.LastOrDefault();
        var before = _mine;
        _mine = Running is null ? null : await LeaseAsync(Running.Ladder, now, cancellationToken);
        if (before is not null && before.Ladder != _mine?.Ladder)
        {
            // Cancelled, or taken over by an origin that does not know these by name: without the cancel they would be done twice.
            foreach (var (jobId, _, _) in _inFlight.Values)
                dispatcher.Cancel(jobId);
        }

        if (before?.Ladder != _mine?.Ladder || before?.StartedAt != _mine?.StartedAt)
        {
            _inFlight.Clear();
            _candidates.Clear();
            _inheritedUntil = now + Inheritance;
        }

        _depth = _mine is null ? null : await queue.MeasureAsync(cancellationToken);
        if (_depth?.Waiting[JobUrgency.Backfill] == 0)
            _inheritedUntil = default;
    }

    private async Task<BackfillManifest?> LeaseAsync(string ladder, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var backfill = await catalog.UpdateBackfillAsync(ladder, before =>
        {
            var isFree = before is { State: BackfillState.Running } && (before.Runner is null || before.Runner.Until < now);
            var isDue = before is { State: BackfillState.Running } && before.Runner?.Id == _id && before.Runner.Until < now + (Lease / 2);
            return isFree || isDue ? before! with { Runner = new BackfillRunner(_id, now + Lease) } : before;
        }, cancellationToken);
        return backfill is { State: BackfillState.Running } && backfill.Runner?.Id == _id ? backfill : null;
    }

    private void Settle(BackfillManifest backfill, DateTimeOffset now)
    {
        var (tracks, releases) = (model.Tracks, model.Releases);
        var isIdle = _depth is { } depth && depth.Waiting.Values.Sum() + depth.Delayed == 0;
        foreach (var (trackId, (jobId, uploadId, at)) in _inFlight)
        {
            var track = tracks.GetValueOrDefault(trackId);
            var part = track is null ? BackfillPart.None : BackfillProgress.PartOf(track, backfill, releases);
            if (part == BackfillPart.Outstanding && track!.UploadId == uploadId)
            {
                // As with any job: what is neither in the queue nor in a worker's hands was lost, and is found by the next scan.
                if (isIdle && now - at > JobDispatcher.MarkGrace && !live.HeardSince(jobId, now - JobDispatcher.LifeSign))
                    _inFlight.Remove(trackId);
                continue;
            }

            _inFlight.Remove(trackId);
            if (part is not (BackfillPart.Done or BackfillPart.Failed))
                dispatcher.Cancel(jobId); // A newer master came, or the release dropped the track.
        }
    }

    private void Scan(BackfillManifest backfill, DateTimeOffset now)
    {
        var releases = model.Releases;
        foreach (var track in model.Tracks.Values)
        {
            if (BackfillProgress.PartOf(track, backfill, releases) == BackfillPart.Outstanding && !_inFlight.ContainsKey(track.TrackId))
                _candidates.Enqueue(track.TrackId);
        }

        _nextScan = now + ScanInterval;
    }

    private async Task HandOutAsync(BackfillManifest backfill, DateTimeOffset now, CancellationToken cancellationToken)
    {
        if (now < _inheritedUntil && queue.OutlivesProcess)
            return;
        while (_inFlight.Count < options.BackfillWindow && _candidates.TryPeek(out var trackId))
        {
            var track = await catalog.ReadTrackAsync(trackId, cancellationToken);
            if (track is { State: MasterState.Ready, Published: { } published } && published.Ladder != backfill.Ladder && track.BackfillJob(backfill.Ladder) is { } job)
            {
                await queue.EnqueueAsync(job, cancellationToken);
                _inFlight[trackId] = (job.JobId, track.Master!.UploadId, now);
            }

            _candidates.Dequeue();
        }
    }

    private async Task EndAsync(BackfillManifest backfill, BackfillState state, CancellationToken cancellationToken)
    {
        await catalog.UpdateBackfillAsync(
            backfill.Ladder,
            before => before is { State: BackfillState.Running } && before.StartedAt == backfill.StartedAt ? before with { State = state, EndedAt = time.GetUtcNow(), Runner = null } : before,
            cancellationToken);
        if (_mine?.Ladder == backfill.Ladder)
            (_mine, Running) = (null, null);
        LogEnded(logger, backfill.Ladder, state);
    }

    [LoggerMessage(2350, LogLevel.Warning, "The backfill cannot go on now; it will be tried again")]
    private static partial void LogRetry(ILogger logger, Exception exception);

    [LoggerMessage(2351, LogLevel.Information, "The backfill with ladder {Ladder} is {State}")]
    private static partial void LogEnded(ILogger logger, string ladder, BackfillState state);
}
