using System.Globalization;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Cage;

/// <summary>Finds by trying how well this machine can isolate a tool: what a kernel, a container or an LSM refuses is in no table.</summary>
internal static class IsolationProbe
{
    private const long MemoryBytes = 512L << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <param name="tools">Whose ffmpeg is tried: a sandbox that hides its libraries is none.</param>
    /// <param name="folder">A job's folder.</param>
    /// <param name="time">For the bound of each try.</param>
    /// <param name="cancellationToken">Ends the tries.</param>
    /// <returns>The strongest isolation that works, and what a stronger one failed of; null with <see cref="Isolation.Sandbox"/>.</returns>
    public static async Task<(Isolation Isolation, string? Lacks)> ProbeAsync(ToolSet tools, string folder, TimeProvider time, CancellationToken cancellationToken)
    {
        string? lacks = null;
        foreach (var isolation in (Isolation[])[Isolation.Sandbox, Isolation.UserNamespace, Isolation.NetworkNamespace])
        {
            if (isolation == Isolation.Sandbox && tools.Bwrap is null)
            {
                lacks = "bwrap is not installed (on Debian: apt-get install bubblewrap)";
                continue;
            }

            if (await ProblemAsync(new ToolCage(tools, isolation, time), tools.Ffmpeg, folder, cancellationToken) is not { } problem)
                return (isolation, lacks);
            lacks ??= problem;
        }

        return (Isolation.None, lacks);
    }

    // The whole chain of a real run: a kernel may allow the namespace and refuse what comes inside it.
    private static async Task<string?> ProblemAsync(ToolCage cage, string tool, string folder, CancellationToken cancellationToken)
    {
        try
        {
            var outcome = await cage.RunAsync(
                new ToolRun
                {
                    Tool = tool,
                    Arguments = ["-version"],
                    Folder = folder,
                    MemoryBytes = MemoryBytes,
                    MaxFileBytes = 1,
                    TimeLimit = Patience,
                    KillGrace = TimeSpan.Zero,
                },
                cancellationToken);
            return outcome.Succeeded ? null : string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(tool)} ended with exit code {outcome.ExitCode}: {ToolFailures.Quote(outcome)}");
        }
        catch (JobException error)
        {
            return error.Message;
        }
    }
}
