namespace Delivery.Transcoder.Cage;

/// <summary>One run of one tool on untrusted input, with its limits.</summary>
internal sealed record ToolRun
{
    /// <summary>Absolute path.</summary>
    public required string Tool { get; init; }

    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>The job's private folder.</summary>
    public required string Folder { get; init; }

    /// <summary>A file in <see cref="Folder"/> that the sandbox lets the tool read only; null: none.</summary>
    public string? Input { get; init; }

    /// <summary>Address space, in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Largest file that it may write, in bytes; with 0 the sandbox lets it write nothing at all.</summary>
    public required long MaxFileBytes { get; init; }

    /// <summary>Limit of wall-clock time, and of CPU time.</summary>
    public required TimeSpan TimeLimit { get; init; }

    /// <summary>Longest time between two lines that <see cref="OnOutput"/> calls progress, or two reads of <see cref="OnOutputBytes"/>; null: not watched.</summary>
    public TimeSpan? StallTimeout { get; init; }

    /// <summary>From SIGTERM to SIGKILL.</summary>
    public required TimeSpan KillGrace { get; init; }

    /// <summary>Called with each line of standard output, in order, from one thread at a time; true when the line shows progress.</summary>
    public Func<string, bool>? OnOutput { get; init; }

    /// <summary>
    /// Takes standard output as bytes, in place of <see cref="OnOutput"/>: called with each read, in order, from one thread at a time. Each is progress.
    /// </summary>
    public Action<ReadOnlySpan<byte>>? OnOutputBytes { get; init; }

    /// <summary>Called with each line of standard error, in order, from one thread at a time.</summary>
    public Action<string>? OnLog { get; init; }
}

/// <summary>How a run ended. The name is also the log word.</summary>
internal enum ToolEnd
{
    /// <summary>By itself, with an exit code.</summary>
    Exited,

    /// <summary>By a signal that was not ours: the kernel's memory killer, an operator.</summary>
    Killed,

    /// <summary>It used up its CPU time.</summary>
    CpuLimit,

    /// <summary>It wrote a file larger than allowed.</summary>
    FileSizeLimit,

    /// <summary>It used up its wall-clock time and was terminated.</summary>
    TimeLimit,

    /// <summary>It showed no progress and was terminated.</summary>
    Stalled,
}

/// <param name="End">How it ended.</param>
/// <param name="ExitCode">Exit code, or 128 plus the signal.</param>
/// <param name="Log">The last lines of its standard error, for the message and the log.</param>
internal sealed record ToolOutcome(ToolEnd End, int ExitCode, IReadOnlyList<string> Log)
{
    public bool Succeeded => End == ToolEnd.Exited && ExitCode == 0;

    public bool LogHas(string text) => Log.Any(line => line.Contains(text, StringComparison.Ordinal));
}
