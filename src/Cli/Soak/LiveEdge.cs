namespace Delivery.Cli.Soak;

/// <summary>The edge that may be asked now. Between a kill and the end of a restart's checks there is none, and who wants one waits.</summary>
internal sealed class LiveEdge
{
    private TaskCompletionSource<EdgeLife> _current = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The edge, or null while there is none.</summary>
    public EdgeLife? Now => Volatile.Read(ref _current).Task is { IsCompletedSuccessfully: true } current ? current.Result : null;

    public Task<EdgeLife> WaitAsync(CancellationToken cancellationToken) => Volatile.Read(ref _current).Task.WaitAsync(cancellationToken);

    public void Open(EdgeLife life) => Volatile.Read(ref _current).SetResult(life);

    public void Close() => Volatile.Write(ref _current, new(TaskCreationOptions.RunContinuationsAsynchronously));
}
