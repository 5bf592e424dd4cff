namespace Delivery.Transcoder.Jobs;

/// <summary>
/// How long a job still takes: what each phase took of the jobs before, per unit of what its length goes by, and the running phase's own pace. Shared by all slots of a worker.
/// </summary>
/// <remarks>Starts from rough figures of one core of a plain server, and learns: each finished phase counts a fifth.</remarks>
internal sealed class TimeEstimator
{
    private const double Weight = 0.2;

    /// <summary>From this part of a phase on, its own pace alone counts.</summary>
    private const double KnownPart = 0.2;

    // A phase that ends in no time says nothing about the next one's length: an empty disk cache, a second's clip.
    private const double LeastAudioSeconds = 1;

    private static readonly JobPhase[] Order = [JobPhase.Fetch, JobPhase.Probe, JobPhase.Encode, JobPhase.Verify, JobPhase.Publish];

    private readonly Lock _lock = new();

    private readonly Dictionary<JobPhase, double> _secondsPerUnit = new()
    {
        [JobPhase.Fetch] = 1 / 50e6, // per byte
        [JobPhase.Probe] = 0.1, // per job
        [JobPhase.Encode] = 0.09, // per second of audio, as the next two
        [JobPhase.Verify] = 0.02,
        [JobPhase.Publish] = 0.005,
    };

    // Of 16-bit stereo at 44.1 kHz; what a master holds is not known before it is probed.
    private double _bytesPerAudioSecond = 176_400;

    /// <summary>A phase ended well.</summary>
    public void Learn(JobPhase phase, JobSize size, TimeSpan took)
    {
        lock (_lock)
        {
            if (!_secondsPerUnit.TryGetValue(phase, out var known))
                return;
            _secondsPerUnit[phase] = Blend(known, took.TotalSeconds / Units(phase, size));
            if (phase == JobPhase.Probe && size.Audio is { } audio && audio.TotalSeconds >= LeastAudioSeconds)
                _bytesPerAudioSecond = Blend(_bytesPerAudioSecond, size.MasterBytes / audio.TotalSeconds);
        }
    }

    /// <summary>Seconds until the job is done.</summary>
    /// <param name="phase">Where it is.</param>
    /// <param name="part">How much of that phase is done, 0 to 1.</param>
    /// <param name="inPhase">Time spent in it.</param>
    /// <param name="size">How much there is to do.</param>
    public double SecondsLeft(JobPhase phase, double part, TimeSpan inPhase, JobSize size)
    {
        part = Math.Clamp(part, 0, 1);
        lock (_lock)
        {
            var left = Order.Where(p => p > phase).Sum(p => Expected(p, size));
            if (!Order.Contains(phase))
                return left;
            var byPace = part > 0 ? inPhase.TotalSeconds * (1 - part) / part : 0;
            var trust = Math.Min(1, part / KnownPart);
            return left + (trust * byPace) + ((1 - trust) * Math.Max(0, Expected(phase, size) - inPhase.TotalSeconds));
        }
    }

    private static double Blend(double known, double seen) => known + (Weight * (seen - known));

    private double Expected(JobPhase phase, JobSize size) => _secondsPerUnit[phase] * Units(phase, size);

    private double Units(JobPhase phase, JobSize size) => phase switch
    {
        JobPhase.Fetch => Math.Max(1, size.MasterBytes),
        JobPhase.Probe => 1,
        _ => Math.Max(LeastAudioSeconds, size.Audio?.TotalSeconds ?? size.MasterBytes / _bytesPerAudioSecond),
    };
}

/// <param name="MasterBytes">Length of the master.</param>
/// <param name="Audio">Its duration; null before it is probed.</param>
internal readonly record struct JobSize(long MasterBytes, TimeSpan? Audio = null);
