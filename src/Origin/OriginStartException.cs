namespace Delivery.Origin;

/// <summary>
/// The origin cannot start, for a reason that its operator can mend: wrong options, a port that is taken, a broken key ring. The message
/// is fit to print as it stands; <see cref="Problems"/> has one entry per fault.
/// </summary>
public sealed class OriginStartException : Exception
{
    internal OriginStartException(IReadOnlyList<string> problems, Exception? inner = null)
        : base("The origin cannot start: " + string.Join("; ", problems) + ".", inner) => Problems = problems;

    public IReadOnlyList<string> Problems { get; }
}
