using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Tests.Cage;

/// <summary>
/// What a tool can do, at every isolation that this machine allows: what the worker's own probe says of the machine is what is proven. Commands
/// replace the shell or are built into it, and use no device: a sandbox has none.
/// </summary>
public sealed class ToolCageTests(SharedFarm shared) : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
    private readonly ToolSet _tools = ToolSet.Find();

    private Isolation Probed => shared.Farm.Node!.Isolation;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Everything that a decoder with a hole would try, and what comes through.</summary>
    [Theory]
    [InlineData(Isolation.None, "sockets-of-others environment-none files-of-another-job files-of-the-system folders-of-others other-processes proc loopback")]
    [InlineData(Isolation.NetworkNamespace, "sockets-of-others environment-none files-of-another-job files-of-the-system folders-of-others other-processes proc")]
    [InlineData(Isolation.UserNamespace, "sockets-of-others environment-none files-of-another-job files-of-the-system folders-of-others other-processes proc")]
    [InlineData(Isolation.Sandbox, "environment-none")]
    public async Task Escapes_ComeThrough_AsFarAsTheIsolationSays(Isolation isolation, string expected)
    {
        if (!await IsAllowedAsync(isolation))
            return;
        Environment.SetEnvironmentVariable("DELIVERY_TEST_SECRET", "s3cret");
        var other = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
        try
        {
            await File.WriteAllTextAsync(Path.Combine(other, "master"), "of another job\n");
            using var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Bind(new UnixDomainSocketEndPoint(Path.Combine(other, "socket")));
            socket.Listen();
            var script = $"""
                [ -S '{other}/socket' ] && echo sockets-of-others
                [ -z "$DELIVERY_TEST_SECRET$HOME$PATH_INFO$USER" ] && echo environment-none
                read -r x < '{other}/master' && echo files-of-another-job
                read -r x < /etc/passwd && echo files-of-the-system
                echo x > '{other}/written' && echo folders-of-others
                kill -0 {Environment.ProcessId} && echo other-processes
                [ -e /proc/self ] && echo proc
                true 3<>/dev/tcp/127.0.0.1/{((IPEndPoint)listener.LocalEndpoint).Port} && echo loopback
                exit 0
                """;
            var lines = new List<string>();
            var outcome = await RunAsync("/bin/bash", ["-c", script], isolation, lines);
            Assert.True(outcome.Succeeded, string.Join('\n', outcome.Log));
            Assert.Equal(expected.Split(' '), lines);
            Assert.Equal(lines.Contains("folders-of-others"), File.Exists(Path.Combine(other, "written")));
            Assert.Equal(lines.Contains("loopback"), listener.Pending());

            // ffmpeg itself, asked for a socket without its whitelist; it ends when the other side does.
            using var stop = new CancellationTokenSource();
            var accepting = AcceptAsync(socket, stop.Token);
            await RunAsync(_tools.Ffmpeg, ["-v", "error", "-f", "s16le", "-i", $"unix:{other}/socket", "-f", "null", "-"], isolation);
            await stop.CancelAsync();
            Assert.Equal(lines.Contains("sockets-of-others"), await accepting);
        }
        finally
        {
            Directory.Delete(other, recursive: true);
        }
    }

    [Fact]
    public async Task Sandbox_IsReadOnly_ButForTheJobsFolder_AndItsMasterIsToo()
    {
        if (!await IsAllowedAsync(Isolation.Sandbox))
            return;
        await File.WriteAllTextAsync(Path.Combine(_folder, "master"), "sound");
        var paths = $"'{_folder}/r00.ogg' '{_folder}/master' '{_folder}/../other' /usr/delivery-test /usr/bin/delivery-test /etc/delivery-test /delivery-test";
        const string Script = "for path in {0}; do { echo x >> $path; } && echo $path; done; read -r x < master && echo $x; exit 0";
        var lines = new List<string>();
        Assert.True((await RunAsync("/bin/bash", ["-c", Script.Replace("{0}", paths, StringComparison.Ordinal)], Isolation.Sandbox, lines, change: r => r with { Input = "master" })).Succeeded);
        Assert.Equal([$"{_folder}/r00.ogg"], lines);
        Assert.Equal("sound", await File.ReadAllTextAsync(Path.Combine(_folder, "master")));

        lines.Clear();
        Assert.True((await RunAsync("/bin/bash", ["-c", "{ echo x > new; } && echo written; [ -r master ] && echo read; exit 0"], Isolation.Sandbox, lines, change: r => r with { MaxFileBytes = 0 })).Succeeded);
        Assert.Equal(["read"], lines);
    }

    [Theory]
    [InlineData("/usr/bin/unshare", "-rn", "/bin/true")]
    [InlineData("/usr/bin/setsid", "--fork", "/bin/sleep", "60")]
    [InlineData("/usr/bin/mount", "--bind", "/usr", "/etc")]
    [InlineData("/usr/sbin/chroot", "/usr", "/bin/true")]
    [InlineData("/bin/bash", "-c", "sleep 60 <&- >&- 2>&- &")]
    public async Task Sandbox_HasNoCapabilities_NoNamespacesInside_AndNoSecondProcess(string tool, params string[] arguments)
    {
        if (!await IsAllowedAsync(Isolation.Sandbox))
            return;
        Assert.True(File.Exists(tool));
        try
        {
            var outcome = await RunAsync(tool, arguments, Isolation.Sandbox);
            Assert.False(outcome.Succeeded);
            Assert.Contains(outcome.Log, line => line.Contains("ermission denied", StringComparison.Ordinal) || line.Contains("Operation not permitted", StringComparison.Ordinal) || line.Contains("must be superuser", StringComparison.Ordinal));
        }
        catch (JobException error)
        {
            Assert.Contains("Operation not permitted", error.Message, StringComparison.Ordinal); // unshare is a program of the cage, too.
        }

        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count == 0, "The end of its processes");
    }

    [Fact]
    public async Task Sandbox_MakesNoSockets_AndStillThreads()
    {
        if (!await IsAllowedAsync(Isolation.Sandbox))
            return;
        var outcome = await RunAsync(_tools.Ffmpeg, ["-v", "error", "-f", "s16le", "-i", "tcp://127.0.0.1:9"], Isolation.Sandbox);
        Assert.True(outcome.LogHas("Operation not permitted"), string.Join('\n', outcome.Log));
        outcome = await RunAsync(_tools.Ffmpeg, ["-v", "error", "-f", "lavfi", "-i", "sine=d=0.1", "-f", "lavfi", "-i", "sine=d=0.1", "-map", "0", "-map", "1", "-f", "null", "-"], Isolation.Sandbox);
        Assert.True(outcome.Succeeded, string.Join('\n', outcome.Log)); // One thread per input.
    }

    [Fact]
    public async Task NoFileOfTheWorker_IsInherited()
    {
        using var inheritable = SystemCallFilter.Open()!; // As a shell's or a supervisor's would be.
        var outcome = await RunAsync("/bin/bash", ["-c", $"for fd in {{3..99}} {inheritable.DangerousGetHandle()}; do read -t 0 -u $fd; done"]);
        Assert.Equal(98, outcome.Log.Count(line => line.EndsWith("Bad file descriptor", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(Architecture.X64, 0xc000_003e, 56)]
    [InlineData(Architecture.Arm64, 0xc000_00b7, 220)]
    public void SystemCallFilter_RefusesProcesses_AndLetsThreadsThrough(Architecture cpu, uint audited, uint clone)
    {
        var program = SystemCallFilter.Program(cpu)!;
        Assert.Equal(0x8000_0000, Answer(program, audited + 1, clone, 0));
        Assert.Equal(0x0005_0001u, Answer(program, audited, clone, 0x11)); // fork: SIGCHLD alone
        Assert.Equal(0x7fff_0000u, Answer(program, audited, clone, 0x3d0f00)); // pthread_create
        Assert.Equal(0x0005_0026u, Answer(program, audited, 435, 0));
        Assert.Equal(0x0005_0001u, Answer(program, audited, 425, 0)); // io_uring_setup
        Assert.Equal(0x7fff_0000u, Answer(program, audited, 0, 0)); // read, io_setup
        Assert.Null(SystemCallFilter.Program(Architecture.S390x));
    }

    [Theory]
    [InlineData("ln -s /etc/passwd r00.ogg", "r00.ogg")]
    [InlineData("mkfifo r00.flac", "r00.flac")]
    [InlineData("mkdir r00.m4a", "r00.m4a")]
    public async Task WhatIsNoFile_IsNotCollected(string command, string name)
    {
        var error = await Assert.ThrowsAsync<JobException>(() => RunAsync("/bin/bash", ["-c", $"exec {command}"]));
        Assert.Equal((JobFailure.EncoderFailed, false), (error.Failure, error.CanRetry));
        Assert.Contains($"'{name}', which is no file", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Environment_IsEmptyButForTwo_AndNoInputIsInherited()
    {
        Environment.SetEnvironmentVariable("DELIVERY_TEST_SECRET", "s3cret");
        var lines = new List<string>();
        Assert.True((await RunAsync("/usr/bin/env", [], output: lines)).Succeeded);
        Assert.Equal(["LC_ALL", "TMPDIR"], lines.Select(l => l.Split('=')[0]).Where(n => n != "PWD").Order(StringComparer.Ordinal));
        Assert.True((await RunAsync("/bin/cat", [])).Succeeded);
    }

    [Theory]
    [InlineData(Isolation.None)]
    [InlineData(Isolation.UserNamespace)]
    [InlineData(Isolation.Sandbox)]
    public async Task TooLong_IsTerminated(Isolation isolation)
    {
        if (!await IsAllowedAsync(isolation))
            return;
        var outcome = await RunAsync("/bin/sleep", ["60"], isolation, timeLimit: 0.3);
        Assert.Equal(ToolEnd.TimeLimit, outcome.End);
        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count == 0, "The end of its processes");
    }

    [Theory]
    [InlineData(Isolation.None)]
    [InlineData(Isolation.UserNamespace)]
    [InlineData(Isolation.Sandbox)]
    public async Task DeafToSigterm_IsKilled(Isolation isolation)
    {
        if (!await IsAllowedAsync(isolation))
            return;
        var outcome = await RunAsync("/bin/bash", ["-c", "trap '' TERM; while :; do :; done"], isolation, timeLimit: 0.5);
        Assert.Equal((ToolEnd.TimeLimit, 128 + 9), (outcome.End, outcome.ExitCode));
        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count == 0, "The end of its processes");
    }

    [Theory]
    [InlineData(Isolation.None)]
    [InlineData(Isolation.UserNamespace)]
    [InlineData(Isolation.Sandbox)]
    public async Task Cancelled_IsTerminated_BeforeTheCallReturns(Isolation isolation)
    {
        if (!await IsAllowedAsync(isolation))
            return;
        using var cancel = new CancellationTokenSource();
        var running = RunAsync("/bin/sleep", ["60"], isolation, cancellationToken: cancel.Token);
        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count > 0, "The start");
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        await Until.TrueAsync(() => Until.ProcessesIn(_folder).Count == 0, "The end of its processes");
    }

    [Theory]
    [InlineData("XCPU", "CpuLimit", 128 + 24)]
    [InlineData("KILL", "Killed", 128 + 9)]
    [InlineData("SEGV", "Killed", 128 + 11)]
    public async Task EndBySignal_IsTold(string signal, string end, int exitCode)
    {
        var outcome = await RunAsync("/bin/bash", ["-c", $"kill -{signal} $$; exit 3"]);
        Assert.Equal((end, exitCode), (outcome.End.ToString(), outcome.ExitCode));
    }

    [Fact]
    public async Task TooMuchCpu_EndsTheTool()
    {
        // The wall clock stands still, so the limit of CPU time, which is the same, is reached first.
        var outcome = await RunAsync("/bin/bash", ["-c", "while :; do :; done"], timeLimit: 1, time: new ManualTime());
        Assert.Equal(ToolEnd.CpuLimit, outcome.End);
        Assert.Equal(JobFailure.LimitExceeded, ToolFailures.ToException("bash", outcome).Failure);
    }

    [Fact]
    public async Task TooLargeAFile_EndsTheTool()
    {
        var outcome = await RunAsync("/bin/bash", ["-c", "exec seq 1 1000000 > big"]);
        Assert.Equal(ToolEnd.FileSizeLimit, outcome.End);
        Assert.Equal(1_000_000, new FileInfo(Path.Combine(_folder, "big")).Length);
        Assert.Equal(JobFailure.LimitExceeded, ToolFailures.ToException("seq", outcome).Failure);
    }

    [Fact]
    public async Task TooMuchMemory_IsRefused()
    {
        var outcome = await RunAsync("/bin/dd", ["if=/usr/bin/dd", "bs=900M", "count=1"]);
        Assert.Equal((ToolEnd.Exited, false), (outcome.End, outcome.Succeeded));
        Assert.True(outcome.LogHas("memory exhausted"), string.Join('\n', outcome.Log));
    }

    [Fact]
    public async Task TooManyFiles_AreRefused()
    {
        var lines = new List<string>();
        await RunAsync("/bin/bash", ["-c", "for i in {10..99}; do eval \"exec $i</usr/bin/env\" || break; echo $i; done"], output: lines);
        Assert.Equal($"{ToolCage.MaxOpenFiles - 1}", lines[^1]);
    }

    [Fact]
    public async Task EndlessOutput_IsDrained_AndLongLinesAreCut()
    {
        var lines = new List<string>();
        var outcome = await RunAsync("/bin/bash", ["-c", "printf '%03000000d\\n' 0; echo y >&2; echo end"], output: lines);
        Assert.True(outcome.Succeeded);
        Assert.Equal([BoundedLines.MaxLineChars, 3], lines.Select(l => l.Length));
        Assert.Equal(["y"], outcome.Log);
    }

    [Fact]
    public async Task CageThatCannotBeSetUp_IsNoFaultOfTheMaster()
    {
        var error = await Assert.ThrowsAsync<JobException>(() => RunAsync("/usr/bin/no-such-tool", []));
        Assert.Equal((JobFailure.ToolMissing, true), (error.Failure, error.CanRetry));
        if (!await IsAllowedAsync(Isolation.Sandbox))
            return;
        error = await Assert.ThrowsAsync<JobException>(() => RunAsync(_tools.Ffmpeg, ["-version"], Isolation.Sandbox, change: r => r with { Input = "no-such-master" }));
        Assert.Equal((JobFailure.ToolMissing, true), (error.Failure, error.CanRetry));
        Assert.Contains("bwrap: Can't find source path", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Isolation.None, "")]
    [InlineData(Isolation.NetworkNamespace, "/usr/bin/unshare -n -- ")]
    [InlineData(Isolation.UserNamespace, "/usr/bin/unshare -rn -- ")]
    public void CommandLine_BoundsEverything_InThisOrder(Isolation isolation, string first) =>
        Assert.Equal(
            first + "/usr/bin/setpriv --no-new-privs --pdeathsig KILL -- /usr/bin/nice -n 10 "
            + "/usr/bin/prlimit --as=536870912 --cpu=20:25 --fsize=1000000 --nofile=64 --core=0 -- /bin/true a b",
            string.Join(' ', new ToolCage(_tools, isolation, TimeProvider.System).CommandLine(Run("/bin/true", ["a", "b"], null, 20))));

    [Fact]
    public void CommandLine_OfTheSandbox_HidesAllButTheNamed()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "bin"));
        File.CreateSymbolicLink(Path.Combine(_folder, "bin", "ffmpeg"), _tools.Ffmpeg);
        var tools = _tools with { Bwrap = "/usr/bin/bwrap", Ffmpeg = Path.Combine(_folder, "bin", "ffmpeg") };
        var line = string.Join(' ', new ToolCage(tools, Isolation.Sandbox, TimeProvider.System).CommandLine(Run("/bin/true", ["a"], null, 20) with { Input = "master" }));
        Assert.StartsWith("/usr/bin/bwrap --unshare-all --unshare-user --disable-userns --cap-drop ALL --die-with-parent --new-session --ro-bind /usr /usr ", line, StringComparison.Ordinal);
        Assert.EndsWith(
            $" --ro-bind-try {_folder}/bin {_folder}/bin --bind {_folder} {_folder} --ro-bind {_folder}/master {_folder}/master --remount-ro / --chdir {_folder} -- "
            + "/usr/bin/nice -n 10 /usr/bin/prlimit --as=536870912 --cpu=20:25 --fsize=1000000 --nofile=64 --core=0 -- /bin/true a",
            line,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task WorkerThatRequiresMore_DoesNotStart()
    {
        var bin = Directory.CreateDirectory(Path.Combine(_folder, "bin")).FullName;
        foreach (var tool in (string[])["ffprobe", "flac", "metaflac"])
            File.CreateSymbolicLink(Path.Combine(bin, tool), $"/usr/bin/{tool}");
        // An ffmpeg that needs what no sandbox shows.
        await File.WriteAllTextAsync(Path.Combine(bin, "ffmpeg"), $"#!/bin/sh\n[ -e /proc/self ] || {{ echo 'where is /proc?' >&2; exit 1; }}\nexec {_tools.Ffmpeg} \"$@\"\n");
        File.SetUnixFileMode(Path.Combine(bin, "ffmpeg"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        await using var farm = Farm.Create();
        var options = new TranscoderOptions { WorkFolder = farm.WorkFolder, ToolPath = bin, RequireIsolation = Isolation.Sandbox };
        var error = await Assert.ThrowsAsync<ToolsMissingException>(() => farm.StartAsync(options));
        Assert.Contains("Transcoder:RequireIsolation asks for Sandbox", error.Message, StringComparison.Ordinal);
        if (Probed == Isolation.Sandbox)
            Assert.Contains("where is /proc?", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(farm.WorkFolder));

        await farm.StartAsync(options with { RequireIsolation = Isolation.None });
        Assert.True(farm.Node!.Isolation < Isolation.Sandbox);
    }

    [Fact]
    public async Task Probe_WithoutBubblewrap_SaysWhatToInstall()
    {
        var (isolation, lacks) = await IsolationProbe.ProbeAsync(_tools with { Bwrap = null }, _folder, TimeProvider.System, default);
        Assert.True(isolation < Isolation.Sandbox);
        Assert.Contains("apt-get install bubblewrap", lacks, StringComparison.Ordinal);
    }

    /// <summary>A machine may allow a stronger isolation and not a weaker one: root's own, or one that an LSM grants to bubblewrap alone.</summary>
    private async Task<bool> IsAllowedAsync(Isolation isolation)
    {
        if (isolation == Isolation.None || isolation >= Probed)
            return isolation <= Probed;
        try
        {
            return (await RunAsync("/bin/true", [], isolation)).Succeeded;
        }
        catch (JobException error) when (error.Failure == JobFailure.ToolMissing)
        {
            return false;
        }
    }

    private Task<ToolOutcome> RunAsync(
        string tool,
        string[] arguments,
        Isolation? isolation = null,
        List<string>? output = null,
        double timeLimit = 20,
        TimeProvider? time = null,
        Func<ToolRun, ToolRun>? change = null,
        CancellationToken cancellationToken = default)
    {
        var run = Run(tool, arguments, output, timeLimit);
        return new ToolCage(_tools, isolation ?? Probed, time ?? TimeProvider.System).RunAsync(change?.Invoke(run) ?? run, cancellationToken);
    }

    private static async Task<bool> AcceptAsync(Socket socket, CancellationToken stop)
    {
        try
        {
            using var peer = await socket.AcceptAsync(stop);
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>What the kernel would do with a call: runs the five instructions that the program is made of.</summary>
    private static uint Answer(byte[] program, uint architecture, uint call, uint flags)
    {
        uint loaded = 0;
        for (var at = 0; ; at++)
        {
            var instruction = program.AsSpan(at * 8, 8);
            var value = BinaryPrimitives.ReadUInt32LittleEndian(instruction[4..]);
            switch (BinaryPrimitives.ReadUInt16LittleEndian(instruction))
            {
                case 0x20:
                    loaded = value switch { 0 => call, 4 => architecture, _ => flags };
                    break;
                case 0x15:
                    at += instruction[loaded == value ? 2 : 3];
                    break;
                case 0x35:
                    at += instruction[loaded >= value ? 2 : 3];
                    break;
                case 0x45:
                    at += instruction[(loaded & value) != 0 ? 2 : 3];
                    break;
                default:
                    return value;
            }
        }
    }

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
