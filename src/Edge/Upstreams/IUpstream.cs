using Delivery.Edge.Freshness;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>
/// One place that objects come from: the object store, another edge, an HTTP origin. Absence is null; what goes wrong is a <see cref="StoreException"/> or an
/// <see cref="UpstreamException"/>; the caller's token ends every wait. Whether to try again, or elsewhere, is <see cref="UpstreamSet"/>'s to decide.
/// </summary>
internal interface IUpstream
{
    /// <summary>Its name in metrics, logs and <c>Proxy-Status</c>.</summary>
    string Name { get; }

    /// <summary>
    /// It is an object store: what it has under a name that is a digest of the content, every store of this edge has as well, or will have. So its "no such object" is asked of the others too.
    /// </summary>
    bool IsStore { get; }

    /// <summary>Reads an object's metadata; null when there is no such object.</summary>
    ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken);

    /// <summary>
    /// Opens a part of an object; null when there is no such object. All bytes come from the version that <see cref="UpstreamRead.Object"/> names. The part starts where it
    /// was asked for and ends there or at the object's end; whether it does is checked by <see cref="UpstreamSet"/>.
    /// </summary>
    ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken);
}

/// <summary>What is asked for.</summary>
/// <param name="Path">The public path: what a peer is asked for, and what HTTP origins and sibling hashing go by.</param>
/// <param name="Key">The object's key in a store.</param>
/// <param name="Sequence">The cache's control sequence when it was asked: a peer that has applied less must not answer.</param>
internal sealed record UpstreamQuery(string Path, ObjectKey Key, long Sequence)
{
    /// <summary>For whom it is asked.</summary>
    public Asker Asker { get; init; }

    /// <summary>The version that is expected, when one is known; the answer may still be another, and says so.</summary>
    public ObjectInfo? Expected { get; init; }

    /// <summary>Whose body has just broken off: asked last.</summary>
    public IUpstream? Broke { get; init; }

    /// <summary><c>CDN-Loop</c> (RFC 8586 §2) with this edge's name behind those that the question has passed: whoever gets its own name back is in a loop.</summary>
    public string LoopOf(string edgeId) => Asker.Loop is null ? edgeId : $"{Asker.Loop}, {edgeId}";
}

/// <summary>For whom upstream is asked; default: a listener of this edge.</summary>
/// <param name="IsSibling">An edge of this site, whose own siblings are left out, so that two edges never wait for each other.</param>
/// <param name="Loop">The <c>CDN-Loop</c> of its request; null when a listener asks.</param>
internal readonly record struct Asker(bool IsSibling, string? Loop);

/// <summary>What an upstream says of an object.</summary>
/// <param name="Info">Length, version and type.</param>
/// <param name="Freshness">How long that may be believed; null: as the edge's options say.</param>
internal sealed record UpstreamObject(ObjectInfo Info, ResponseFreshness? Freshness = null);

/// <summary>An open part of an object.</summary>
internal sealed class UpstreamRead(IUpstream upstream, UpstreamObject found, long offset, long length, Stream content, IAsyncDisposable owner) : IAsyncDisposable
{
    /// <summary>Who gives it.</summary>
    public IUpstream Upstream { get; } = upstream;

    public UpstreamObject Object { get; } = found;

    public long Offset { get; } = offset;

    public long Length { get; } = length;

    public Stream Content { get; } = content;

    public ValueTask DisposeAsync() => owner.DisposeAsync();
}
