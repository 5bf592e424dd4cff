using System.Collections.Concurrent;
using System.Diagnostics;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// Starts child processes from one thread that lives as long as the process. PR_SET_PDEATHSIG, which kills the tools of a killed worker,
/// fires when the *thread* that forked ends (prctl(2)): from a pool thread it would kill ffmpeg whenever the pool shrinks.
/// </summary>
internal static class ProcessLauncher
{
    private static readonly BlockingCollection<(Process Process, TaskCompletionSource Started)> Starts = [];

    static ProcessLauncher() => new Thread(Run) { IsBackground = true, Name = "transcoder process launcher" }.Start();

    public static Task StartAsync(Process process)
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Starts.Add((process, started));
        return started.Task;
    }

    private static void Run()
    {
        foreach (var (process, started) in Starts.GetConsumingEnumerable())
        {
            try
            {
                process.Start();
                started.SetResult();
            }
            catch (Exception error)
            {
                started.SetException(error);
            }
        }
    }
}
