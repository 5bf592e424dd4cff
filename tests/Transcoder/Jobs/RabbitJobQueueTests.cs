using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

[Collection(nameof(SharedBroker))]
public sealed class RabbitJobQueueTests(SharedBroker shared) : JobQueueConformance, IAsyncDisposable
{
    private readonly RabbitFarm _farm = new(shared.Broker);

    protected override DateTimeOffset Now => DateTimeOffset.UtcNow;

    protected override Task<IJobQueue> CreateQueueAsync() => Task.FromResult<IJobQueue>(_farm.Open());

    /// <summary>The broker's clock cannot be moved: whoever receives next waits as long as it takes.</summary>
    protected override Task PassAsync(TimeSpan delay) => Task.CompletedTask;

    public ValueTask DisposeAsync() => _farm.DisposeAsync();
}
