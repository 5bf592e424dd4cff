using System.Collections.Concurrent;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>An upstream of 1,000 bytes that answers, fails or waits on command, and counts.</summary>
internal sealed class ScriptedUpstream(string name) : IUpstream
{
    public const int Length = 1000;

    private readonly ConcurrentQueue<UpstreamQuery> _asked = [];
    private int _open;

    public string Name { get; } = name;

    public bool IsStore { get; set; }

    /// <summary>What happens before the answer; throwing is failing.</summary>
    public Func<CancellationToken, Task> Script { get; set; } = _ => Task.CompletedTask;

    public bool IsAbsent { get; set; }

    /// <summary>Bytes that a body gives.</summary>
    public int BodyBytes { get; set; } = Length;

    public int Asked => _asked.Count;

    public UpstreamQuery LastQuery => _asked.Last();

    /// <summary>Reads that were handed out and not disposed.</summary>
    public int Open => Volatile.Read(ref _open);

    public async ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken)
    {
        _asked.Enqueue(query);
        await Script(cancellationToken);
        return IsAbsent ? null : Describe(query);
    }

    public async ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken)
    {
        _asked.Enqueue(query);
        await Script(cancellationToken);
        if (IsAbsent)
            return null;
        var (offset, length) = range.Within(Length);
        Interlocked.Increment(ref _open);
        return new(this, Describe(query), offset, length, new MemoryStream(new byte[Math.Min(BodyBytes, length)]), new Owner(this));
    }

    /// <summary>For a set whose options name no store.</summary>
    public static IObjectStore NoStore(UpstreamOptions upstream) => throw new ArgumentException("No store stands in the options.", nameof(upstream));

    public void Fail(Func<Exception> failure) => Script = _ => Task.FromException(failure());

    private static UpstreamObject Describe(UpstreamQuery query) => new(new(query.Key, Length, "v1", "audio/ogg", null, DateTimeOffset.UnixEpoch));

    private sealed class Owner(ScriptedUpstream upstream) : IAsyncDisposable
    {
        private int _disposed;

        public ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
                Interlocked.Decrement(ref upstream._open);
            return ValueTask.CompletedTask;
        }
    }
}
