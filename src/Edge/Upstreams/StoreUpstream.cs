using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>An object store itself. It is only read from, an object at a time: an edge needs no right to list or to write.</summary>
internal sealed class StoreUpstream(string name, IObjectStore store) : IUpstream
{
    public string Name { get; } = name;

    public bool IsStore => true;

    public async ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken) =>
        await store.FindAsync(query.Key, cancellationToken) is { } info ? new(info) : null;

    public async ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken) =>
        await store.OpenReadAsync(query.Key, range, cancellationToken) is { } read ? new(this, new(read.Info), read.Offset, read.Length, read.Content, read) : null;
}
