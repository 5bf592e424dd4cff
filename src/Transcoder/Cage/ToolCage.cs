using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// Runs a tool on untrusted input: no shell, no environment, no network, no files but programs and the job's own, bounded address space, CPU, file
/// size, open files and time, and dead when the worker dies.
/// </summary>
/// <remarks>
/// <code>
/// Sandbox:  bwrap ─ process 1 of the sandbox ─ nice ▶ prlimit ▶ tool
/// others:   unshare -rn ▶ setpriv --no-new-privs --pdeathsig KILL ▶ nice ▶ prlimit ▶ tool
/// </code>
/// ▶ is replaced by the next and keeps its process id; ─ waits for the next, passes its exit code on, and takes it along when it dies.
/// </remarks>
internal sealed partial class ToolCage(ToolSet tools, Isolation isolation, TimeProvider time)
{
    /// <summary>Input, a dozen outputs, pipes and libraries: measured need is under 40.</summary>
    public const int MaxOpenFiles = 64;

    /// <summary>An edge on the same machine goes first.</summary>
    public const int Niceness = 10;

    /// <summary>
    /// Lines kept of a tool's log; older ones are only seen by <see cref="ToolRun.OnLog"/>. After its error, ffmpeg still prints about 60 lines of
    /// statistics.
    /// </summary>
    public const int MaxLogLines = 200;

    // What a pipe of Linux holds (pipe(7)).
    private const int OutputBufferBytes = 65_536;

    // Mono s16 at 44.1 kHz fills the pipe in 50 ms at 15 times real time, which is as fast as a ladder is made.
    private static readonly TimeSpan OutputPause = TimeSpan.FromMilliseconds(20);

    private const int Sigterm = 15;
    private const int ExitBySignal = 128;
    private const int Sigxcpu = 24;
    private const int Sigxfsz = 25;

    private readonly Sandbox? _sandbox = isolation == Isolation.Sandbox ? new Sandbox(tools) : null;

    /// <summary>Called with the tool's name and how each run ended.</summary>
    public Action<string, ToolEnd>? OnEnd { get; set; }

    /// <exception cref="JobException">
    /// <see cref="JobFailure.ToolMissing"/>: the cage or the tool cannot be started. <see cref="JobFailure.EncoderFailed"/>: the tool left something that
    /// is no file.
    /// </exception>
    public async Task<ToolOutcome> RunAsync(ToolRun run, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var process = new Process();
        try
        {
            await ProcessLauncher.StartAsync(() =>
            {
                using var filter = _sandbox is null ? null : SystemCallFilter.Open();
                process.StartInfo = StartInfo(run, (int?)filter?.DangerousGetHandle());
                process.Start();
            });
        }
        catch (Exception error) when (error is Win32Exception or IOException)
        {
            throw new JobException(JobFailure.ToolMissing, $"{Path.GetFileName(run.Tool)} cannot be started: {error.Message}", canRetry: true, error);
        }

        process.StandardInput.Close();
        using var timeLimit = new CancellationTokenSource(run.TimeLimit, time);
        using var stall = run.StallTimeout is { } timeout ? new CancellationTokenSource(timeout, time) : new CancellationTokenSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeLimit.Token, stall.Token);

        var log = new Queue<string>();
        // Both pipes are drained at once: a tool blocks when either is full.
        var draining = Task.WhenAll(
            run.OnOutputBytes is { } onBytes
                ? ReadBytesAsync(process.StandardOutput.BaseStream, bytes =>
                {
                    onBytes(bytes);
                    Progressed();
                })
                : BoundedLines.ReadAsync(process.StandardOutput, line =>
                {
                    if (run.OnOutput?.Invoke(line) == true)
                        Progressed();
                }),
            BoundedLines.ReadAsync(process.StandardError, line =>
            {
                if (log.Count == MaxLogLines)
                    log.Dequeue();
                log.Enqueue(line);
                run.OnLog?.Invoke(line);
            }));
        try
        {
            await process.WaitForExitAsync(stop.Token);
        }
        catch (OperationCanceledException)
        {
            await TerminateAsync(process, run.KillGrace);
        }

        await draining;
        var outcome = new ToolOutcome(End(process.ExitCode), process.ExitCode, [.. log]);
        OnEnd?.Invoke(Path.GetFileName(run.Tool), outcome.End);
        cancellationToken.ThrowIfCancellationRequested();
        // Else a machine that refuses a namespace would make every master a bad one.
        if (CageFault(outcome) is { } fault)
            throw new JobException(JobFailure.ToolMissing, $"{Path.GetFileName(run.Tool)} cannot be started ({fault.TrimEnd('.')}); look at the worker's packages and limits, then retry the job.", canRetry: true);
        if (run.MaxFileBytes > 0 && FileKind.FirstOther(run.Folder) is { } other)
            throw new JobException(JobFailure.EncoderFailed, $"{Path.GetFileName(run.Tool)} left '{other}', which is no file, in its folder, as only a tool does that the master took over; keep the master for an analysis, and update the tool.");
        return outcome;

        void Progressed()
        {
            if (run.StallTimeout is { } again)
                stall.CancelAfter(again);
        }

