namespace Delivery.Transcoder.Tools;

/// <summary>The operator must install something: the message names each missing tool and its Debian package.</summary>
public sealed class ToolsMissingException(IReadOnlyList<string> missing, string message) : Exception(message)
{
    /// <summary>Names of the missing tools, for example <c>ffprobe</c>; empty when the tools are there but cannot make the ladder.</summary>
    public IReadOnlyList<string> Missing { get; } = missing;
}
