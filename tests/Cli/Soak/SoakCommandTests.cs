using Delivery.Cli.CommandLine;
using Delivery.Cli.Tests.CommandLine;

namespace Delivery.Cli.Tests.Soak;

public sealed class SoakCommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("--minutes", "0")]
    [InlineData("--minutes", "-1")]
    [InlineData("--minutes", "NaN")]
    [InlineData("--minutes", "soon")]
    [InlineData("--kills", "-1")]
    [InlineData("--kills", "61", "--minutes", "1")]
    [InlineData("--ram", "67108863")]
    [InlineData("--disk", "1")]
    [InlineData("--connections", "0")]
    [InlineData("--seed", "-1")]
    [InlineData("--unknown")]
    public async Task WrongArgument_IsExitCode2_NamesIt_AndLeavesNothing(params string[] arguments)
    {
        var (code, output, errors) = await Runs.RunAsync(["soak", "--folder", _folder.Path, .. arguments]);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains(arguments[0], errors, StringComparison.Ordinal);
        Assert.DoesNotContain("verdict", output, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public async Task FolderThatIsAFile_IsExitCode3_AndNamed()
    {
        var file = _folder.File("file");

        var (code, _, errors) = await Runs.RunAsync("soak", "--folder", file);

        Assert.Equal(ExitCode.Environment, code);
        Assert.Contains(file, errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DiskThatIsTooSmall_IsExitCode3_AndLeavesNothing()
    {
        var (code, _, errors) = await Runs.RunAsync("soak", "--folder", _folder.Path, "--disk", (16L << 40).ToString(System.Globalization.CultureInfo.InvariantCulture));

        Assert.Equal(ExitCode.Environment, code);
        Assert.Contains("free", errors, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }
}
