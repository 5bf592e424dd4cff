namespace Delivery.TokenAuth;

/// <summary>A key ring cannot be used. <see cref="Problems"/> lists everything that is wrong with it, and never any of its key material.</summary>
public sealed class KeyRingException(IReadOnlyList<string> problems, Exception? inner = null)
    : Exception($"The key ring cannot be used: {string.Join("; ", problems)}.", inner)
{
    public IReadOnlyList<string> Problems { get; } = problems;
}
