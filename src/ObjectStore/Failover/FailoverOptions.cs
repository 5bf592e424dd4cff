namespace Delivery.ObjectStore.Failover;

/// <summary>The bounds of a <see cref="FailoverStore"/>.</summary>
public sealed record FailoverOptions
{
    /// <summary>
    /// A primary that has not answered a read by then counts as failing, and the secondary is asked beside it. Default 2 s: a healthy cloud answers in under 0.2 s, and a listener waits no longer.
    /// </summary>
    public TimeSpan FirstByteTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>A read that neither store has answered by then is <see cref="StoreError.Unavailable"/>. Default 15 s, the drivers' own.</summary>
    public TimeSpan AnswerTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Between two pieces of a body; then the store counts as failing, and a body that cannot change goes on from the other one. Default 5 s: a player has as much buffered.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Ask the secondary beside the primary for what cannot change once the primary takes longer than 95 in 100 of its answers, within a tenth of the reads. Default on.</summary>
    public bool Hedging { get; init; } = true;

    /// <summary>
    /// A write that takes longer is cancelled: <see cref="StoreError.Unavailable"/>. Only so can a marker whose writer was killed ever be deleted (docs/formats/replication.md). Default 1 h:
    /// a master of 4 GB at 10 Mbit/s.
    /// </summary>
    public TimeSpan MaxWriteTime { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Also replicate what other processes left, fence and settle a store that was demoted, and keep the mark of how far replication is. On in origins. Default off.</summary>
    public bool Sweeps { get; init; }

    /// <summary>Copies to the secondary at once. 1 to 64. Default 4.</summary>
    public int Copies
    {
        get;
        init => field = value is >= 1 and <= 64 ? value : throw new ArgumentOutOfRangeException(nameof(value), value, "1 to 64.");
    } = 4;

    /// <summary>Who this is, in role records and marks. Default: the machine's name.</summary>
    public string By { get; init; } = Environment.MachineName;
}
