using Delivery.Cli.CommandLine;
using Delivery.Cli.Tests.CommandLine;

namespace Delivery.Cli.Tests.Transcode;

public class TranscodeCommandTests
{
    [Fact]
    public async Task WrongLadderFile_IsRefused_WithEveryFault_BeforeAnyOriginIsAsked()
    {
        using var folder = new TempFolder();
        var file = Path.Combine(folder.Path, "l.json");
        await File.WriteAllTextAsync(file, """{"format":1,"name":"Radio","rungs":[{"quality":"best","codec":"Vorbis","bitrate":96000}]}""", TestContext.Current.CancellationToken);
        var (code, _, errors) = await Runs.RunAsync("transcode", "ladder", "add", file, "--origin", "http://127.0.0.1:1", "--api-key", "x");
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("name is 'Radio'", errors, StringComparison.Ordinal);
        Assert.Contains("rungs[0].quality is 'best'", errors, StringComparison.Ordinal);
        (code, _, errors) = await Runs.RunAsync("transcode", "ladder", "add", Path.Combine(folder.Path, "none.json"));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("none.json", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Orphans_AreListed_AndDeletedWhenToldSo()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(Path.Combine(folder.Path, "audio"));
        var file = Path.Combine(folder.Path, "audio", new string('0', 40) + ".ogg");
        await File.WriteAllTextAsync(file, "torn", TestContext.Current.CancellationToken);
        File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddDays(-2));
        var (code, output, _) = await Runs.RunAsync("transcode", "orphans", "--store", folder.Path, "--json");
        Assert.Equal(ExitCode.Failed, code);
        Assert.Contains("\"deleted\":false", output, StringComparison.Ordinal);
        Assert.True(File.Exists(file));
        (code, output, _) = await Runs.RunAsync("transcode", "orphans", "--store", folder.Path, "--delete");
        Assert.Equal(ExitCode.Ok, code);
        Assert.Contains("1 deleted", output, StringComparison.Ordinal);
        Assert.False(File.Exists(file));
        (code, _, var errors) = await Runs.RunAsync("transcode", "orphans", "--store", folder.Path, "--older-than", "10m");
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("1h", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ladder_IsAddedShownAndBackfilled_AgainstARealOrigin()
    {
        using var folder = new TempFolder();
        var keyRing = folder.File("keys.json", Delivery.TokenAuth.KeyRing.Generate().ToJson());
        var (secret, sha256) = Origin.ApiKeys.ApiKey.Generate();
        using var store = Delivery.ObjectStore.FileStore.Open(Path.Combine(folder.Path, "store"));
        await using var queue = new Delivery.Transcoder.Jobs.InProcessJobQueue();
        await using var origin = await Origin.OriginNode.StartAsync(
            new Origin.OriginOptions { Port = 0, AdminPort = 0, KeyRingPath = keyRing, ApiKeys = [new() { Name = "ops", Roles = [Origin.ApiKeys.ApiRole.Operate], Sha256 = sha256 }] },
            store, queue, Microsoft.Extensions.Logging.Abstractions.NullLoggerFactory.Instance, TimeProvider.System, TestContext.Current.CancellationToken);
        var file = folder.File("radio.json", """{"format":1,"name":"radio-1","rungs":[{"quality":"normal","codec":"Vorbis","bitrate":96000}]}""");

        Assert.Contains("radio-1 is there", await OkAsync("ladder", "add", file), StringComparison.Ordinal);
        Assert.Contains("\"Vorbis\"", await OkAsync("ladder", "show", "radio-1"), StringComparison.Ordinal);
        Assert.Contains("radio-1", await OkAsync("ladders"), StringComparison.Ordinal);
        Assert.Contains("\"state\":\"done\"", await OkAsync("backfill", "--ladder", "radio-1", "--watch", "--json"), StringComparison.Ordinal);
        Assert.Contains("radio-1", await OkAsync("backfills"), StringComparison.Ordinal);
        var (code, _, errors) = await AskAsync("backfill", "--ladder", "none-1");
        Assert.Equal(ExitCode.Refused, code);
        Assert.Contains("there is no ladder 'none-1'", errors, StringComparison.Ordinal);

        async Task<string> OkAsync(params string[] arguments)
        {
            var (code, output, errors) = await AskAsync(arguments);
            Assert.True(code == ExitCode.Ok, errors);
            return output;
        }

        Task<(int ExitCode, string Output, string Errors)> AskAsync(params string[] arguments) =>
            Runs.RunAsync(["transcode", .. arguments, "--origin", origin.Address.ToString(), "--api-key", secret]);
    }
}
