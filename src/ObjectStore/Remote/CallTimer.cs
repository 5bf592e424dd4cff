namespace Delivery.ObjectStore.Remote;

/// <summary>
/// The time-outs of one call to a server: a token that is cancelled with the caller's, or when nothing has happened for as long as was allowed last. Each sign of life allows anew, so an upload takes as long as it takes.
/// </summary>
internal sealed class CallTimer : IDisposable
{
    private readonly CancellationToken _caller;
    private readonly CancellationTokenSource _source;
    private TimeSpan _allowed = Timeout.InfiniteTimeSpan;

    /// <summary>Nothing is bounded until <see cref="Allow"/> is called.</summary>
    public CallTimer(CancellationToken caller) => (_caller, _source) = (caller, CancellationTokenSource.CreateLinkedTokenSource(caller));

    public CancellationToken Token => _source.Token;

    /// <summary>The token was cancelled by the clock and not by the caller.</summary>
    public bool HasExpired => _source.IsCancellationRequested && !_caller.IsCancellationRequested;

    /// <summary>From now on.</summary>
    public void Allow(TimeSpan time)
    {
        _allowed = time;
        _source.CancelAfter(time);
    }

    /// <summary>While it is not the server that is waited for.</summary>
    public void Pause() => _source.CancelAfter(Timeout.InfiniteTimeSpan);

    /// <summary>What a failed call was: a cancellation of the caller's stays one, a time-out and a failure of the connection are <see cref="StoreError.Unavailable"/>; null when it is neither.</summary>
    /// <param name="action">After "Could not".</param>
    public StoreException? Failure(string action, Exception e) => e switch
    {
        OperationCanceledException when _caller.IsCancellationRequested => null,
        OperationCanceledException or TimeoutException when HasExpired => new(StoreError.Unavailable, $"Could not {action}: the server was silent for {_allowed.TotalSeconds:0.#} s.", e),
        // HttpClient reports its connect time-out as a cancellation too.
        OperationCanceledException or TimeoutException => new(StoreError.Unavailable, $"Could not {action}: no connection in time.", e),
        HttpRequestException or IOException or System.Net.Sockets.SocketException or ObjectDisposedException => new(StoreError.Unavailable, $"Could not {action}: {e.Message}", e),
        _ => null,
    };

    public void Dispose() => _source.Dispose();
}
