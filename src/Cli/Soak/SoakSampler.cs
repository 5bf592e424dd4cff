using System.Diagnostics;

namespace Delivery.Cli.Soak;

/// <param name="Life">Number of the edge's life.</param>
/// <param name="Age">Since that life's start.</param>
/// <param name="Figures">What was measured.</param>
internal readonly record struct SoakSample(int Life, TimeSpan Age, ProcessFigures Figures);

/// <summary>Looks at the edge once a second, whoever asks it.</summary>
internal sealed class SoakSampler(LiveEdge edge, SoakTally tally, string? cacheFolder)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly List<SoakSample> _samples = [];

    /// <summary>To be read after <see cref="RunAsync"/> has ended.</summary>
    public IReadOnlyList<SoakSample> Samples => _samples;

    /// <param name="progress">Told of each sample.</param>
    /// <param name="ending">The run ends.</param>
    public async Task RunAsync(Action<SoakSample> progress, CancellationToken ending)
    {
        using var timer = new PeriodicTimer(Interval);
        try
        {
            while (await timer.WaitForNextTickAsync(ending))
            {
                if (edge.Now is not { } life)
                    continue;
                if (life is { HasEnded: true, Killed: false })
                {
                    // Ctrl-C reaches the edge as well: whoever asked for that is given the time to be heard.
                    await Task.Delay(Interval, ending);
                    tally.Report(SoakFault.EdgeEnded, $"the edge ended by itself, exit code {life.ExitCode}\n{life.LogTail}");
                    return;
                }

                if (ProcessFigures.Read(life.ProcessId, cacheFolder) is not { } figures)
                    continue;
                var sample = new SoakSample(life.Number, Stopwatch.GetElapsedTime(life.Started), figures);
                _samples.Add(sample);
                progress(sample);
            }
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
        }
    }
}