        ToolEnd End(int exitCode) => exitCode switch
        {
            0 => ToolEnd.Exited,
            _ when timeLimit.IsCancellationRequested => ToolEnd.TimeLimit,
            _ when stall.IsCancellationRequested => ToolEnd.Stalled,
            ExitBySignal + Sigxcpu => ToolEnd.CpuLimit,
            // ffmpeg catches SIGXCPU and SIGTERM and ends as if it had been asked to: with 255, or with the code of whatever the signal interrupted.
            _ when log.Any(line => line.Contains("received signal 24", StringComparison.Ordinal)) => ToolEnd.CpuLimit,
            _ when log.Any(line => line.Contains("received signal", StringComparison.Ordinal) || line.EndsWith(": Immediate exit requested", StringComparison.Ordinal)) => ToolEnd.Killed,
            // Its answer to the fourth SIGTERM.
            123 when log.Any(line => line.Contains("system signals, hard exiting", StringComparison.Ordinal)) => ToolEnd.Killed,
            ExitBySignal + Sigxfsz => ToolEnd.FileSizeLimit,
            > ExitBySignal and < ExitBySignal + 65 => ToolEnd.Killed,
            _ => ToolEnd.Exited,
        };
    }

    /// <summary>What a program before the tool said when it could not run the next one: a tool that ran says more, or something else.</summary>
    private string? CageFault(ToolOutcome outcome) =>
        outcome is { End: ToolEnd.Exited, ExitCode: not 0, Log: [var line] }
        && ((string?[])[tools.Bwrap, tools.Unshare, tools.Setpriv, tools.Nice, tools.Prlimit]).Any(program =>
            program is not null && (line.StartsWith($"{program}: ", StringComparison.Ordinal) || line.StartsWith($"{Path.GetFileName(program)}: ", StringComparison.Ordinal)))
            ? line
            : null;

    /// <summary>The program and arguments that cage a run: a pure function of it.</summary>
    /// <param name="run">What to run.</param>
    /// <param name="filter">Inherited file of the sandbox's <see cref="SystemCallFilter"/>; null: none.</param>
    public IReadOnlyList<string> CommandLine(ToolRun run, int? filter = null)
    {
        var cpuSeconds = (long)Math.Ceiling(run.TimeLimit.TotalSeconds);
        // setpriv after unshare: a change of credentials clears the death signal (prctl(2)).
        string[] mortal = [tools.Setpriv, "--no-new-privs", "--pdeathsig", "KILL", "--"];
        List<string> command = isolation switch
        {
            Isolation.Sandbox => [.. _sandbox!.Prefix(run, filter)],
            Isolation.UserNamespace => [tools.Unshare, "-rn", "--", .. mortal],
            Isolation.NetworkNamespace => [tools.Unshare, "-n", "--", .. mortal],
            _ => [.. mortal],
        };
        command.AddRange([tools.Nice, "-n", Niceness.ToString(CultureInfo.InvariantCulture)]);
        command.AddRange(
        [
            tools.Prlimit,
            FormattableString.Invariant($"--as={run.MemoryBytes}"),
            // SIGXCPU at the soft limit tells a used-up budget from a kill; the hard one is for a tool that does not listen.
            FormattableString.Invariant($"--cpu={cpuSeconds}:{cpuSeconds + 5}"),
            FormattableString.Invariant($"--fsize={run.MaxFileBytes}"),
            FormattableString.Invariant($"--nofile={MaxOpenFiles}"),
            "--core=0",
            "--",
            run.Tool,
        ]);
        command.AddRange(run.Arguments);
        return command;
    }

    /// <summary>
    /// On a thread of its own that waits a moment between two reads: a tool writes a few KiB at a time, and a pool thread that is woken for each spins
    /// in between (sched_yield, 7,000 times a second). The pipe holds what comes meanwhile.
    /// </summary>
    private static Task ReadBytesAsync(Stream output, Action<ReadOnlySpan<byte>> onBytes) => Task.Factory.StartNew(
        () =>
        {
            var buffer = new byte[OutputBufferBytes];
            int read;
            while ((read = output.Read(buffer)) > 0)
            {
                onBytes(buffer.AsSpan(0, read));
                Thread.Sleep(OutputPause);
            }
        },
        CancellationToken.None,
        TaskCreationOptions.LongRunning,
        TaskScheduler.Default);

    private ProcessStartInfo StartInfo(ToolRun run, int? filter)
    {
        var command = CommandLine(run, filter);
        var info = new ProcessStartInfo(command[0], command.Skip(1))
        {
            WorkingDirectory = run.Folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        info.Environment.Clear();
        info.Environment["LC_ALL"] = "C";
        info.Environment["TMPDIR"] = run.Folder;
        return info;
    }

    /// <summary>
    /// SIGTERM, the grace, SIGKILL; a sandbox is killed at once, whole. The tool's files are worth nothing afterwards: ffmpeg ends an interrupted file
    /// as a valid, shorter one.
    /// </summary>
    private async Task TerminateAsync(Process process, TimeSpan grace)
    {
        if (isolation == Isolation.Sandbox)
            grace = TimeSpan.Zero; // SIGTERM would end bwrap alone: within its first millisecond, the rest would live on.
        else if (!process.HasExited)
            _ = Kill(process.Id, Sigterm); // A failure means that it ended meanwhile.
        using var patience = new CancellationTokenSource(grace, time);
        try
        {
            await process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync(CancellationToken.None);
        }
    }

    // .NET 10 has only SIGKILL (Process.Kill).
    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int pid, int signal);
}
