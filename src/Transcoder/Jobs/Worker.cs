using Delivery.ObjectStore;
using Microsoft.Extensions.Logging;

namespace Delivery.Transcoder.Jobs;

/// <summary>One slot: takes a delivery, does its job, settles it; whatever happens, the delivery is completed, put off or given back.</summary>
/// <remarks>
/// <code>
/// delivery ─▶ cancelled, or too many workers lost at it ──────────────▶ report Failed, complete
///        └──▶ run ─▶ result ──────────────────────────────────────────▶ report Done, complete
///                 ├▶ a fault that stays, or passed too often ─────────▶ report Failed, complete
///                 ├▶ outage (store, disk), younger than the patience ─▶ put off; when it began stays known
///                 ├▶ a tool's passing fault, attempts left ───────────▶ put off
///                 └▶ the worker stops ────────────────────────────────▶ release
/// </code>
/// A broker that is lost meanwhile stops no job: the end waits until it can be said, or until the worker stops; then whoever gets the job next finds its result.
/// </remarks>
internal sealed partial class Worker(IJobQueue queue, JobRunner runner, TranscoderOptions options, TranscoderMetrics metrics, TimeProvider time, ILogger logger)
{
    private const string Done = "Done", Retried = "Retried", Returned = "Returned";

    // Where RetryDelay times 4 to this power passes every MaxRetryDelay: larger powers would overflow.
    private const int MaxBackoffSteps = 12;

    /// <summary>A queue that does not take a delivery back within this is left to notice that the worker is gone.</summary>
    private static readonly TimeSpan ReleaseTimeout = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan FirstQueueDelay = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan MaxQueueDelay = TimeSpan.FromSeconds(10);

    private readonly TimeEstimator _estimator = new();
    private int _running;

    /// <summary>Jobs in work, over all slots.</summary>
    public int Running => Volatile.Read(ref _running);

