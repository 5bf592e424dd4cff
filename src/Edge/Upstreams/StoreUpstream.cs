using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>The object store itself.</summary>
internal sealed class StoreUpstream(string name, IObjectStore store) : IUpstream
{
    public string Name { get; } = name;

    public async ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken) =>
        await store.FindAsync(query.Key, cancellationToken) is { } info ? new(info) : null;

    public async ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken) =>
        await store.OpenReadAsync(query.Key, range, cancellationToken) is { } read ? new(this, new(read.Info), read.Offset, read.Length, read.Content, read) : null;
}
