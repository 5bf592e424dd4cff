using System.Collections.Concurrent;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Farm;

/// <summary>
/// The newest progress of each running job, in memory and bounded: at the bound a further job shows no progress until it ends. A job that
/// has been silent for long ended without us (another origin read its end) and gives up its place.
/// </summary>
internal sealed class LiveJobs(int capacity, TimeProvider time)
{
    /// <summary>Workers report every few seconds.</summary>
    private static readonly TimeSpan Silence = TimeSpan.FromMinutes(10);

    private readonly ConcurrentDictionary<string, (JobReport Report, DateTimeOffset Heard)> _jobs = new(StringComparer.Ordinal);
    private DateTimeOffset _nextPrune;

    public JobReport? Find(string jobId) => _jobs.TryGetValue(jobId, out var job) ? job.Report : null;

    /// <summary>Whether a worker has said anything of the job since.</summary>
    public bool HeardSince(string jobId, DateTimeOffset since) => _jobs.TryGetValue(jobId, out var job) && job.Heard >= since;

    /// <summary>One caller at a time: the reader of reports.</summary>
    public void Saw(JobReport report)
    {
        var now = time.GetUtcNow();
        if (_jobs.Count >= capacity && now >= _nextPrune)
        {
            _nextPrune = now + TimeSpan.FromMinutes(1);
            foreach (var (jobId, job) in _jobs)
            {
                if (now - job.Heard > Silence)
                    _jobs.TryRemove(jobId, out _);
            }
        }

        if (_jobs.ContainsKey(report.JobId) || _jobs.Count < capacity)
            _jobs[report.JobId] = (report, now);
    }

    public void Remove(string jobId) => _jobs.TryRemove(jobId, out _);
}
