using System.Threading.Channels;

namespace Delivery.Transcoder.Jobs;

/// <summary>
/// Sends a job's progress from ffmpeg's callbacks to the queue, one report at a time; when the queue is slow, the newest wins. What has not changed for the interval is said again, so that silence
/// means that the worker is lost.
/// </summary>
internal sealed class ProgressReporter : IAsyncDisposable
{
    private const double SmallestStep = 0.005;

    private readonly Channel<JobReport> _reports = Channel.CreateBounded<JobReport>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    private readonly Lock _lock = new();
    private readonly TimeEstimator _estimator;
    private readonly JobReport _template;
    private readonly TimeSpan _interval;
    private readonly TimeProvider _time;
    private readonly ITimer _heartbeat;
    private readonly Task _sending;
    private JobSize _size;
    private JobPhase _phase = JobPhase.Queued;
    private long _phaseStarted;
    private double _part;
    private double _progress;

    /// <param name="queue">Where reports go.</param>
    /// <param name="job">Whose they are.</param>
    /// <param name="template">What all of them have in common.</param>
    /// <param name="estimator">Tells the time left, and is told what each phase took.</param>
    /// <param name="interval">Longest time between two reports.</param>
    /// <param name="time">Clock of all of it.</param>
    /// <param name="onFault">Called when a report was lost.</param>
    public ProgressReporter(IJobQueue queue, TranscodeJob job, JobReport template, TimeEstimator estimator, TimeSpan interval, TimeProvider time, Action<Exception> onFault)
    {
        (_template, _estimator, _interval, _time) = (template, estimator, interval, time);
        _size = new JobSize(job.MasterBytes);
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
        // One-shot, set again by each report: only silence fires it.
        _heartbeat = time.CreateTimer(_ => Repeat(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Report(JobPhase.Fetch, 0);
    }

    /// <summary>The master's duration, once it is probed.</summary>
    public void Probed(TimeSpan audio)
    {
        lock (_lock)
            _size = _size with { Audio = audio };
    }

    /// <summary>The job is where it says, and so is done with the phases before.</summary>
    public void Report(JobPhase phase, double part)
    {
        lock (_lock)
        {
            var progress = JobProgress.Of(phase, part);
            if (phase == _phase && progress < _progress + SmallestStep)
                return;
            if (phase != _phase)
            {
                _estimator.Learn(_phase, _size, _time.GetElapsedTime(_phaseStarted));
                (_phase, _phaseStarted) = (phase, _time.GetTimestamp());
            }

            (_part, _progress) = (part, Math.Max(progress, _progress));
            Send();
        }
    }

    /// <summary>The last phase ended well.</summary>
    public void Done()
    {
        lock (_lock)
        {
            // A job that was known already has published nothing.
            if (_phase == JobPhase.Publish)
                _estimator.Learn(_phase, _size, _time.GetElapsedTime(_phaseStarted));
        }
    }

    /// <summary>When it returns, no report of this job's progress is under way: the final one comes last.</summary>
    public async ValueTask DisposeAsync()
    {
        await _heartbeat.DisposeAsync();
        _reports.Writer.TryComplete();
        await _sending;
    }

    private void Repeat()
    {
        lock (_lock)
            Send();
    }

    private void Send()
    {
        var left = _estimator.SecondsLeft(_phase, _part, _time.GetElapsedTime(_phaseStarted), _size);
        _reports.Writer.TryWrite(_template with { Phase = _phase, Progress = _progress, SecondsLeft = Math.Round(left, 1), At = _time.GetUtcNow() });
        _heartbeat.Change(_interval, Timeout.InfiniteTimeSpan);
    }
}
