using Microsoft.Extensions.Logging;
using RabbitMQ.Client;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// A job that this process holds. Settling never fails for the broker's sake: where the connection was lost, the broker gives the job out again by itself.
/// </summary>
internal sealed partial class RabbitJobDelivery : JobDelivery
{
    private static readonly TimeSpan FullInterval = TimeSpan.FromSeconds(1);

    private readonly Parts _parts;
    private readonly JobUrgency _line;
    private readonly JobMessage _message;
    private Hold _hold;
    private int _settled;

    /// <param name="hold">Under which tag the broker waits for the settlement.</param>
    /// <param name="count">How often the broker has given it out before.</param>
    public RabbitJobDelivery(Parts parts, Hold hold, JobUrgency line, string messageId, TranscodeJob job, JobMessage message, int count)
    {
        (_parts, _hold, _line, _message) = (parts, hold, line, message);
        (MessageId, Job, Attempt, Losses) = (messageId, job, message.Attempt + count, message.Losses + count);
        Cancelled = Cancelling.Token;
    }

    public string MessageId { get; }

    public override TranscodeJob Job { get; }

    public override int Attempt { get; }

    public override int Losses { get; }

    public override DateTimeOffset? FailingSince => _message.FailingSince;

    public override CancellationToken Cancelled { get; }

    public long EnqueuedAt => _message.EnqueuedAt;

    private CancellationTokenSource Cancelling { get; } = new();

    private Hold Held => Volatile.Read(ref _hold);

    public void Cancel() => _ = Cancelling.CancelAsync(); // Off this thread: whoever listens may take long.

    /// <summary>False when this one's own tag is still good.</summary>
    public bool Adopt(RabbitJobDelivery again)
    {
        if (ReferenceEquals(Held.Session, again.Held.Session))
            return false;
        Volatile.Write(ref _hold, again.Held);
        return true;
    }

    /// <inheritdoc/>
    public override async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _settled, 1) == 0)
            await AcknowledgeAsync();
    }

    /// <inheritdoc/>
    /// <remarks>While the delay is full, this waits for room: a farm whose jobs all fail has nothing better to do. Cancelled, it gives the job back at once.</remarks>
    public override async ValueTask RetryAsync(TimeSpan delay, DateTimeOffset failingSince, CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _settled, 1) != 0)
            return;
        var next = _message with { Attempt = Attempt + 1, Losses = 0, FailingSince = failingSince };
        while (!await TryMoveAsync(MessageKind.Retry, _parts.Topology.DelayExchange, _parts.Topology.DelayKey(_line, delay), next, cancellationToken))
        {
            try
            {
                await Task.Delay(FullInterval, _parts.Time, cancellationToken);
            }
            catch (OperationCanceledException)
            {
                await ReturnAsync();
                throw;
            }
        }
    }

    /// <inheritdoc/>
    public override async ValueTask ReleaseAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _settled, 1) != 0)
            return;
        var next = _message with { Attempt = Attempt, Losses = Losses };
        if (!await TryMoveAsync(MessageKind.Release, _parts.Topology.JobsExchange, BrokerTopology.Key(_line), next, cancellationToken))
            await ReturnAsync();
    }

    /// <summary>Settles what the queue itself answers: a duplicate, an unreadable message.</summary>
    public static async Task AcknowledgeAsync(Hold hold)
    {
        try
        {
            await hold.Session.Jobs.BasicAckAsync(hold.Tag, multiple: false, CancellationToken.None);
        }
        catch (Exception error)
        {
            hold.Session.End(error.Message);
        }
    }

    /// <summary>A copy where it belongs, then the end of this one. In this order: a crash in between makes two of it, not none.</summary>
    /// <returns>False: there is no room. Everything else is an end, as the broker gives out again what it gets no word of.</returns>
    private async Task<bool> TryMoveAsync(MessageKind kind, string exchange, string routingKey, JobMessage next, CancellationToken cancellationToken)
    {
        if (Held.Session.Ended.IsCancellationRequested)
        {
            Forget();
            return true;
        }

        try
        {
            await _parts.Publisher.PublishAsync(kind, exchange, routingKey, next.Properties(Job.JobId), next.Body, cancellationToken);
        }
        catch (QueueException error) when (error.IsFull)
        {
            return false;
        }
        catch (Exception error)
        {
            LogNotMoved(_parts.Logger, Job.JobId, kind, error.Message);
            await ReturnAsync();
            return true;
        }

        await AcknowledgeAsync();
        return true;
    }

    private async Task AcknowledgeAsync()
    {
        // Remembered even when the tag is good: the connection may be lost before the broker reads this.
        _parts.Held.Remove(this, isDone: true);
        var hold = Held;
        if (hold.Session.Ended.IsCancellationRequested)
            LogVoid(_parts.Logger, Job.JobId);
        else
            await AcknowledgeAsync(hold);
    }

    /// <summary>To its place in line, as one delivery more.</summary>
    private async Task ReturnAsync()
    {
        Forget();
        var hold = Held;
        try
        {
            await hold.Session.Jobs.BasicNackAsync(hold.Tag, multiple: false, requeue: true, CancellationToken.None);
        }
        catch (Exception error)
        {
            hold.Session.End(error.Message);
        }
    }

    private void Forget() => _parts.Held.Remove(this, isDone: false);

    [LoggerMessage(3104, LogLevel.Debug, "Job {JobId}: the connection to the broker that it came by is lost; the broker gives it out again, and whoever gets it finds it done")]
    private static partial void LogVoid(ILogger logger, string jobId);

    [LoggerMessage(3105, LogLevel.Warning, "Job {JobId}: {Kind} could not be sent, the broker gives the job out again: {Reason}")]
    private static partial void LogNotMoved(ILogger logger, string jobId, MessageKind kind, string reason);

    /// <summary>What all deliveries of a queue share.</summary>
    public sealed record Parts(HeldJobs Held, BrokerPublisher Publisher, BrokerTopology Topology, TimeProvider Time, ILogger Logger);

    /// <param name="Tag">Means something on this session's channel only.</param>
    public sealed record Hold(BrokerSession Session, ulong Tag);
}
