using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Cli.Tests.CommandLine;
using Delivery.Origin;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder.Jobs.Rabbit;

namespace Delivery.Cli.Tests.Roles;

public sealed class FarmRolesTests : IDisposable
{
    private const string Broker = "amqp://guest:secret-word@127.0.0.1:1/";

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("transcoder")]
    [InlineData("origin")]
    public async Task WithoutABroker_IsAUsageError_ThatSaysWhy(string role)
    {
        var (code, _, errors) = await Runs.RunAsync(role, "--store", _folder.Path);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("no broker is named: give --broker URL, set DELIVERY_BROKER", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("transcoder")]
    [InlineData("origin")]
    public async Task WithoutAStore_IsAUsageError(string role)
    {
        var (code, _, errors) = await Runs.RunAsync(role, "--broker", Broker);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("no store is named", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://guest:secret-word@127.0.0.1/")]
    [InlineData("amqp://guest:secret-word@127.0.0.1/a/b")]
    public async Task BrokerThatIsNone_IsAUsageError_WithoutItsPassword(string url)
    {
        var (code, _, errors) = await Runs.RunAsync("transcoder", "--store", _folder.Path, "--broker", url);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("Broker:Url", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("secret-word", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WrongOptions_AreAllNamed()
    {
        var config = _folder.File("c.json", """{ "transcoder": { "maxAttempts": 99, "reportInterval": "01:00:00" } }""");

        var (code, _, errors) = await Runs.RunAsync("transcoder", "--config", config, "--slots", "0", "--store", _folder.Path, "--broker", Broker);

        Assert.Equal(ExitCode.Usage, code);
        Assert.All(["Slots", "MaxAttempts", "ReportInterval"], key => Assert.Contains($"Transcoder:{key}", errors, StringComparison.Ordinal));
    }

    [Fact]
    public async Task UpWithoutAWorker_NeedsABroker()
    {
        var (code, _, errors) = await Runs.RunAsync("up", "--no-transcoder", "--data", _folder.Path);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("--broker", errors, StringComparison.Ordinal);
    }

    [Fact]
    public void ApiKeys_AndBroker_AreReadFromTheFile()
    {
        var config = _folder.File("c.json", $$"""
            {
              "origin": { "apiKeys": [{ "name": "ops", "roles": ["operate", "ingest"], "sha256": "{{new string('a', 64)}}" }] },
              "broker": { "url": "{{Broker}}", "prefix": "eu", "delayLevels": ["00:00:01", "00:01:00"] }
            }
            """);

        var key = Assert.Single(RoleSettings.Read<OriginOptions>("origin", config, []).ApiKeys);
        var broker = RoleSettings.Read<BrokerOptions>("broker", config, []);

        Assert.Equal([ApiRole.Operate, ApiRole.Ingest], key.Roles);
        Assert.Equal((Broker, "eu", 2), (broker.Url, broker.Prefix, broker.DelayLevels.Count));
        Assert.Empty(broker.Validate());
    }
}
