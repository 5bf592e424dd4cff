using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Edge;
using Delivery.Edge.Limits;
using Delivery.Origin;
using Delivery.Transcoder;
using Delivery.Transcoder.Jobs.Rabbit;

namespace Delivery.Cli.Tests.Roles;

public sealed class RoleSettingsTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void File_GivesOptions_AndFlagsWin()
    {
        var file = _folder.File("c.json", """{ "edge": { "port": 1, "adminPort": 2, "absentTtl": "00:00:07", "allowedOrigins": ["https://a.example"], /* why */ } }""");

        var options = RoleSettings.Read<EdgeOptions>("edge", file, Flags(("Port", 3), ("Host", null)));

        Assert.Equal((3, 2, TimeSpan.FromSeconds(7), "*"), (options.Port, options.AdminPort, options.AbsentTtl, options.Host));
        Assert.Equal(["https://a.example"], options.AllowedOrigins);
    }

    [Fact]
    public void UnknownKey_IsNamed()
    {
        var file = _folder.File("c.json", """{"edge":{"hotTierByte":1}}""");

        var refusal = Assert.Throws<CliException>(() => RoleSettings.Read<EdgeOptions>("edge", file, []));

        Assert.Equal(ExitCode.Usage, refusal.ExitCode);
        Assert.Contains("hotTierByte", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("{\"edge\":{\"port\":\"many\"}}")]
    public void BrokenFile_IsAUsageError(string json)
    {
        var file = _folder.File("c.json", json);

        Assert.Equal(ExitCode.Usage, Assert.Throws<CliException>(() => RoleSettings.Read<EdgeOptions>("edge", file, [])).ExitCode);
    }

    [Fact]
    public void MissingFile_IsAnEnvironmentError() =>
        Assert.Equal(ExitCode.Environment, Assert.Throws<CliException>(() => RoleSettings.Read<EdgeOptions>("edge", Path.Combine(_folder.Path, "none"), [])).ExitCode);

    [Fact]
    public void Defaults_GiveWayToTheFile_AndGroupsAreRead()
    {
        var file = _folder.File("c.json", """{ "edge": { "absentTtl": "00:00:07", "limits": { "clientRequestsPerSecond": 5, "exemptNetworks": [] }, "certificates": [{ "hosts": ["a.example"], "certificatePath": "c", "keyPath": "k" }] } }""");

        var options = RoleSettings.Read<EdgeOptions>("edge", file, [], Flags(("AbsentTtl", "00:00:01"), ("UnreadyDelay", "00:00:05")));

        Assert.Equal((TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(5)), (options.AbsentTtl, options.UnreadyDelay));
        Assert.Equal((5, 50), (options.Limits.ClientRequestsPerSecond, options.Limits.SessionRequestsPerSecond));
        Assert.Empty(options.Limits.ExemptNetworks);
        Assert.Equal("a.example", Assert.Single(options.Certificates).Hosts[0]);
    }

    [Fact]
    public void EveryLimit_IsDocumented()
    {
        var page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "configuration.md"));

        Assert.All(typeof(LimitOptions).GetProperties(), property => Assert.Contains($"`Limits.{property.Name}`", page, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(typeof(EdgeOptions))]
    [InlineData(typeof(OriginOptions))]
    [InlineData(typeof(TranscoderOptions))]
    [InlineData(typeof(BrokerOptions))]
    public void EveryOption_IsDocumented(Type options)
    {
        var page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "configuration.md"));

        Assert.All(options.GetProperties().Where(property => property.CanWrite), property => Assert.Contains($"`{property.Name}`", page, StringComparison.Ordinal));
    }

    private static Dictionary<string, JsonNode?> Flags(params (string Key, JsonNode? Value)[] flags) => flags.ToDictionary(flag => flag.Key, flag => flag.Value);
}
