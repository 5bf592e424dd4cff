namespace Delivery.Origin.Api;

/// <summary>Metadata of an endpoint that changes nothing, though its method may.</summary>
internal sealed class OnlyReads
{
    public static OnlyReads Instance { get; } = new();
}
