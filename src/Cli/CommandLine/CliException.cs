namespace Delivery.Cli.CommandLine;

/// <summary>An expected end of a command: one clear sentence and an exit code, never a stack trace.</summary>
internal class CliException(int exitCode, string message, Exception? inner = null) : Exception(message, inner)
{
    public int ExitCode { get; } = exitCode;
}
