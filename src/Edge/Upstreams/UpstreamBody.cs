using Delivery.Edge.Fills;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;

namespace Delivery.Edge.Upstreams;

/// <summary>
/// The body of an answer on its way: watches that bytes keep coming and that as many come as were promised, and tells the link how it ended, once.
/// </summary>
internal sealed class UpstreamBody : ForwardStream
{
    private readonly UpstreamRead _read;
    private readonly UpstreamLink _link;
    private readonly BreakerPass _pass;
    private readonly TimeSpan _idleTimeout;
    private readonly CancellationTokenSource _idle;
    private long _left;
    private int _ended;
    private int _disposed;

    public UpstreamBody(UpstreamRead read, UpstreamLink link, BreakerPass pass, TimeSpan idleTimeout, TimeProvider time)
    {
        (_read, _link, _pass, _idleTimeout, _left) = (read, link, pass, idleTimeout, read.Length);
        // CancelAfter on a source that was made with a TimeProvider goes by that provider's clock.
        _idle = new(Timeout.InfiniteTimeSpan, time);
    }

    /// <summary>The first who knows how it ended says so; later ones are not heard.</summary>
    public void End(FillOutcome outcome, string failure = "")
    {
        if (Interlocked.Exchange(ref _ended, 1) == 0)
            _link.End(_pass, outcome, failure);
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int count;
        try
        {
            _idle.CancelAfter(_idleTimeout);
            using var stop = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _idle);
            count = await _read.Content.ReadAsync(buffer, _idle.Token);
            _idle.CancelAfter(Timeout.InfiniteTimeSpan);
        }
        catch (Exception exception)
        {
            // The caller's own deadline is the caller's to judge.
            cancellationToken.ThrowIfCancellationRequested();
            var failure = exception is OperationCanceledException && _idle.IsCancellationRequested
                ? new UpstreamException(FillOutcome.TimedOut, _link.Name, $"It sent no byte for {_idleTimeout.TotalSeconds} s.", exception)
                : UpstreamSet.FailureOf(exception, _link.Name);
            End(failure.Outcome, failure.Message);
            if (failure == exception)
                throw;
            throw failure;
        }

        // The reader makes of both what it must; here they are counted.
        if (count == 0 && buffer.Length > 0)
            End(_left > 0 ? FillOutcome.Truncated : FillOutcome.Completed, _left > 0 ? $"It ended {_left} bytes early." : "");
        else if ((_left -= count) < 0)
            End(FillOutcome.Contradictory, "It sent more than it had promised.");
        return count;
    }

    public override async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        End(_left == 0 ? FillOutcome.Completed : FillOutcome.Running);
        _idle.Dispose();
        await _read.DisposeAsync();
        await base.DisposeAsync();
    }
}
