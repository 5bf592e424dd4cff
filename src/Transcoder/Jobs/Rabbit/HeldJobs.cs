namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>The deliveries that this process holds, by message, and what it must know to judge one that comes: cancels, and what it has settled.</summary>
internal sealed class HeldJobs
{
    /// <summary>Cancels remembered, for jobs that are received after they were cancelled; and settled messages, for those that the broker gives out again because it did not hear of it.</summary>
    private const int Remembered = 10_000;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, RabbitJobDelivery> _held = [];
    private readonly RecentStamps _cancels = new(Remembered);
    private readonly RecentStamps _settled = new(Remembered);

    /// <summary>A message that came: hold it, or say why not.</summary>
    public Arrival Add(RabbitJobDelivery delivery)
    {
        lock (_lock)
        {
            if (_held.TryGetValue(delivery.MessageId, out var held))
                return held.Adopt(delivery) ? Arrival.Adopted : Arrival.Duplicate;
            if (_settled.Find(delivery.MessageId) is not null)
                return Arrival.Duplicate;
            _held.Add(delivery.MessageId, delivery);
            if (_cancels.Find(delivery.Job.JobId) > delivery.EnqueuedAt)
                delivery.Cancel();
            return Arrival.New;
        }
    }

    /// <param name="isDone">The message must not be worked on if it comes again; else the broker is expected to give it out anew.</param>
    public void Remove(RabbitJobDelivery delivery, bool isDone)
    {
        lock (_lock)
        {
            _held.Remove(delivery.MessageId);
            if (isDone)
                _settled.Add(delivery.MessageId, 0);
        }
    }

    public void Cancel(string jobId, long stamp)
    {
        lock (_lock)
        {
            _cancels.Add(jobId, stamp);
            foreach (var delivery in _held.Values)
            {
                if (delivery.Job.JobId == jobId && stamp > delivery.EnqueuedAt)
                    delivery.Cancel();
            }
        }
    }
}

internal enum Arrival
{
    New,

    /// <summary>This process holds the message already, from a connection that was lost: it goes on under its new delivery tag.</summary>
    Adopted,

    /// <summary>This process holds or has settled the message.</summary>
    Duplicate,
}
