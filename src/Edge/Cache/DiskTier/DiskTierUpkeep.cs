using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// One background thread for what has time: the start again when it failed, probes of a direction that is off, scrubbing. It may hang in a disk that hangs;
/// then the tier stays off, which is right.
/// </summary>
internal sealed partial class DiskTierUpkeep : IDisposable
{
    // Nothing to do but to look again.
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(1);

    private readonly DiskTierOptions _options;
    private readonly DiskHealth _health;
    private readonly DiskProbe _probe;
    private readonly Scrubber _scrubber;
    private readonly DiskReader _reader;
    private readonly ILogger _log;
    private readonly ManualResetEventSlim _stop = new();
    private readonly Thread _thread;
    private Action? _recover;

    /// <param name="recover">What the start could not do; null if it could.</param>
    public DiskTierUpkeep(DiskTierOptions options, DiskHealth health, DiskProbe probe, Scrubber scrubber, DiskReader reader, Action? recover, ILogger log)
    {
        (_options, _health, _probe, _scrubber, _reader, _recover, _log) = (options, health, probe, scrubber, reader, recover, log);
        _thread = new(Run) { IsBackground = true, Name = "disk tier upkeep", Priority = ThreadPriority.BelowNormal };
        _thread.Start();
    }

    public bool Stop()
    {
        _stop.Set();
        return _thread.Join(_options.StopWait);
    }

    public void Dispose()
    {
        // A thread that hangs still looks at the event when it comes back.
        if (Stop())
            _stop.Dispose();
    }

    private void Run()
    {
        var wait = _options.RetryInterval;
        while (!_stop.Wait(wait))
        {
            try
            {
                wait = Round();
            }
            catch (IOException)
            {
                wait = _options.RetryInterval;
            }
            catch (Exception e)
            {
                // As with the other threads: what is broken here must not end the process.
                LogUpkeepFailed(_log, e);
                wait = _options.RetryInterval;
            }
        }

        _scrubber.Leave();
    }

    private TimeSpan Round()
    {
        if (_recover is not null)
        {
            _recover();
            _recover = null;
            _health.Reads.TurnOn();
            _health.Writes.TurnOn();
        }

        if (!_health.Reads.IsOn || !_health.Writes.IsOn)
        {
            if (!_health.Reads.IsOn)
                _probe.ProbeReads();
            if (!_health.Writes.IsOn)
                _probe.ProbeWrites();
            return _options.RetryInterval;
        }

        if (_options.ScrubBytesPerSecond == 0 || _reader.InUse > 0)
            return _options.RetryInterval < Idle ? _options.RetryInterval : Idle;
        var read = _scrubber.Step();
        return read == 0 ? Idle : TimeSpan.FromSeconds((double)read / _options.ScrubBytesPerSecond);
    }

    [LoggerMessage(1054, LogLevel.Error, "The disk tier's upkeep failed")]
    private static partial void LogUpkeepFailed(ILogger logger, Exception exception);
}
