using Delivery.Edge.Fills;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>The upstreams of a node in their order of failover: who asks here gets an answer that was checked, or one <see cref="UpstreamException"/> that says what went wrong.</summary>
internal sealed class UpstreamSet(IReadOnlyList<IUpstream> upstreams, EdgeOptions options, TimeProvider time)
{
    /// <summary>Reads an object's metadata; null when there is no such object.</summary>
    /// <exception cref="UpstreamException">No upstream answers.</exception>
    public ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken) =>
        AskAsync((upstream, token) => upstream.FindAsync(query, token), cancellationToken);

    /// <summary>Opens a part of an object, checked against what was asked; null when there is no such object.</summary>
    /// <exception cref="UpstreamException">No upstream answers, or none with what was asked.</exception>
    public ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken) =>
        AskAsync(
            async (upstream, token) =>
            {
                var read = await upstream.OpenAsync(query, range, token);
                if (read is null || (read.Offset == range.Offset && read.Length == Math.Min(range.Length, read.Object.Info.Length - range.Offset) && read.Length > 0))
                    return read;
                await read.DisposeAsync();
                throw new UpstreamException(FillOutcome.Contradictory, upstream.Name, "It sent another range than it was asked for.");
            },
            cancellationToken);

    private async ValueTask<T?> AskAsync<T>(Func<IUpstream, CancellationToken, ValueTask<T?>> ask, CancellationToken cancellationToken)
        where T : class
    {
        UpstreamException? failure = null;
        foreach (var upstream in upstreams)
        {
            // CancelAfter on a source that was made with a TimeProvider goes by that provider's clock; a linked source would not.
            using var deadline = new CancellationTokenSource(options.UpstreamFirstByteTimeout, time);
            using var stop = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
            try
            {
                return await ask(upstream, deadline.Token);
            }
            catch (Exception exception)
            {
                cancellationToken.ThrowIfCancellationRequested();
                failure ??= exception as UpstreamException ?? new(OutcomeOf(exception), upstream.Name, exception.Message, exception);
            }
        }

        throw failure!;
    }

    /// <summary>An upstream's failure as a fill's outcome.</summary>
    public static FillOutcome OutcomeOf(Exception exception) => exception switch
    {
        UpstreamException known => known.Outcome,
        OperationCanceledException => FillOutcome.TimedOut,
        StoreException { Error: StoreError.RangeNotSatisfiable } => FillOutcome.PastEnd,
        StoreException { Error: StoreError.Denied or StoreError.Misconfigured } => FillOutcome.Denied,
        StoreException { Error: StoreError.Corrupt } => FillOutcome.Contradictory,
        _ => FillOutcome.Unavailable,
    };
}
