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
    private readonly Histogram<double> _phases;
    private readonly Counter<double> _audio;
    private readonly UpDownCounter<long> _active;

    public TranscoderMetrics(NetworkIsolation isolation)
    {
        _jobs = _meter.CreateCounter<long>("delivery.transcoder.jobs", "{job}", "Deliveries that ended, by outcome: done, retried, returned (drain), or the failure's name.");
        _phases = _meter.CreateHistogram<double>("delivery.transcoder.phase.duration", "s", "Time that jobs spend in each phase.");
        _audio = _meter.CreateCounter<double>("delivery.transcoder.audio.encoded", "s", "Seconds of master audio encoded (the whole ladder counts once).");
        _active = _meter.CreateUpDownCounter<long>("delivery.transcoder.jobs.active", "{job}", "Jobs in work.");
        _meter.CreateObservableGauge("delivery.transcoder.network.isolated", () => isolation == NetworkIsolation.None ? 0 : 1, description: "1 when the tools run without a network, 0 when this system allows no namespaces.");
    }

    public void JobStarted() => _active.Add(1);

    public void JobEnded(string outcome)
    {
        _active.Add(-1);
        _jobs.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
    }

    public void PhaseEnded(JobPhase phase, TimeSpan took) => _phases.Record(took.TotalSeconds, new KeyValuePair<string, object?>("phase", phase.ToString()));

    public void AudioEncoded(TimeSpan duration) => _audio.Add(duration.TotalSeconds);

    public void Dispose() => _meter.Dispose();
}
