using System.Net;
using System.Net.Sockets;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Tests.Cage;

public sealed class ToolCageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
    private readonly ToolSet _tools = ToolSet.Find();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Environment_IsEmptyButForTwo_AndNoInputIsInherited()
    {
        Environment.SetEnvironmentVariable("DELIVERY_TEST_SECRET", "s3cret");
        var lines = new List<string>();
        var outcome = await RunAsync("/bin/sh", ["-c", "/usr/bin/env; cat"], lines);
        Assert.True(outcome.Succeeded);
        Assert.Equal(["LC_ALL", "PWD", "TMPDIR"], lines.Select(l => l.Split('=')[0]).Where(n => n is not "_" and not "SHLVL").Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Network_IsOutOfReach()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        string[] connect = ["-c", $"exec 3<>/dev/tcp/127.0.0.1/{((IPEndPoint)listener.LocalEndpoint).Port}"];
        // The control: without namespaces the same command connects.
        Assert.True((await RunAsync("/bin/bash", connect, isolation: NetworkIsolation.None)).Succeeded);
        var isolation = await NetworkIsolationProbe.ProbeAsync(_tools, default);
        Assert.NotEqual(NetworkIsolation.None, isolation);
        Assert.False((await RunAsync("/bin/bash", connect, isolation: isolation)).Succeeded);
    }

    [Fact]
    public async Task TooLong_IsTerminated()
    {
        var outcome = await RunAsync("/bin/sleep", ["60"], timeLimit: 0.3);
        Assert.Equal(ToolEnd.TimeLimit, outcome.End);
        Assert.Empty(Until.ProcessesIn(_folder));
    }

    [Fact]
    public async Task DeafToSigterm_IsKilledAfterTheGrace()
    {
        var outcome = await RunAsync("/bin/bash", ["-c", "trap '' TERM; while :; do read -t 0.01 x <> <(:); done"], timeLimit: 0.5);
        Assert.Equal((ToolEnd.TimeLimit, 128 + 9), (outcome.End, outcome.ExitCode));
        Assert.Empty(Until.ProcessesIn(_folder));
    }

    [Fact]
    public async Task Cancelled_IsTerminated_BeforeTheCallReturns()
    {
        using var cancel = new CancellationTokenSource();
        var running = RunAsync("/bin/sleep", ["60"], cancellationToken: cancel.Token);
        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count > 0, "The start");
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.Empty(Until.ProcessesIn(_folder));
    }

    [Fact]
    public async Task TooLargeAFile_EndsTheTool()
    {
        var outcome = await RunAsync("/bin/dd", ["if=/dev/zero", "of=big", "bs=64k", "count=64"]);
        Assert.Equal(ToolEnd.FileSizeLimit, outcome.End);
        Assert.Equal(1_000_000, new FileInfo(Path.Combine(_folder, "big")).Length);
        Assert.Equal(JobFailure.LimitExceeded, ToolFailures.ToException("dd", outcome).Failure);
    }

    [Fact]
    public async Task TooMuchMemory_IsRefused()
    {
        var outcome = await RunAsync("/bin/dd", ["if=/dev/zero", "of=/dev/null", "bs=900M", "count=1"]);
        Assert.Equal((ToolEnd.Exited, false), (outcome.End, outcome.Succeeded));
        Assert.True(outcome.LogHas("memory exhausted"), string.Join('\n', outcome.Log));
    }

    [Fact]
    public async Task EndlessOutput_IsDrained_AndLongLinesAreCut()
    {
        var lines = new List<string>();
        var outcome = await RunAsync("/bin/sh", ["-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo y >&2; echo end"], lines);
        Assert.True(outcome.Succeeded);
        Assert.Equal([BoundedLines.MaxLineChars, 3], lines.Select(l => l.Length));
        Assert.Equal(["y"], outcome.Log);
    }

    [Fact]
    public void CommandLine_BoundsEverything_InThisOrder()
    {
        var cage = new ToolCage(_tools, NetworkIsolation.UserNamespace, TimeProvider.System);
        Assert.Equal(
            "/usr/bin/unshare -rn -- /usr/bin/setpriv --no-new-privs --pdeathsig KILL -- /usr/bin/nice -n 10 "
            + "/usr/bin/prlimit --as=536870912 --cpu=20:25 --fsize=1000000 --nofile=64 --core=0 -- /bin/true a b",
            string.Join(' ', cage.CommandLine(Run("/bin/true", ["a", "b"], null, 20))));
    }

    private Task<ToolOutcome> RunAsync(
        string tool, string[] arguments, List<string>? output = null, double timeLimit = 20, NetworkIsolation isolation = NetworkIsolation.UserNamespace, CancellationToken cancellationToken = default) =>
        new ToolCage(_tools, isolation, TimeProvider.System).RunAsync(Run(tool, arguments, output, timeLimit), cancellationToken);

    private ToolRun Run(string tool, string[] arguments, List<string>? output, double timeLimit) => new()
    {
        Tool = tool,
        Arguments = arguments,
        Folder = _folder,
        MemoryBytes = 512L << 20,
        MaxFileBytes = 1_000_000,
        TimeLimit = TimeSpan.FromSeconds(timeLimit),
        KillGrace = TimeSpan.FromSeconds(0.2),
        OnOutput = line =>
        {
            output?.Add(line);
            return true;
        },
    };
}
