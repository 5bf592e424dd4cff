using System.Threading.Channels;

namespace Delivery.Transcoder.Jobs;

/// <summary>Sends a job's progress from ffmpeg's callbacks to the queue, one report at a time; when the queue is slow, the newest wins.</summary>
internal sealed class ProgressReporter : IAsyncDisposable
{
    private const double SmallestStep = 0.005;

    private readonly Channel<JobReport> _reports = Channel.CreateBounded<JobReport>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    private readonly Func<JobPhase, double, JobReport> _report;
    private readonly Task _sending;
    private JobPhase _phase = JobPhase.Queued;
    private double _progress = -1;

    public ProgressReporter(IJobQueue queue, Func<JobPhase, double, JobReport> report, Action<Exception> onFault)
    {
        _report = report;
        _sending = Task.Run(async () =>
        {
            await foreach (var next in _reports.Reader.ReadAllAsync())
            {
                try
                {
                    await queue.ReportAsync(next, CancellationToken.None);
                }
                catch (Exception error)
                {
                    onFault(error); // Progress may be lost; the job goes on.
                }
            }
        });
    }

    /// <summary>Called by one thread at a time.</summary>
    public void Report(JobPhase phase, double part)
    {
        var progress = JobProgress.Of(phase, part);
        if (phase == _phase && progress < _progress + SmallestStep)
            return;
        (_phase, _progress) = (phase, Math.Max(progress, _progress));
        _reports.Writer.TryWrite(_report(phase, _progress));
    }

    /// <summary>When it returns, no report of this job's progress is under way: the final one comes last.</summary>
    public async ValueTask DisposeAsync()
    {
        _reports.Writer.TryComplete();
        await _sending;
    }
}
