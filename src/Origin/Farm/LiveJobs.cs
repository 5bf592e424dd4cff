using System.Collections.Concurrent;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Farm;

/// <summary>The newest progress of each running job, in memory and bounded: at the bound a further job shows no progress until it ends.</summary>
internal sealed class LiveJobs(int capacity)
{
    private readonly ConcurrentDictionary<string, JobReport> _reports = new(StringComparer.Ordinal);

    public JobReport? Find(string jobId) => _reports.GetValueOrDefault(jobId);

    public void Saw(JobReport report)
    {
        if (_reports.ContainsKey(report.JobId) || _reports.Count < capacity)
            _reports[report.JobId] = report;
    }

    public void Remove(string jobId) => _reports.TryRemove(jobId, out _);
}
