namespace Delivery.Edge;

/// <summary>The edge cannot start, for a reason that the operator can mend; the message says which.</summary>
public sealed class EdgeStartException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The port that another process holds, when that is the reason.</summary>
    public int? PortInUse { get; init; }
}
