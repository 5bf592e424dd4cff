using System.Diagnostics.Metrics;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder;

/// <summary>The meter <c>Delivery.Transcoder</c>.</summary>
internal sealed class TranscoderMetrics : IDisposable
{
    public const string MeterName = "Delivery.Transcoder";

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _jobs;
    private readonly Counter<long> _retries;
    private readonly Counter<long> _storeRetries;
    private readonly Counter<double> _jobTime;
    private readonly Histogram<double> _phases;
    private readonly Counter<double> _audio;
    private readonly UpDownCounter<long> _active;
    private readonly Counter<long> _tools;
    private double _lastRealtimeFactor;

    public TranscoderMetrics(Isolation isolation, int slots)
    {
        _jobs = _meter.CreateCounter<long>("delivery.transcoder.jobs", "{job}", "Deliveries that ended, by outcome: Done, Retried, Returned (drain), or the failure's name.");
        _retries = _meter.CreateCounter<long>("delivery.transcoder.retries", "{job}", "Attempts that failed in passing and were put off, by failure.");
        _storeRetries = _meter.CreateCounter<long>("delivery.transcoder.store.retries", "{call}", "Store calls made again within an attempt.");
        _jobTime = _meter.CreateCounter<double>("delivery.transcoder.jobs.time", "s", "Time that slots spent on deliveries. Encoded audio divided by it is the realtime factor of a slot.");
        _phases = _meter.CreateHistogram<double>("delivery.transcoder.phase.duration", "s", "Time that jobs spend in each phase.");
        _audio = _meter.CreateCounter<double>("delivery.transcoder.audio.encoded", "s", "Seconds of master audio encoded (the whole ladder counts once).");
        _tools = _meter.CreateCounter<long>("delivery.transcoder.tools", "{run}", "Runs of a tool on a master, by tool and end: exited, killed, or the limit that it hit.");
        _meter.CreateObservableGauge(
            "delivery.transcoder.isolation",
            () => new Measurement<int>(1, new KeyValuePair<string, object?>("isolation", isolation.ToString())),
            description: "1, labelled by how the tools are kept from this machine: Sandbox, UserNamespace, NetworkNamespace or None.");
        _active = _meter.CreateUpDownCounter<long>("delivery.transcoder.jobs.active", "{job}", "Jobs in work: busy slots.");
        _meter.CreateObservableGauge("delivery.transcoder.slots", () => slots, "{job}", "Jobs that this worker does at once.");
        _meter.CreateObservableGauge("delivery.transcoder.realtime.factor", () => Volatile.Read(ref _lastRealtimeFactor), description: "Seconds of audio per second of the job done last; 0 before the first.");
    }

    public void JobStarted() => _active.Add(1);

    /// <param name="outcome">As the meter names it.</param>
    /// <param name="took">From the delivery to its settlement.</param>
    /// <param name="published">Audio that was encoded and published; null: none.</param>
    public void JobEnded(string outcome, TimeSpan took, TimeSpan? published)
    {
        _active.Add(-1);
        _jobs.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
        _jobTime.Add(took.TotalSeconds);
        if (published is { } audio)
            Volatile.Write(ref _lastRealtimeFactor, audio / took);
    }

    public void JobRetried(JobFailure failure) => _retries.Add(1, new KeyValuePair<string, object?>("failure", failure.ToString()));

    public void StoreRetried() => _storeRetries.Add(1);

    public void PhaseEnded(JobPhase phase, TimeSpan took) => _phases.Record(took.TotalSeconds, new KeyValuePair<string, object?>("phase", phase.ToString()));

    public void AudioEncoded(TimeSpan duration) => _audio.Add(duration.TotalSeconds);

    public void ToolEnded(string tool, ToolEnd end) =>
        _tools.Add(1, new KeyValuePair<string, object?>("tool", tool), new KeyValuePair<string, object?>("end", end.ToString()));

    public void Dispose() => _meter.Dispose();
}
