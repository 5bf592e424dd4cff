namespace Delivery.Transcoder.Jobs;

/// <summary>How soon a job must be done: the line that it waits in. A lower line is looked at only when every higher one is empty. The name is also the metric label.</summary>
public enum JobUrgency
{
    /// <summary>The release is out, or comes within an hour.</summary>
    Hour,

    /// <summary>Within 24 hours.</summary>
    Day,

    /// <summary>Within seven days.</summary>
    Week,

    /// <summary>Later, or nothing waits for it.</summary>
    Later,

    /// <summary>Another ladder for a catalog that plays already.</summary>
    Backfill,
}

public static class JobUrgencies
{
    public static JobUrgency Of(JobPriority priority, DateTimeOffset? deadline, DateTimeOffset now) => (priority, deadline - now) switch
    {
        (JobPriority.Backfill, _) => JobUrgency.Backfill,
        (_, null) => JobUrgency.Later,
        (_, { TotalHours: <= 1 }) => JobUrgency.Hour,
        (_, { TotalHours: <= 24 }) => JobUrgency.Day,
        (_, { TotalDays: <= 7 }) => JobUrgency.Week,
        _ => JobUrgency.Later,
    };

    public static JobUrgency Urgency(this TranscodeJob job, DateTimeOffset now) => Of(job.Priority, job.Deadline, now);
}
