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
    private readonly Counter<long> _tools;

    public TranscoderMetrics(Isolation isolation)
    {
        _jobs = _meter.CreateCounter<long>("delivery.transcoder.jobs", "{job}", "Deliveries that ended, by outcome: done, retried, returned (drain), or the failure's name.");
        _phases = _meter.CreateHistogram<double>("delivery.transcoder.phase.duration", "s", "Time that jobs spend in each phase.");
        _audio = _meter.CreateCounter<double>("delivery.transcoder.audio.encoded", "s", "Seconds of master audio encoded (the whole ladder counts once).");
        _active = _meter.CreateUpDownCounter<long>("delivery.transcoder.jobs.active", "{job}", "Jobs in work.");
        _tools = _meter.CreateCounter<long>("delivery.transcoder.tools", "{run}", "Runs of a tool on a master, by tool and end: exited, killed, or the limit that it hit.");
        _meter.CreateObservableGauge(
            "delivery.transcoder.isolation",
            () => new Measurement<int>(1, new KeyValuePair<string, object?>("isolation", isolation.ToString())),
            description: "1, labelled by how the tools are kept from this machine: Sandbox, UserNamespace, NetworkNamespace or None.");
    }

    public void JobStarted() => _active.Add(1);

    public void JobEnded(string outcome)
    {
        _active.Add(-1);
        _jobs.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
    }

    public void PhaseEnded(JobPhase phase, TimeSpan took) => _phases.Record(took.TotalSeconds, new KeyValuePair<string, object?>("phase", phase.ToString()));

    public void AudioEncoded(TimeSpan duration) => _audio.Add(duration.TotalSeconds);

    public void ToolEnded(string tool, ToolEnd end) =>
        _tools.Add(1, new KeyValuePair<string, object?>("tool", tool), new KeyValuePair<string, object?>("end", end.ToString()));

    public void Dispose() => _meter.Dispose();
}
