using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// Starts child processes from one thread that lives as long as the process. PR_SET_PDEATHSIG, which kills the tools of a killed worker,
/// fires when the *thread* that forked ends (prctl(2)): from a pool thread it would kill ffmpeg whenever the pool shrinks.
/// </summary>
internal static partial class ProcessLauncher
{
    private const long CloseRange = 436; // close_range(2), on all CPUs
    private const uint OnExec = 4; // CLOSE_RANGE_CLOEXEC

    private static readonly BlockingCollection<(Action Start, TaskCompletionSource Started)> Starts = [];

    static ProcessLauncher() => new Thread(Run) { IsBackground = true, Name = "transcoder process launcher" }.Start();

    /// <summary>One start at a time: what the one inherits, no other does.</summary>
    public static Task StartAsync(Action start)
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Starts.Add((start, started));
        return started.Task;
    }

    private static void Run()
    {
        foreach (var (start, started) in Starts.GetConsumingEnumerable())
        {
            try
            {
                // What the worker itself was started with (a supervisor's sockets, a shell's pipes) is not for its tools. Before Linux 5.11 it fails.
                _ = SystemCall(CloseRange, 3, uint.MaxValue, OnExec);
                start();
                started.SetResult();
            }
            catch (Exception error)
            {
                started.SetException(error);
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, uint first, uint last, uint flags);
}
