using System.Diagnostics.Metrics;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>The meter <c>Delivery.Queue</c>.</summary>
internal sealed class BrokerMetrics : IDisposable
{
    private readonly Meter _meter = new(RabbitJobQueue.MeterName);
    private readonly Counter<long> _connections;
    private readonly Counter<long> _published;
    private readonly Counter<long> _redeliveries;
    private readonly Counter<long> _unreadable;

    public BrokerMetrics(Func<bool> isConnected)
    {
        _meter.CreateObservableGauge("delivery.queue.connected", () => isConnected() ? 1 : 0, description: "1 while the broker is connected and takes messages.");
        _connections = _meter.CreateCounter<long>("delivery.queue.connections", "{connection}", "Connections to the broker that were made; the first counts too.");
        _published = _meter.CreateCounter<long>("delivery.queue.published", "{message}", "Messages sent, by kind and outcome.");
        _redeliveries = _meter.CreateCounter<long>("delivery.queue.redeliveries", "{message}", "Jobs that came to this process after a worker was lost with them.");
        _unreadable = _meter.CreateCounter<long>("delivery.queue.unreadable", "{message}", "Messages that were moved aside because they are not JSON of a known format.");
    }

    public void Connected() => _connections.Add(1);

    public void Published(MessageKind kind, PublishOutcome outcome) =>
        _published.Add(1, new("kind", kind.ToString()), new KeyValuePair<string, object?>("outcome", outcome.ToString()));

    public void Redelivered() => _redeliveries.Add(1);

    public void Unreadable() => _unreadable.Add(1);

    public void Dispose() => _meter.Dispose();
}

internal enum MessageKind
{
    Job,
    Retry,
    Release,
    Report,
    Progress,
    Cancel,
    Unreadable,
}

internal enum PublishOutcome
{
    /// <summary>The broker has it.</summary>
    Confirmed,

    /// <summary>Without asking for a confirmation.</summary>
    Sent,

    /// <summary>The broker refused it: its queue is full.</summary>
    Full,

    /// <summary>The broker was away, or said nothing, for longer than OperationTimeout.</summary>
    Failed,

    /// <summary>Progress while the broker was away.</summary>
    Dropped,
}
