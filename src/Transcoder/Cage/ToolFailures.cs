using System.Text.RegularExpressions;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Cage;

/// <summary>What a tool's end means for the job, where it does not depend on what the tool was doing.</summary>
internal static partial class ToolFailures
{
    private const int MaxQuotedChars = 300;

    public static JobException ToException(string tool, ToolOutcome outcome) => outcome.End switch
    {
        ToolEnd.Killed => new(JobFailure.EncoderFailed, $"{tool} was killed from outside (exit code {outcome.ExitCode}); look for the kernel's memory killer in the machine's log, then retry the job.", canRetry: true),
        ToolEnd.CpuLimit => new(JobFailure.LimitExceeded, $"{tool} used up its CPU time on this master; retry with a larger limit only when the master is known to be good."),
        ToolEnd.FileSizeLimit => new(JobFailure.LimitExceeded, $"{tool} wrote more than the master can justify and was stopped; look at the master."),
        // A busy machine is slow, and the next attempt may find it idle.
        ToolEnd.TimeLimit => new(JobFailure.LimitExceeded, $"{tool} did not end within its time limit; look at the machine's load, then retry the job.", canRetry: true),
        ToolEnd.Stalled => new(JobFailure.LimitExceeded, $"{tool} made no progress and was stopped; look at the machine's load and disk, then retry the job.", canRetry: true),
        _ when outcome.LogHas("No space left on device") => new(JobFailure.WorkFolderFull, "The worker's disk is full; free space in its work folder, then retry the job.", canRetry: true),
        _ when outcome.LogHas("Cannot allocate memory") => new(JobFailure.LimitExceeded, $"{tool} needed more memory than it may have; look at the master."),
        _ when outcome.ExitCode == 127 || outcome.LogHas("failed to execute") => new(JobFailure.ToolMissing, $"{tool} cannot be started; install it on the worker.", canRetry: true),
        _ => new(JobFailure.EncoderFailed, $"{tool} failed with exit code {outcome.ExitCode}: {Quote(outcome)}"),
    };

    /// <summary>The last error that the tool logged, shortened: an operator's first clue.</summary>
    public static string Quote(ToolOutcome outcome)
    {
        var line = outcome.Log.LastOrDefault(l => l.Contains("[error]", StringComparison.Ordinal) || l.Contains("[fatal]", StringComparison.Ordinal))
            ?? (outcome.Log is [.., var last] ? last : "it said nothing");
        return Shorten(line);
    }

    public static string Shorten(string line)
    {
        // ffmpeg names its objects by address ("[flac @ 0x55d0c8]"): no clue for anybody, and another message for the same fault each time.
        line = ObjectAddress().Replace(line, "");
        return line.Length <= MaxQuotedChars ? line : $"{line[..MaxQuotedChars]}…";
    }

    [GeneratedRegex(" @ 0x[0-9a-f]+")]
    private static partial Regex ObjectAddress();
}
