using System.Collections.Concurrent;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests;

/// <summary>A real store that stalls, cuts, lies and counts on command, as an upstream does on its worst day.</summary>
public sealed class ScriptedStore(IObjectStore inner) : IObjectStore
{
    private readonly ConcurrentQueue<ObjectRange?> _opens = [];
    private long _bytesRead;
    private int _openReads;
    private int _finds;

    /// <summary>What is done to the next reads; null = nothing.</summary>
    public UpstreamScript? Script { get; set; }

    public IReadOnlyList<ObjectRange?> Opens => [.. _opens];

    public int Finds => Volatile.Read(ref _finds);

    public long BytesRead => Volatile.Read(ref _bytesRead);

    public int OpenReads => Volatile.Read(ref _openReads);

    public void ReleaseAll() => Script?.Release();

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _finds);
        if (Script is { } script)
            await script.BeforeOpenAsync(cancellationToken);
        return await inner.FindAsync(key, cancellationToken);
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        _opens.Enqueue(range);
        var script = Script;
        if (script is not null)
            await script.BeforeOpenAsync(cancellationToken);
        var read = await inner.OpenReadAsync(key, range, cancellationToken);
        if (read is null)
            return null;
        Interlocked.Increment(ref _openReads);
        var info = script?.ChangeInfo?.Invoke(read.Info) ?? read.Info;
        return new(info, read.Offset, read.Length + (script?.LengthLie ?? 0), new Content(this, read.Content, script));
    }

    public ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken) =>
        inner.WriteAsync(key, content, write, cancellationToken);

    public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

    public void Dispose() => inner.Dispose();

    public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) =>
        inner.ListAsync(prefix, startAfter, cancellationToken);

    private sealed class Content(ScriptedStore store, Stream inner, UpstreamScript? script) : ForwardStream
    {
        private long _given;
        private int _extra = script?.ExtraBytes ?? 0;
        private bool _disposed;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (script is not null)
            {
                if (_given >= script.CutAfter)
                    return script.ThrowAtCut ? throw new StoreException(StoreError.Unavailable, "The connection broke.") : 0;
                if (_given >= script.HoldAfter)
                    await script.Released.WaitAsync(cancellationToken);
                var bound = Math.Min(script.PieceBytes, script.CutAfter - _given);
                if (_given < script.HoldAfter)
                    bound = Math.Min(bound, script.HoldAfter - _given);
                if (buffer.Length > bound)
                    buffer = buffer[..(int)bound];
            }

            var count = await inner.ReadAsync(buffer, cancellationToken);
            if (count == 0 && _extra > 0)
            {
                count = Math.Min(_extra, buffer.Length);
                _extra -= count;
            }

            _given += count;
            Interlocked.Add(ref store._bytesRead, count);
            return count;
        }

        public override async ValueTask DisposeAsync()
        {
            if (!_disposed)
            {
                _disposed = true;
                Interlocked.Decrement(ref store._openReads);
            }

            await inner.DisposeAsync();
            await base.DisposeAsync();
        }
    }
}

/// <summary>What an upstream does wrong.</summary>
public sealed class UpstreamScript
{
    private readonly TaskCompletionSource _release = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _arrived;

    /// <summary>Every call waits before it answers.</summary>
    public bool HoldOpen { get; init; }

    public StoreError? Fail { get; init; }

    /// <summary>Bytes of each body after which it stands still until released.</summary>
    public long HoldAfter { get; init; } = long.MaxValue;

    /// <summary>Bytes of each body after which it ends.</summary>
    public long CutAfter { get; init; } = long.MaxValue;

    /// <summary>The cut is an error and not an early end.</summary>
    public bool ThrowAtCut { get; init; }

    /// <summary>Bytes that follow the promised ones.</summary>
    public int ExtraBytes { get; init; }

    /// <summary>Added to the length that the read names.</summary>
    public long LengthLie { get; init; }

    /// <summary>Largest piece of one read.</summary>
    public int PieceBytes { get; init; } = int.MaxValue;

    public Func<ObjectInfo, ObjectInfo>? ChangeInfo { get; init; }

    /// <summary>Calls that have arrived.</summary>
    public int Arrived => Volatile.Read(ref _arrived);

    public Task Released => _release.Task;

    public void Release() => _release.TrySetResult();

    public async Task BeforeOpenAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _arrived);
        if (HoldOpen)
            await Released.WaitAsync(cancellationToken);
        if (Fail is { } error)
            throw new StoreException(error, "As scripted.");
    }
}
