using Microsoft.Extensions.Logging;
using RabbitMQ.Client;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// Asks the lines in their order for one message at a time, and only while somebody waits for it: an urgent job is never behind a less urgent one that
/// was fetched ahead, and a worker holds as many jobs as it has slots. One loop for all slots of a process.
/// </summary>
internal sealed partial class JobPoller
{
    private readonly Lock _lock = new();
    private readonly LinkedList<TaskCompletionSource<JobDelivery>> _receivers = [];
    private readonly BrokerConnection _connection;
    private readonly BrokerOptions _options;
    private readonly BrokerMetrics _metrics;
    private readonly RabbitJobDelivery.Parts _parts;
    private readonly Func<TooNew, Task> _refuse;
    private readonly Func<string, IReadOnlyBasicProperties, ReadOnlyMemory<byte>, string, Task> _setAside;
    private bool _isStopped;

    /// <param name="refuse">Reports a job in a format that this process does not know.</param>
    /// <param name="setAside">Moves an unreadable message away: from which queue, what, and why.</param>
    public JobPoller(
        BrokerConnection connection, BrokerOptions options, BrokerMetrics metrics, RabbitJobDelivery.Parts parts,
        Func<TooNew, Task> refuse, Func<string, IReadOnlyBasicProperties, ReadOnlyMemory<byte>, string, Task> setAside) =>
        (_connection, _options, _metrics, _parts, _refuse, _setAside) = (connection, options, metrics, parts, refuse, setAside);

    public async Task<JobDelivery> ReceiveAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var receiver = new TaskCompletionSource<JobDelivery>(TaskCreationOptions.RunContinuationsAsynchronously);
        LinkedListNode<TaskCompletionSource<JobDelivery>> node;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isStopped, typeof(RabbitJobQueue));
            node = _receivers.AddLast(receiver);
        }

        Wake();
        using var registration = cancellationToken.Register(() => receiver.TrySetCanceled(cancellationToken));
        try
        {
            return await receiver.Task;
        }
        finally
        {
            lock (_lock)
            {
                if (node.List is not null)
                    _receivers.Remove(node);
            }
        }
    }

    /// <summary>There may be something: ask now.</summary>
    public void Wake()
    {
        lock (_lock)
        {
            if (Changes.CurrentCount == 0)
                Changes.Release();
        }
    }

    public async Task RunAsync(CancellationToken stop)
    {
        var idle = _options.MinPollInterval;
        try
        {
            while (true)
            {
                if (!IsAnyoneWaiting)
                {
                    await Changes.WaitAsync(stop);
                    idle = _options.MinPollInterval;
                    continue;
                }

                var session = await _connection.GetAsync(stop);
                bool found;
                try
                {
                    found = await PollAsync(session, stop);
                }
                catch (Exception error) when (!stop.IsCancellationRequested)
                {
                    session.End(error.Message);
                    continue;
                }

                if (found)
                    idle = _options.MinPollInterval;
                else if (await Changes.WaitAsync(idle, stop))
                    idle = _options.MinPollInterval;
                else
                    idle = idle * 2 < _options.MaxPollInterval ? idle * 2 : _options.MaxPollInterval;
            }
        }
        catch (Exception error) when (stop.IsCancellationRequested || error is ObjectDisposedException)
        {
            List<TaskCompletionSource<JobDelivery>> left;
            lock (_lock)
            {
                _isStopped = true;
                left = [.. _receivers];
            }

            foreach (var receiver in left)
                receiver.TrySetException(new ObjectDisposedException(nameof(RabbitJobQueue)));
        }
    }

    private SemaphoreSlim Changes { get; } = new(0, 1);

    private bool IsAnyoneWaiting
    {
        get
        {
            lock (_lock)
                return _receivers.Count > 0;
        }
    }

    /// <summary>True when a line had something, whatever became of it.</summary>
    private async Task<bool> PollAsync(BrokerSession session, CancellationToken stop)
    {
        foreach (var urgency in BrokerTopology.Urgencies)
        {
            var line = _parts.Topology.Line(urgency);
            if (await session.Jobs.BasicGetAsync(line, autoAck: false, stop) is { } got)
            {
                await HandleAsync(new RabbitJobDelivery.Hold(session, got.DeliveryTag), urgency, line, got, stop);
                return true;
            }
        }

        return false;
    }

    private async Task HandleAsync(RabbitJobDelivery.Hold hold, JobUrgency urgency, string line, BasicGetResult got, CancellationToken stop)
    {
        var (job, tooNew, fault) = MessageJson.ReadJob(got.Body);
        if (job is null)
        {
            if (tooNew is not null)
                await _refuse(tooNew);
            else
                await _setAside(line, got.BasicProperties, got.Body, fault!);
            await RabbitJobDelivery.AcknowledgeAsync(hold);
            return;
        }

        var count = JobMessage.DeliveryCount(got.BasicProperties);
        var delivery = new RabbitJobDelivery(
            _parts, hold, urgency, got.BasicProperties.MessageId ?? $"{Guid.NewGuid():n}", job, JobMessage.From(got.BasicProperties, got.Body), count);
        if (count > 0)
            _metrics.Redelivered();
        switch (_parts.Held.Add(delivery))
        {
            case Arrival.Adopted:
                LogAdopted(_parts.Logger, job.JobId);
                break;
            case Arrival.Duplicate:
                await RabbitJobDelivery.AcknowledgeAsync(hold);
                break;
            case Arrival.New when !TryHandOut(delivery):
                // Whoever waited for it has left meanwhile.
                await delivery.ReleaseAsync(stop);
                break;
        }
    }

    private bool TryHandOut(RabbitJobDelivery delivery)
    {
        while (true)
        {
            TaskCompletionSource<JobDelivery> receiver;
            lock (_lock)
            {
                if (_receivers.First is not { } first)
                    return false;
                receiver = first.Value;
                _receivers.RemoveFirst();
            }

            if (receiver.TrySetResult(delivery))
                return true;
        }
    }

    [LoggerMessage(3106, LogLevel.Information, "Job {JobId}: the broker gave it out again, and this process still holds it; it goes on")]
    private static partial void LogAdopted(ILogger logger, string jobId);
}
