namespace Delivery.Transcoder.Ladders;

/// <summary>A ladder's JSON is wrong; every problem is listed.</summary>
public sealed class LadderException(IReadOnlyList<string> problems) : Exception($"The ladder is not valid: {string.Join(" ", problems)}")
{
    public IReadOnlyList<string> Problems { get; } = problems;
}
