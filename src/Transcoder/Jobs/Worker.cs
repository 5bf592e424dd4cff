using Microsoft.Extensions.Logging;

namespace Delivery.Transcoder.Jobs;

/// <summary>One slot: takes a delivery, does its job, settles it; whatever happens, the delivery is completed or returned.</summary>
internal sealed partial class Worker(IJobQueue queue, JobRunner runner, TranscoderOptions options, TranscoderMetrics metrics, TimeProvider time, ILogger logger)
{
    private const string Done = "Done", Retried = "Retried", Returned = "Returned";

    /// <summary>Until it is cancelled; then the running job's tools are ended and its delivery is returned before this ends.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var delivery = await queue.ReceiveAsync(stop);
                await HandleAsync(delivery, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
            }
            catch (Exception error)
            {
                QueueFailed(error);
                await Task.Delay(options.RetryDelay, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task HandleAsync(JobDelivery delivery, CancellationToken stop)
    {
        var (job, attempt) = (delivery.Job, delivery.Attempt);
        var started = time.GetTimestamp();
        var outcome = Returned;
        metrics.JobStarted();
        JobStarted(job.JobId, attempt);
        try
        {
            // A delivery that keeps coming back without an answer took its workers with it.
            if (delivery.Losses >= options.MaxAttempts)
                throw new JobException(JobFailure.WorkersLost, $"Workers were lost at this job {delivery.Losses} times; look at the master and at the workers' logs.");
            string resultKey;
            await using (var progress = new ProgressReporter(queue, (phase, done) => Report(phase) with { Progress = done }, ProgressLost))
                resultKey = (await runner.RunAsync(job, progress.Report, stop)).Value;
            await queue.ReportAsync(Report(JobPhase.Done) with { Progress = 1, ResultKey = resultKey }, CancellationToken.None);
            await delivery.CompleteAsync(CancellationToken.None);
            outcome = Done;
            JobDone(job.JobId, attempt, time.GetElapsedTime(started).TotalSeconds, resultKey);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await delivery.ReleaseAsync(CancellationToken.None);
            JobReturned(job.JobId, attempt);
        }
        catch (JobException error) when (error.CanRetry && attempt < options.MaxAttempts)
        {
            var delay = RetryDelay(attempt);
            await delivery.RetryAsync(delay, delivery.FailingSince ?? time.GetUtcNow(), CancellationToken.None);
            outcome = Retried;
            JobRetried(job.JobId, attempt, error.Failure, error.Message, delay.TotalSeconds, error.InnerException);
        }
        catch (JobException error)
        {
            var message = error.CanRetry ? $"{error.Message} It was tried {attempt} times." : error.Message;
            await queue.ReportAsync(Report(JobPhase.Failed) with { Failure = error.Failure, Message = message }, CancellationToken.None);
            await delivery.CompleteAsync(CancellationToken.None);
            outcome = error.Failure.ToString();
            JobFailed(job.JobId, attempt, error.Failure, message, error.InnerException);
        }
        catch (Exception)
        {
            await delivery.RetryAsync(options.RetryDelay, delivery.FailingSince ?? time.GetUtcNow(), CancellationToken.None);
            throw;
        }
        finally
        {
            metrics.JobEnded(outcome);
        }

        JobReport Report(JobPhase phase) => new() { JobId = job.JobId, TrackId = job.TrackId, Phase = phase, Attempt = attempt, At = time.GetUtcNow() };
    }

    /// <summary>Four times longer each time, plus or minus 20 % so that jobs that failed together do not come back together.</summary>
    private TimeSpan RetryDelay(int attempt) => options.RetryDelay * Math.Pow(4, attempt - 1) * (0.8 + (Random.Shared.NextDouble() * 0.4));

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
}
