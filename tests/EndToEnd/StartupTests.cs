using System.Net;
using System.Net.Sockets;

namespace Delivery.EndToEnd.Tests;

/// <summary>What keeps <c>delivery up</c> from starting is said in one clear line, with exit code 3, and nothing is damaged.</summary>
public sealed class StartupTests : IDisposable
{
    private const int EnvironmentExit = 3;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-start-");

    private string Data => Path.Combine(_folder.FullName, "data");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("--edge-port")]
    [InlineData("--origin-port")]
    public async Task PortAlreadyTaken_IsNamed(string flag)
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var other = flag == "--edge-port" ? "--origin-port" : "--edge-port";

        var (code, _, errors) = await DeliveryProcess.RunAsync("up", "--data", Data, flag, port, other, "0");

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains(port, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BrokenKeyRing_IsNamedAndKept()
    {
        Directory.CreateDirectory(Data);
        var ring = Path.Combine(Data, "keys.json");
        await File.WriteAllTextAsync(ring, """{"keys":{"k1":"not base64"},"signing":"k2"}""", TestContext.Current.CancellationToken);

        var (code, _, errors) = await UpAsync();

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains("keys.json", errors, StringComparison.Ordinal);
        Assert.Contains("k2", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
        Assert.Contains("not base64", await File.ReadAllTextAsync(ring, TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task UnusableDataFolder_IsNamed()
    {
        // A file where the folder should be: refused for every user, root included.
        await File.WriteAllTextAsync(Data, "", TestContext.Current.CancellationToken);

        var (code, _, errors) = await UpAsync();

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains(Data, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task UnusableStore_IsNamed()
    {
        Directory.CreateDirectory(Data);
        await File.WriteAllTextAsync(Path.Combine(Data, "store"), "", TestContext.Current.CancellationToken);

        var (code, _, errors) = await UpAsync();

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains("store", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DataFolderInUse_IsSaid()
    {
        await using var first = DeliveryProcess.Start("up", "--json", "--data", Data, "--edge-port", "0", "--origin-port", "0");
        await first.ReadJsonAsync(TimeSpan.FromSeconds(60));

        var (code, _, errors) = await UpAsync();

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains("in use", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MissingFfmpeg_NamesThePackage()
    {
        // Only dotnet is on the PATH.
        var tools = _folder.CreateSubdirectory("bin").FullName;

        var (code, _, errors) = await DeliveryProcess.RunAsync(
            new Dictionary<string, string?> { ["PATH"] = tools }, "up", "--data", Data, "--edge-port", "0", "--origin-port", "0");

        Assert.Equal(EnvironmentExit, code);
        Assert.Contains("ffmpeg", errors, StringComparison.Ordinal);
        Assert.Contains("install", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Terminate_EndsWellAndTakesUpFileAway()
    {
        await using var stack = DeliveryProcess.Start("up", "--json", "--data", Data, "--edge-port", "0", "--origin-port", "0");
        await stack.ReadJsonAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(Data, "up.json")));

        stack.Terminate();

        Assert.Equal(0, await stack.WaitForExitAsync(TimeSpan.FromSeconds(30)));
        Assert.False(File.Exists(Path.Combine(Data, "up.json")));
    }

    private Task<(int ExitCode, string Output, string Errors)> UpAsync() => DeliveryProcess.RunAsync("up", "--data", Data, "--edge-port", "0", "--origin-port", "0");
}
