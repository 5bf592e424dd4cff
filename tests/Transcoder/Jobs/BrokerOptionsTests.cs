using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class BrokerOptionsTests
{
    [Fact]
    public void EverythingThatIsWrong_IsSaidAtOnce_WithoutThePassword()
    {
        var options = new BrokerOptions
        {
            Url = "http://user:hunter2@host",
            AuthoritiesPath = "/nowhere.pem",
            Prefix = "a.b",
            MaxQueued = 0,
            DeliveryLimit = 101,
            OperationTimeout = TimeSpan.Zero,
            DelayLevels = [TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(1)],
            MinPollInterval = TimeSpan.FromHours(2),
            MaxPollInterval = TimeSpan.FromHours(1),
        };
        var error = Assert.Throws<OptionsValidationException>(() => JobQueues.Open(options, NullLoggerFactory.Instance, TimeProvider.System));
        Assert.Equal(
            ["Url", "AuthoritiesPath", "Prefix", "MaxQueued", "DeliveryLimit", "OperationTimeout", "DelayLevels", "MinPollInterval", "MaxPollInterval"],
            error.Failures.Select(f => f["Broker:".Length..f.IndexOf(' ', StringComparison.Ordinal)]));
        Assert.DoesNotContain("hunter2", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("amqp://user:hunter2@host", "amqp://host:5672/")]
    [InlineData("amqps://user:hunter2@host/", "amqps://host:5671/")]
    [InlineData("amqp://us%40er:hunter2%2F@host:1234/a%2Fb", "amqp://host:1234/a/b")]
    public void Url_IsShownWithoutUserAndPassword(string url, string shown)
    {
        var options = new BrokerOptions { Url = url };
        Assert.Empty(options.Validate());
        Assert.Contains(shown, $"{options}", StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", $"{options}", StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("host")]
    [InlineData("amqp://host")]
    [InlineData("amqp://user@host")]
    [InlineData("amqp://:password@host")]
    [InlineData("amqp://user:password@host/a/b")]
    [InlineData("amqp://user:password@host/?heartbeat=1")]
    public void Url_ThatNamesNoBroker_IsRefused(string url) => Assert.Single(new BrokerOptions { Url = url }.Validate());

    [Fact]
    public async Task WithoutABroker_TheQueueIsInProcess()
    {
        await using var queue = JobQueues.Open(null, NullLoggerFactory.Instance, TimeProvider.System);
        Assert.False(queue.OutlivesProcess);
    }
}
