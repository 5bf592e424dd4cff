namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// Reports between the broker's pushes and their one reader, in order. Ends are as many as the broker leaves unsettled; of progress only the newest of
/// each job is kept, none that comes after the job's end, and of no more than <see cref="MaxProgress"/> jobs.
/// </summary>
internal sealed class ReportInbox(RecentStamps ends)
{
    private const int MaxProgress = 10_000;

    private readonly Lock _lock = new();
    private readonly LinkedList<InboxItem> _items = [];
    private readonly Dictionary<string, LinkedListNode<InboxItem>> _progress = [];

    private SemaphoreSlim Unread { get; } = new(0);

    public void AddEnd(ReportDelivery end, long sentAt)
    {
        var jobId = end.Report.JobId;
        lock (_lock)
        {
            ends.Add(jobId, sentAt);
            if (_progress.Remove(jobId, out var unread))
            {
                unread.Value = new(end, null);
                return;
            }

            _items.AddLast(new InboxItem(end, null));
        }

        Unread.Release();
    }

    public void AddProgress(ReportDelivery progress, long sentAt)
    {
        var jobId = progress.Report.JobId;
        lock (_lock)
        {
            // It came by another queue than the end.
            if (ends.Find(jobId) > sentAt)
                return;
            if (_progress.TryGetValue(jobId, out var unread))
            {
                unread.Value = new(progress, null);
                return;
            }

            if (_progress.Count >= MaxProgress)
                return;
            _progress.Add(jobId, _items.AddLast(new InboxItem(progress, null)));
        }

        Unread.Release();
    }

    /// <param name="setAside">Of a message that is no report, by the reader: whoever listens to the broker must not wait for it.</param>
    public void AddUnreadable(Func<Task> setAside)
    {
        lock (_lock)
            _items.AddLast(new InboxItem(null, setAside));
        Unread.Release();
    }

    public async Task<InboxItem> TakeAsync(CancellationToken cancellationToken)
    {
        await Unread.WaitAsync(cancellationToken);
        lock (_lock)
        {
            var first = _items.First!;
            _items.RemoveFirst();
            if (first.Value.Report is { Report.JobId: var jobId } && _progress.GetValueOrDefault(jobId) == first)
                _progress.Remove(jobId);
            return first.Value;
        }
    }
}

/// <summary>One of the two.</summary>
internal sealed record InboxItem(ReportDelivery? Report, Func<Task>? SetAside);
