using Delivery.ObjectStore;
using Polly;
using Polly.Retry;

namespace Delivery.Transcoder.Jobs;

/// <summary>
/// The store as a job uses it: a call that failed in passing is made again at once, so that one lost answer does not cost an encode. What keeps failing is an outage, and the job's own matter.
/// </summary>
/// <remarks>
/// The stream of an opened object is not watched: whoever reads it knows how far it got. A write may have been committed though its answer was lost; made again, it then ends in
/// <see cref="StoreError.PreconditionFailed"/> where it must create, and its caller looks at what is there.
/// </remarks>
internal sealed class RetryingStore : IObjectStore
{
    /// <summary>Tries of one call: at 1 in 20 failing, one call in 160,000 fails an attempt.</summary>
    public const int MaxTries = 4;

    /// <summary>Before the second try, spread by chance; twice as long before each further one.</summary>
    public static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);

    private readonly IObjectStore _store;
    private readonly ResiliencePipeline _retry;

    /// <param name="store">Stays the caller's.</param>
    /// <param name="onRetry">Called before each further try.</param>
    /// <param name="time">Clock of the delays.</param>
    public RetryingStore(IObjectStore store, Action onRetry, TimeProvider time)
    {
        _store = store;
        _retry = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<StoreException>(error => error.CanRetry),
                MaxRetryAttempts = MaxTries - 1,
                Delay = RetryDelay,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                OnRetry = _ =>
                {
                    onRetry();
                    return default;
                },
            })
            .Build();
    }

    public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) =>
        _retry.ExecuteAsync(token => _store.FindAsync(key, token), cancellationToken);

    public ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) =>
        _retry.ExecuteAsync(token => _store.OpenReadAsync(key, range, token), cancellationToken);

    /// <inheritdoc/>
    /// <remarks>Content that cannot be read again from where it stands is written once.</remarks>
    public ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        if (!content.CanSeek)
            return _store.WriteAsync(key, content, write, cancellationToken);
        var start = content.Position;
        return _retry.ExecuteAsync(
            token =>
            {
                content.Position = start;
                return _store.WriteAsync(key, content, write, token);
            },
            cancellationToken);
    }

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) =>
        _retry.ExecuteAsync(token => _store.DeleteAsync(key, token), cancellationToken);

    public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => _store.ListAsync(prefix, startAfter, cancellationToken);

    /// <summary>Nothing: the store is its owner's.</summary>
    public void Dispose()
    {
    }
}
