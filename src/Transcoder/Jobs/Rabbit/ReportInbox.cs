namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// Reports between the broker's pushes and their one reader, in order. Ends are as many as the broker leaves unsettled; of progress only the newest of
/// each job is kept, none that comes after the job's end, and of no more than <see cref="MaxProgress"/> jobs.
/// </summary>
internal sealed class ReportInbox(RecentStamps ends)
{
    private const int MaxProgress = 10_000;

    private readonly Lock _lock = new();
    private readonly LinkedList<ReportDelivery> _reports = [];
    private readonly Dictionary<string, LinkedListNode<ReportDelivery>> _progress = [];

    private SemaphoreSlim Unread { get; } = new(0);

    public void AddEnd(ReportDelivery end, long sentAt)
    {
        var jobId = end.Report.JobId;
        lock (_lock)
        {
            ends.Add(jobId, sentAt);
            if (_progress.Remove(jobId, out var unread))
            {
                unread.Value = end;
                return;
            }

            _reports.AddLast(end);
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
                unread.Value = progress;
                return;
            }

            if (_progress.Count >= MaxProgress)
                return;
            _progress.Add(jobId, _reports.AddLast(progress));
        }

        Unread.Release();
    }

    public async Task<ReportDelivery> TakeAsync(CancellationToken cancellationToken)
    {
        await Unread.WaitAsync(cancellationToken);
        lock (_lock)
        {
            var report = _reports.First!;
            _reports.RemoveFirst();
            if (_progress.GetValueOrDefault(report.Value.Report.JobId) == report)
                _progress.Remove(report.Value.Report.JobId);
            return report.Value;
        }
    }
}
