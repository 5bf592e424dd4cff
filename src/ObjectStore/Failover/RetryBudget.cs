namespace Delivery.ObjectStore.Failover;

/// <summary>
/// What retries and hedges of a node may cost: a tenth of its requests, and a small burst. An upstream that is down is then not asked three times as often as one that is up.
/// At the bound there is neither retry nor hedge; failover to another upstream is no retry and is free.
/// </summary>
public sealed class RetryBudget
{
    /// <summary>Requests that pay for one retry or hedge.</summary>
    public const int RequestsPerToken = 10;

    /// <summary>Tokens at most, and at the start: a few failures after a quiet night can be retried.</summary>
    public const int MaxTokens = 10;

    private int _tenths = MaxTokens * RequestsPerToken;
    private long _refused;

    /// <summary>Retries and hedges that were not made.</summary>
    public long Refused => Volatile.Read(ref _refused);

    public void Earn()
    {
        for (var now = Volatile.Read(ref _tenths); now < MaxTokens * RequestsPerToken;)
        {
            var before = Interlocked.CompareExchange(ref _tenths, now + 1, now);
            if (before == now)
                return;
            now = before;
        }
    }

    public bool TrySpend()
    {
        for (var now = Volatile.Read(ref _tenths); now >= RequestsPerToken;)
        {
            var before = Interlocked.CompareExchange(ref _tenths, now - RequestsPerToken, now);
            if (before == now)
                return true;
            now = before;
        }

        Interlocked.Increment(ref _refused);
        return false;
    }
}