    /// <param name="drain">Cancelled: no further job is taken; the running one goes on.</param>
    /// <param name="stop">Cancelled: the running job's tools are ended and its delivery is given back.</param>
    public async Task RunAsync(CancellationToken drain, CancellationToken stop)
    {
        while (!drain.IsCancellationRequested)
        {
            try
            {
                var delivery = await queue.ReceiveAsync(drain);
                Interlocked.Increment(ref _running);
                try
                {
                    await HandleAsync(delivery, stop);
                }
                finally
                {
                    Interlocked.Decrement(ref _running);
                }
            }
            catch (OperationCanceledException) when (drain.IsCancellationRequested)
            {
            }
            catch (Exception error)
            {
                QueueFailed(error);
                await Task.Delay(options.RetryDelay, time, drain).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task HandleAsync(JobDelivery delivery, CancellationToken stop)
    {
        var (job, attempt) = (delivery.Job, delivery.Attempt);
        var started = time.GetTimestamp();
        var outcome = Returned;
        TimeSpan? published = null;
        metrics.JobStarted();
        JobStarted(job.JobId, attempt);
        try
        {
            ObjectKey result;
            try
            {
                (result, published) = await RunAsync(delivery, stop);
            }
            catch (JobException error)
            {
                outcome = await SettleAsync(delivery, error, stop);
                return;
            }

            await EndAsync(delivery, Report(delivery) with { Phase = JobPhase.Done, Progress = 1, ResultKey = result.Value }, stop);
            outcome = Done;
            JobDone(job.JobId, attempt, time.GetElapsedTime(started).TotalSeconds, result.Value);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await ReleaseAsync(delivery);
        }
        catch (Exception)
        {
            await delivery.RetryAsync(options.RetryDelay, time.GetUtcNow(), stop);
            throw;
        }
        finally
        {
            metrics.JobEnded(outcome, time.GetElapsedTime(started), published);
        }
    }

    /// <exception cref="JobException">Every other end than a result and the worker's stop.</exception>
    private async Task<(ObjectKey Result, TimeSpan? Encoded)> RunAsync(JobDelivery delivery, CancellationToken stop)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(stop, delivery.Cancelled);
        try
        {
            ending.Token.ThrowIfCancellationRequested();
            // A delivery that keeps coming back without an answer took its workers with it.
            if (delivery.Losses >= options.MaxAttempts)
                throw new JobException(JobFailure.WorkersLost, $"Workers were lost at this job {delivery.Losses} times; look at the master and at the workers' logs.");
            await using var progress = new ProgressReporter(queue, delivery.Job, Report(delivery), _estimator, options.ReportInterval, time, ProgressLost);
            var end = await runner.RunAsync(delivery.Job, progress, ending.Token);
            progress.Done();
            return end;
        }
        catch (OperationCanceledException) when (delivery.Cancelled.IsCancellationRequested)
        {
            throw new JobException(JobFailure.Cancelled, "The job was cancelled; retry it, or upload the master again, to go on.");
        }
    }

    /// <summary>Puts the job off, or ends it as failed.</summary>
    private async Task<string> SettleAsync(JobDelivery delivery, JobException error, CancellationToken stop)
    {
        var (jobId, attempt, now) = (delivery.Job.JobId, delivery.Attempt, time.GetUtcNow());
        // Since when the outage lasts stays known while nothing else fails the job in between.
        var since = error.IsOutage ? delivery.FailingSince ?? now : now;
        if (error.IsOutage ? now - since < options.OutagePatience : error.CanRetry && attempt - delivery.Losses < options.MaxAttempts)
        {
            var delay = RetryDelay(attempt);
            await PersistAsync(jobId, token => delivery.RetryAsync(delay, since, token), stop);
            metrics.JobRetried(error.Failure);
            JobRetried(jobId, attempt, error.Failure, error.Message, delay.TotalSeconds, error.InnerException);
            return Retried;
        }

        var message = error switch
        {
            { IsOutage: true } => $"{error.Message} It has been so since {since.UtcDateTime:yyyy-MM-dd HH:mm:ss} UTC.",
            { CanRetry: true } => $"{error.Message} It was tried {attempt} times.",
            _ => error.Message,
        };
        await EndAsync(delivery, Report(delivery) with { Phase = JobPhase.Failed, Failure = error.Failure, Message = message }, stop);
        JobFailed(jobId, attempt, error.Failure, message, error.InnerException);
        return error.Failure.ToString();
    }

    private async Task EndAsync(JobDelivery delivery, JobReport report, CancellationToken stop)
    {
        await PersistAsync(report.JobId, token => queue.ReportAsync(report with { At = time.GetUtcNow() }, token), stop);
        await PersistAsync(report.JobId, delivery.CompleteAsync, stop);
    }

    /// <summary>What must be said to the queue, however long it is away.</summary>
    private async Task PersistAsync(string jobId, Func<CancellationToken, ValueTask> say, CancellationToken stop)
    {
        for (var delay = FirstQueueDelay; ; delay = delay * 2 < MaxQueueDelay ? delay * 2 : MaxQueueDelay)
        {
            try
            {
                await say(stop);
                return;
            }
            catch (Exception error) when (!stop.IsCancellationRequested)
            {
                EndWaits(jobId, error);
                await Task.Delay(delay, time, stop);
            }
        }
    }

    private async Task ReleaseAsync(JobDelivery delivery)
    {
        using var bound = new CancellationTokenSource(ReleaseTimeout, time);
        try
        {
            await delivery.ReleaseAsync(bound.Token);
            JobReturned(delivery.Job.JobId, delivery.Attempt);
        }
        catch (Exception error)
        {
            NotReleased(delivery.Job.JobId, error);
        }
    }

    private JobReport Report(JobDelivery delivery) => new()
    {
        JobId = delivery.Job.JobId,
        TrackId = delivery.Job.TrackId,
        Phase = JobPhase.Queued,
        Attempt = delivery.Attempt,
        Worker = options.WorkerId,
    };

    /// <summary>Four times longer each time, less up to 20 % so that jobs that failed together do not come back together; never more, as a broker would round that up to its next delay.</summary>
    private TimeSpan RetryDelay(int attempt)
    {
        var delay = options.RetryDelay * Math.Pow(4, Math.Min(attempt - 1, MaxBackoffSteps)) * (0.8 + (Random.Shared.NextDouble() * 0.2));
        return delay < options.MaxRetryDelay ? delay : options.MaxRetryDelay;
    }

    [LoggerMessage(3010, LogLevel.Information, "Job {JobId}: attempt {Attempt} starts")]
    private partial void JobStarted(string jobId, int attempt);

    [LoggerMessage(3011, LogLevel.Information, "Job {JobId}: done in attempt {Attempt} after {Seconds:0.0} s: {ResultKey}")]
    private partial void JobDone(string jobId, int attempt, double seconds, string resultKey);

    [LoggerMessage(3012, LogLevel.Error, "Job {JobId}: failed in attempt {Attempt}: {Failure}. {Message}")]
    private partial void JobFailed(string jobId, int attempt, JobFailure failure, string message, Exception? exception);

    [LoggerMessage(3013, LogLevel.Warning, "Job {JobId}: attempt {Attempt} failed: {Failure}. {Message} The next one is in {DelaySeconds:0.0} s")]
    private partial void JobRetried(string jobId, int attempt, JobFailure failure, string message, double delaySeconds, Exception? exception);

    [LoggerMessage(3014, LogLevel.Information, "Job {JobId}: attempt {Attempt} was given back, the worker stops")]
    private partial void JobReturned(string jobId, int attempt);

    [LoggerMessage(3015, LogLevel.Error, "The job queue failed")]
    private partial void QueueFailed(Exception exception);

    [LoggerMessage(3016, LogLevel.Debug, "A progress report was lost")]
    private partial void ProgressLost(Exception exception);

    [LoggerMessage(3017, LogLevel.Warning, "Job {JobId}: its end cannot be told to the queue yet; it is tried until it can")]
    private partial void EndWaits(string jobId, Exception exception);

    [LoggerMessage(3018, LogLevel.Warning, "Job {JobId}: cannot be given back; the queue gives it to another worker when it misses this one")]
    private partial void NotReleased(string jobId, Exception exception);
}
