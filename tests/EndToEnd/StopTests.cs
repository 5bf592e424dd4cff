using System.Diagnostics;
using System.Net;

namespace Delivery.EndToEnd.Tests;

/// <summary>How <c>delivery edge</c> ends: what a service manager and its balancer see.</summary>
public sealed class StopTests : IDisposable
{
    // The shell's codes for a process that a signal ended.
    private const int TerminatedExit = 128 + 15;
    private const int InterruptedExit = 128 + 2;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-stop-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Terminate_IsUnreadyForItsDelay_ServesMeanwhile_EndsWell()
    {
        var (edge, address, admin) = await StartAsync("00:00:02");
        await using var process = edge;
        using var client = new HttpClient();
        using (var ready = await client.GetAsync(new Uri(admin, "/readyz"), TestContext.Current.CancellationToken))
            Assert.Equal(HttpStatusCode.OK, ready.StatusCode);
        var asked = Stopwatch.StartNew();
        edge.Terminate();
        await UntilUnreadyAsync(client, admin);
        using (var served = await client.GetAsync(new Uri(address, "/audio/x.ogg"), TestContext.Current.CancellationToken))
            Assert.Equal(HttpStatusCode.Forbidden, served.StatusCode);
        Assert.Equal(0, await edge.WaitForExitAsync(TimeSpan.FromSeconds(30)));
        Assert.InRange(asked.Elapsed, TimeSpan.FromSeconds(1.9), TimeSpan.FromSeconds(30));
    }

    [Theory]
    [InlineData(true, TerminatedExit)]
    [InlineData(false, InterruptedExit)]
    public async Task SecondSignal_EndsAtOnce(bool terminate, int code)
    {
        var (edge, _, admin) = await StartAsync("00:05:00");
        await using var process = edge;
        using var client = new HttpClient();
        edge.Interrupt();
        await UntilUnreadyAsync(client, admin);
        if (terminate)
            edge.Terminate();
        else
            edge.Interrupt();
        Assert.Equal(code, await edge.WaitForExitAsync(TimeSpan.FromSeconds(30)));
    }

    private async Task<(DeliveryProcess Process, Uri Address, Uri Admin)> StartAsync(string unreadyDelay)
    {
        var keys = Path.Combine(_folder.FullName, "keys.json");
        var (code, _, errors) = await DeliveryProcess.RunAsync("keys", "new", keys);
        Assert.True(code == 0, errors);
        var environment = new Dictionary<string, string?> { ["DELIVERY_EDGE_UNREADY_DELAY"] = unreadyDelay, ["DELIVERY_EDGE_HOT_TIER_BYTES"] = $"{64 << 20}" };
        var process = DeliveryProcess.Start(environment, "edge", "--json", "--store", Path.Combine(_folder.FullName, "store"), "--keys", keys, "--host", "127.0.0.1", "--port", "0", "--admin-port", "0");
        var line = await process.ReadJsonAsync(TimeSpan.FromSeconds(60));
        return (process, new(line.GetProperty("edge").GetString()!), new(line.GetProperty("edgeAdmin").GetString()!));
    }

    private static async Task UntilUnreadyAsync(HttpClient client, Uri admin)
    {
        for (var waited = Stopwatch.StartNew(); ; await Task.Delay(20, TestContext.Current.CancellationToken))
        {
            using var ready = await client.GetAsync(new Uri(admin, "/readyz"), TestContext.Current.CancellationToken);
            if (ready.StatusCode == HttpStatusCode.ServiceUnavailable)
                return;
            Assert.True(waited.Elapsed < TimeSpan.FromSeconds(20), "Still ready.");
        }
    }
}
