namespace Delivery.Transcoder.Jobs;

/// <summary>A job cannot go on: why, in one sentence that says what to do, and whether another attempt can help.</summary>
internal sealed class JobException(JobFailure failure, string message, bool canRetry = false, Exception? inner = null) : Exception(message, inner)
{
    public JobFailure Failure { get; } = failure;

    /// <summary>True for faults that pass by themselves: a store out of reach, a tool killed from outside, a full disk.</summary>
    public bool CanRetry { get; } = canRetry;

    /// <summary>What the job needs is away, whichever job it is: no fault of it or of its tools, so it waits for as long as the worker's patience lasts.</summary>
    public bool IsOutage => CanRetry && Failure is (JobFailure.StoreFailed or JobFailure.WorkFolderFull);
}
