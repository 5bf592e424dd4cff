namespace Delivery.ObjectStore.Failover;

/// <summary>How long replication leaves the stores alone after failures in a row: 1 s, doubled each time up to 30 s, spread by chance. One for all keys, as it is the store that is away.</summary>
internal sealed class Backoff(TimeProvider time)
{
    public static readonly TimeSpan First = TimeSpan.FromSeconds(1);
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private TimeSpan _next = First;
    private TimeSpan _wait;
    private long _from;

    /// <summary>What is left to wait; zero or less when work may go on.</summary>
    public TimeSpan Left
    {
        get
        {
            lock (_gate)
                return _wait == TimeSpan.Zero ? TimeSpan.Zero : _wait - time.GetElapsedTime(_from);
        }
    }

    public void Failed()
    {
        lock (_gate)
        {
            // Several at once are one failure.
            if (_wait != TimeSpan.Zero && time.GetElapsedTime(_from) < _wait)
                return;
            _wait = _next * (0.75 + Random.Shared.NextDouble() / 2);
            _from = time.GetTimestamp();
            _next = _next * 2 < Longest ? _next * 2 : Longest;
        }
    }

    public void Succeeded()
    {
        lock (_gate)
            (_wait, _next) = (TimeSpan.Zero, First);
    }

    public async Task WaitAsync(CancellationToken cancellationToken)
    {
        while (Left is var left && left > TimeSpan.Zero)
        {
            // Task.Delay cuts to whole milliseconds, and would not wait at all for the last part of one.
            await Task.Delay(left + TimeSpan.FromMilliseconds(1), time, cancellationToken);
        }
    }
}
