using Polly;
using Polly.Retry;

namespace Delivery.ObjectStore.Remote;

/// <summary>The one layer that tries a call again (<see cref="StoreClientOptions.Retries"/>): what is under it fails once and at once.</summary>
internal static class StoreRetry
{
    /// <summary>Bound of the growing delay.</summary>
    private static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(5);

    public static ResiliencePipeline Of(StoreClientOptions options) => options.Retries == 0
        ? ResiliencePipeline.Empty
        : new ResiliencePipelineBuilder()
            .AddRetry(new RetryStrategyOptions
            {
                ShouldHandle = new PredicateBuilder().Handle<StoreException>(e => e.CanRetry),
                MaxRetryAttempts = options.Retries,
                Delay = options.RetryDelay,
                MaxDelay = MaxDelay,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
            })
            .Build();
}
