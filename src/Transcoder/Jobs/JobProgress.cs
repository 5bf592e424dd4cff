namespace Delivery.Transcoder.Jobs;

/// <summary>Where a job is, as one number: each phase has its part of 0 to 1, by the time that it takes of a typical track.</summary>
internal static class JobProgress
{
    public static double Of(JobPhase phase, double part)
    {
        var (from, to) = phase switch
        {
            JobPhase.Fetch => (0.0, 0.05),
            JobPhase.Probe => (0.05, 0.07),
            JobPhase.Encode => (0.07, 0.85),
            JobPhase.Verify => (0.85, 0.93),
            JobPhase.Publish => (0.93, 1.0),
            JobPhase.Done => (1.0, 1.0),
            _ => (0.0, 0.0),
        };
        return from + ((to - from) * Math.Clamp(part, 0, 1));
    }
}
