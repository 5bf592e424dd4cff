namespace Delivery.Transcoder.Jobs;

/// <summary>The queue did not take it, and says why and what to do. Nothing is lost that was accepted before; a later try may succeed.</summary>
public sealed class QueueException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The line is full: a later try succeeds when workers have made room.</summary>
    public bool IsFull { get; init; }
}
