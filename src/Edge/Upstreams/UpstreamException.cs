using Delivery.Edge.Fills;

namespace Delivery.Edge.Upstreams;

/// <summary>An upstream broke its promise.</summary>
/// <param name="outcome">How the fill that asked ends, unless another upstream helps.</param>
/// <param name="upstream">Who.</param>
/// <param name="message">What it did, in words.</param>
/// <param name="inner">Why.</param>
internal sealed class UpstreamException(FillOutcome outcome, string upstream, string message, Exception? inner = null) : Exception(message, inner)
{
    public FillOutcome Outcome { get; } = outcome;

    public string Upstream { get; } = upstream;

    /// <summary>
    /// Whether the same question may be answered a moment later. Not after a time-out, which has cost more than a listener waits; not when the upstream asks to be left alone.
    /// </summary>
    public bool CanRetry { get; init; }
}
