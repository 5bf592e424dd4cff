namespace Delivery.ObjectStore;

/// <summary>The bounds of a driver that reaches its store over a network. At each of them a call ends in <see cref="StoreError.Unavailable"/>.</summary>
public sealed record StoreClientOptions
{
    /// <summary>Until a connection stands, name look-up and TLS included. Default 3 s: three lost SYNs.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>From the request's last byte to the answer's headers. Default 15 s: S3's slowest commits of large uploads are keep-alives in the body, not headers.</summary>
    public TimeSpan FirstByteTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Between two pieces of a body, in either direction. Default 15 s.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// Further tries of a call that failed without having told its caller anything: with <see cref="StoreError.Unavailable"/>, before the first byte of a read, and for what is idempotent.
    /// 0 to 10. Default 3. Where another store can be asked instead, none.
    /// </summary>
    public int Retries { get; init; } = 3;

    /// <summary>Before the first further try; twice as long before each after it, spread by chance. Default 100 ms.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Connections to the store's host; further calls wait for one. Default 256.</summary>
    public int MaxConnections { get; init; } = 256;
}
