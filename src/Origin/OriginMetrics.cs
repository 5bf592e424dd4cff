using System.Diagnostics.Metrics;
using System.Text.Json;
using Delivery.Origin.Ingest;
using Delivery.Origin.Playback;

namespace Delivery.Origin;

/// <summary>Instruments of the meter <c>Delivery.Origin</c>. Labels are the enums' camelCase names, so their number is bounded.</summary>
internal sealed class OriginMetrics : IDisposable
{
    public const string MeterName = "Delivery.Origin";

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _playbacks;
    private readonly Histogram<double> _playbackSeconds;
    private readonly Counter<long> _uploads;
    private readonly Counter<long> _uploadBytes;
    private readonly Counter<long> _jobs;
    private readonly Counter<long> _backfills;
    private readonly Counter<long> _webhooks;
    private readonly Counter<long> _releases;
    private readonly Counter<long> _stale;

    public OriginMetrics()
    {
        _playbacks = _meter.CreateCounter<long>("delivery.origin.playback.requests", description: "Playback requests by outcome: granted, a refusal, or invalid.");
        _playbackSeconds = _meter.CreateHistogram("delivery.origin.playback.duration", "s", "Time to answer a playback request.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1, 5] });
        _uploads = _meter.CreateCounter<long>("delivery.origin.uploads", description: "Uploads of masters by outcome.");
        _uploadBytes = _meter.CreateCounter<long>("delivery.origin.upload.size", "By", "Bytes of masters received, by outcome.");
        _jobs = _meter.CreateCounter<long>("delivery.origin.jobs.settled", description: "Jobs settled by outcome: published, superseded, or the farm's failure code.");
        _backfills = _meter.CreateCounter<long>("delivery.origin.backfill.jobs.settled", description: "Jobs of backfills settled by outcome: published, superseded, or the farm's failure code.");
        _webhooks = _meter.CreateCounter<long>("delivery.origin.webhooks.sent", description: "Tries to deliver events, by outcome: delivered, refused; and gaveUp, once per event and receiver.");
        _releases = _meter.CreateCounter<long>("delivery.origin.release.puts", description: "Release documents accepted, by outcome: created, changed, unchanged.");
        _stale = _meter.CreateCounter<long>("delivery.origin.stale_answers", description: "Answers that say Delivery-Stale, by call: playback, release, track, job.");
    }

    public void CountPlayback(string outcome, TimeSpan took)
    {
        _playbacks.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
        _playbackSeconds.Record(took.TotalSeconds);
    }

    public void CountPlayback(PlaybackRefusal refusal, TimeSpan took) => CountPlayback(Word(refusal), took);

    public void CountUpload(UploadOutcome outcome, long bytes)
    {
        var label = new KeyValuePair<string, object?>("outcome", Word(outcome));
        _uploads.Add(1, label);
        _uploadBytes.Add(bytes, label);
    }

    public void CountJob(string outcome) => _jobs.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    public void CountBackfill(string outcome) => _backfills.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    public void CountWebhook(string outcome) => _webhooks.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    /// <summary>Once: events that wait for a receiver.</summary>
    public void WatchWebhooks(Func<int> pending) => _meter.CreateObservableGauge("delivery.origin.webhooks.pending", pending, description: "Events that this origin has yet to deliver to some receiver.");

    /// <summary>Once per name: a gauge that asks when it is read.</summary>
    public void Watch(string name, string? unit, string description, Func<IEnumerable<Measurement<double>>> values) => _meter.CreateObservableGauge(name, values, unit, description);

    public void CountRelease(string outcome) => _releases.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    public void CountStale(string call) => _stale.Add(1, new KeyValuePair<string, object?>("call", call));

    public static string Word<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());

    public void Dispose() => _meter.Dispose();
}
