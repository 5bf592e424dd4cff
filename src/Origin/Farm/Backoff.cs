namespace Delivery.Origin.Farm;

/// <summary>Waits between tries of something that must succeed in the end: 0.5 s doubling to 30 s, less up to a quarter so that nodes spread out.</summary>
internal sealed class Backoff(TimeProvider time)
{
    public static readonly TimeSpan First = TimeSpan.FromMilliseconds(500);
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    private TimeSpan _next = First;

    public async Task WaitAsync(CancellationToken cancellationToken)
    {
        var wait = _next * (1 - (Random.Shared.NextDouble() / 4));
        _next = _next * 2 < Longest ? _next * 2 : Longest;
        await Task.Delay(wait, time, cancellationToken);
    }
}
