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
}
