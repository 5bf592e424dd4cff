using System.Diagnostics.Metrics;
using Delivery.Origin.Backfills;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Farm;

/// <summary>
/// What an autoscaler goes by: how much is queued, how urgent, how late. Counted over the read model at most every <see cref="Freshness"/>, whoever asks;
/// beside it what a broker says of itself. With several origins each tells of the whole catalog, so take the maximum, not the sum.
/// </summary>
internal sealed partial class FarmSignals
{
    public static readonly TimeSpan Freshness = TimeSpan.FromSeconds(10);

    private static readonly JobUrgency[] Urgencies = Enum.GetValues<JobUrgency>();

    private readonly IJobQueue _queue;
    private readonly ReadModel _model;
    private readonly LiveJobs _live;
    private readonly BackfillRun _backfill;
    private readonly TimeProvider _time;
    private readonly ILogger<FarmSignals> _logger;
    private readonly Lock _lock = new();
    private Snapshot _snapshot = new(default);
    private volatile QueueDepth? _depth;

    public FarmSignals(IJobQueue queue, ReadModel model, LiveJobs live, BackfillRun backfill, OriginMetrics metrics, TimeProvider time, ILogger<FarmSignals> logger)
    {
        (_queue, _model, _live, _backfill, _time, _logger) = (queue, model, live, backfill, time, logger);
        metrics.Watch("delivery.origin.jobs.queued", null, "Tracks that wait for the farm or are in its hands, by urgency now.", () => ByUrgency(Current().Queued));
        metrics.Watch("delivery.origin.jobs.queued.size", "By", "Bytes of their masters, by urgency now.", () => ByUrgency(Current().QueuedBytes));
        metrics.Watch("delivery.origin.jobs.in_work", null, "Jobs that a worker has reported on within the last minute.", () => One(Current().InWork));
        metrics.Watch("delivery.origin.jobs.oldest.age", "s", "How long the oldest of them has waited; 0 when there is none.", () => One(Current().OldestAge.TotalSeconds));
        metrics.Watch("delivery.origin.jobs.deadline.slack", "s", "Least time that is left until a release with a queued track comes out; negative: it is late. Absent when none has a date.",
            () => Current().Slack is { } slack ? One(slack.TotalSeconds) : []);
        metrics.Watch("delivery.origin.backfill.outstanding", null, "Tracks that the running backfill has yet to make; 0 when none runs.", () => One(Current().Outstanding));
        metrics.Watch("delivery.origin.queue.depth", null, "Jobs in the broker, as it says itself, by line: the urgencies, delayed, dead. Absent without a broker, and while it does not answer.", Depth);
    }

    /// <summary>Asks a broker for its depth now and then; there is nothing to do without one.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (!_queue.OutlivesProcess)
            return;
        using var timer = new PeriodicTimer(Freshness, _time);
        do
        {
            try
            {
                _depth = await _queue.MeasureAsync(cancellationToken);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                _depth = null;
                LogNotMeasured(_logger, e);
            }
        }
        while (await timer.WaitForNextTickAsync(cancellationToken));
    }

    private Snapshot Current()
    {
        lock (_lock)
        {
            var now = _time.GetUtcNow();
            if (now - _snapshot.At >= Freshness)
                _snapshot = Count(now);
            return _snapshot;
        }
    }

    private Snapshot Count(DateTimeOffset now)
    {
        var releases = _model.Releases;
        var snapshot = new Snapshot(now);
        var backfill = _backfill.Running;
        foreach (var track in _model.Tracks.Values)
        {
            if (backfill is not null && BackfillProgress.PartOf(track, backfill, releases) == BackfillPart.Outstanding)
                snapshot.Outstanding++;
            if (track is not { State: MasterState.Queued, UploadId: { } uploadId })
                continue;
            var availableFrom = releases.GetValueOrDefault(track.ReleaseId)?.Document.AvailableFrom;
            var urgency = (int)track.Urgency(availableFrom, now);
            snapshot.Queued[urgency]++;
            snapshot.QueuedBytes[urgency] += track.MasterBytes;
            if (_live.HeardSince(JobIds.Of(track.TrackId, uploadId), now - JobDispatcher.LifeSign))
                snapshot.InWork++;
            if (now - (track.QueuedAt ?? track.UpdatedAt) is var age && age > snapshot.OldestAge)
                snapshot.OldestAge = age;
            if (track.Deadline(availableFrom) - now is { } slack && (snapshot.Slack is null || slack < snapshot.Slack))
                snapshot.Slack = slack;
        }

        return snapshot;
    }

    private IEnumerable<Measurement<double>> Depth() => _depth is not { } depth
        ? []
        : [
            .. depth.Waiting.Select(line => Labelled(line.Value, "line", OriginMetrics.Word(line.Key))),
            Labelled(depth.Delayed, "line", "delayed"),
            Labelled(depth.Dead, "line", "dead"),
        ];

    // A track's own job is never a backfill's.
    private static IEnumerable<Measurement<double>> ByUrgency(long[] counts) =>
        Urgencies.Where(u => u != JobUrgency.Backfill).Select(u => Labelled(counts[(int)u], "urgency", OriginMetrics.Word(u)));

    private static Measurement<double> Labelled(long value, string label, string word) => new(value, new KeyValuePair<string, object?>(label, word));

    private static Measurement<double>[] One(double value) => [new(value)];

    private sealed class Snapshot(DateTimeOffset at)
    {
        public DateTimeOffset At { get; } = at;

        public long[] Queued { get; } = new long[Urgencies.Length];

        public long[] QueuedBytes { get; } = new long[Urgencies.Length];

        public int InWork { get; set; }

        public int Outstanding { get; set; }

        public TimeSpan OldestAge { get; set; }

        public TimeSpan? Slack { get; set; }
    }

    [LoggerMessage(2370, LogLevel.Warning, "The queue's depth cannot be measured; its gauges are absent until it can")]
    private static partial void LogNotMeasured(ILogger logger, Exception exception);
}
