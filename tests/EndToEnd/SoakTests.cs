using System.Text.Json;

namespace Delivery.EndToEnd.Tests;

/// <summary>The soak as an operator runs it, short: an edge that is killed under load five times. Alone, as it takes every core there is.</summary>
[Collection(nameof(SoakTests))]
public sealed class SoakTests : IDisposable
{
    private const int Seed = 20_261_121;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-soak-test-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task FiveKillsUnderLoad_CostNoByte()
    {
        var (code, output, errors) = await DeliveryProcess.RunAsync(
            "soak", "--json", "--minutes", "0.45", "--kills", "5", "--seed", $"{Seed}", "--ram", $"{64 << 20}", "--disk", $"{128 << 20}", "--folder", _folder.FullName);

        Assert.True(code == 0, $"seed {Seed}: exit code {code}\n{output}\n{errors}");
        var report = JsonSerializer.Deserialize<JsonElement>(output);
        Assert.Equal("good", report.GetProperty("verdict").GetString());
        Assert.Equal(5, report.GetProperty("kills").GetInt32());
        Assert.Equal(0, report.GetProperty("wrongBytes").GetInt64());
        Assert.Equal(0, report.GetProperty("staleVersions").GetInt64());
        Assert.True(report.GetProperty("purgesAcknowledged").GetInt64() > 5, output);
        Assert.True(report.GetProperty("restarts").GetProperty("answeredWithoutStore").GetInt32() > 0, output);
        Assert.Equal(0, report.GetProperty("leftovers").GetInt32());
        Assert.True(report.GetProperty("requests").GetInt64() > 1_000, output);
        // A good run takes its folder away.
        Assert.Empty(_folder.EnumerateFileSystemInfos());
    }

    [Fact]
    public async Task Interrupt_EndsWithTheReport_AndLeavesNoProcess()
    {
        await using var soak = DeliveryProcess.Start(
            "soak", "--json", "--minutes", "5", "--kills", "0", "--seed", "1", "--ram", $"{64 << 20}", "--disk", $"{128 << 20}", "--folder", _folder.FullName);
        await UntilEdgeServesAsync(soak);

        soak.Interrupt();

        var report = await soak.ReadJsonAsync(TimeSpan.FromSeconds(60));
        Assert.True(report.GetProperty("interrupted").GetBoolean());
        Assert.Equal("good", report.GetProperty("verdict").GetString());
        Assert.Equal(0, report.GetProperty("leftovers").GetInt32());
        Assert.Equal(130, await soak.WaitForExitAsync(TimeSpan.FromSeconds(30)));
        Assert.Empty(_folder.EnumerateFileSystemInfos());
    }

    [Fact]
    public async Task KilledSoak_TakesItsEdgeAlong()
    {
        await using var soak = DeliveryProcess.Start(
            "soak", "--minutes", "5", "--kills", "0", "--seed", "2", "--ram", $"{64 << 20}", "--disk", $"{128 << 20}", "--folder", _folder.FullName);
        await UntilEdgeServesAsync(soak);

        soak.Kill();
        await soak.WaitForExitAsync(TimeSpan.FromSeconds(30));

        for (var started = Environment.TickCount64; EdgesBelow(_folder.FullName) > 0; await Task.Delay(10))
            Assert.True(Environment.TickCount64 - started < 10_000, "the edge outlived the soak that started it");
    }

    private async Task UntilEdgeServesAsync(DeliveryProcess soak)
    {
        for (var started = Environment.TickCount64; EdgesBelow(_folder.FullName) == 0; await Task.Delay(10))
            Assert.True(Environment.TickCount64 - started < 60_000, $"the soak started no edge\n{soak.Errors}");
    }

    /// <summary>Processes whose working folder lies in a folder.</summary>
    private static int EdgesBelow(string folder) => Directory.EnumerateDirectories("/proc").Count(process =>
    {
        try
        {
            return char.IsAsciiDigit(Path.GetFileName(process)[0]) && new DirectoryInfo($"{process}/cwd").LinkTarget?.StartsWith(folder, StringComparison.Ordinal) == true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    });
}

[CollectionDefinition(nameof(SoakTests), DisableParallelization = true)]
public sealed class SoakCollection;
