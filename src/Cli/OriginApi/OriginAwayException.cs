using Delivery.Cli.CommandLine;

namespace Delivery.Cli.OriginApi;

/// <summary>The origin cannot be reached, broke off, or says that it cannot do it now: the same call may succeed a moment later.</summary>
/// <param name="message">In words.</param>
/// <param name="retryAfter">What the origin asks for; null when it says nothing.</param>
/// <param name="inner">Why.</param>
internal sealed class OriginAwayException(string message, TimeSpan? retryAfter = null, Exception? inner = null) : CliException(CommandLine.ExitCode.Unreachable, message, inner)
{
    public TimeSpan? RetryAfter { get; } = retryAfter;
}
