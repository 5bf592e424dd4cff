namespace Delivery.ObjectStore.Failover;

/// <summary>
/// A body on its way from one of the two stores. One of an object that cannot change, when it breaks or stands still, goes on from the other store at the same byte; any other fails then, as
/// nobody knows whether the other store has the same version.
/// </summary>
internal sealed class FailoverBody : ForwardStream
{
    /// <summary>Breaks of one body that are mended: each of two stores may restart twice while somebody listens.</summary>
    public const int MaxTakeOvers = 4;

    private readonly StoreReader _reader;
    private readonly IReadOnlyList<StoreLink> _links;
    private readonly FailoverOptions _options;
    private readonly FailoverMetrics _metrics;
    private readonly StoreRoles _roles;
    private readonly TimeProvider _time;
    private readonly ObjectInfo _info;
    private CancellationTokenSource _idle;
    private ObjectRead _read;
    private StoreVisit _visit;
    private long _offset;
    private long _left;
    private int _takeOvers;
    private bool _disposed;

    public FailoverBody(
        ObjectRead read, StoreVisit visit, StoreReader reader, IReadOnlyList<StoreLink> links, StoreRoles roles, FailoverOptions options, FailoverMetrics metrics, TimeProvider time)
    {
        (_read, _visit, _reader, _links, _roles, _options, _metrics, _time) = (read, visit, reader, links, roles, options, metrics, time);
        (_info, _offset, _left) = (read.Info, read.Offset, read.Length);
        _idle = new(Timeout.InfiniteTimeSpan, time);
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_left == 0 || buffer.Length == 0)
            return 0;
        buffer = buffer[..(int)Math.Min(buffer.Length, _left)];
        while (true)
        {
            StoreException failure;
            var count = 0;
            try
            {
                _idle.CancelAfter(_options.IdleTimeout);
                await using (cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _idle))
                    count = await _read.Content.ReadAsync(buffer, _idle.Token);
                _idle.CancelAfter(Timeout.InfiniteTimeSpan);
                if (count > 0)
                {
                    (_offset, _left) = (_offset + count, _left - count);
                    if (_left > 0)
                        return count;
                    // Some stores tell only at the end that the bytes were not those that they should be, and the caller may never ask for the end.
                    _idle.CancelAfter(_options.IdleTimeout);
                    await using (cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _idle))
                        await _read.Content.ReadAtLeastAsync(new byte[1], 1, throwOnEndOfStream: false, _idle.Token);
                    _visit.End(ReadOutcome.Answered);
                    return count;
                }

                failure = new(StoreError.Unavailable, $"It ended {_left} bytes early.");
            }
            catch (Exception e)
            {
                cancellationToken.ThrowIfCancellationRequested();
                failure = StoreReader.AsStoreException(e, _options.IdleTimeout);
                // A connection that breaks behind the last byte has brought them all.
                if (_left == 0 && failure.Error != StoreError.Corrupt)
                {
                    _visit.End(ReadOutcome.Answered);
                    return count;
                }
            }

            await TakeOverAsync(failure, cancellationToken);
        }
    }

    public override async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        _visit.End(_left == 0 ? ReadOutcome.Answered : ReadOutcome.GivenUp);
        _idle.Dispose();
        await _read.DisposeAsync();
        await base.DisposeAsync();
    }

    private async ValueTask TakeOverAsync(StoreException failure, CancellationToken cancellationToken)
    {
        var broken = _visit.Link;
        _visit.End(ReadOutcome.BodyBroken, failure);
        _roles.Suspect();
        // Bytes that were given already may be wrong ones: there is nothing to go on from.
        if (failure.Error == StoreError.Corrupt || _left == 0)
            throw failure;
        if (!StoreKeys.IsImmutable(_info.Key))
            throw new StoreException(StoreError.Unavailable, $"'{_info.Key}' broke at byte {_offset}, and as it may change nobody knows whether the other store has the same: {failure.Message}", failure);
        if (_takeOvers++ == MaxTakeOvers)
            throw new StoreException(StoreError.Unavailable, $"'{_info.Key}' broke {_takeOvers} times, last at byte {_offset}: {failure.Message}", failure);

        await _read.DisposeAsync();
        if (_idle.IsCancellationRequested || !_idle.TryReset())
        {
            _idle.Dispose();
            _idle = new(Timeout.InfiniteTimeSpan, _time);
        }

        // The other one first; the same again may have been one lost connection.
        foreach (var link in new[] { _links[1 - broken.Index], broken })
        {
            if (await _reader.TryOpenAsync(link, _info.Key, new ObjectRange(_offset, _left), cancellationToken) is not var (read, visit))
                continue;
            if (read.Offset == _offset && read.Length == _left && read.Info.Length == _info.Length && (read.Info.Sha256 ?? _info.Sha256) == (_info.Sha256 ?? read.Info.Sha256))
            {
                (_read, _visit) = (read, visit);
                _metrics.TookOver();
                return;
            }

            visit.End(ReadOutcome.BodyBroken, new StoreException(StoreError.Corrupt, $"It has another '{_info.Key}'."));
            await read.DisposeAsync();
        }

        throw new StoreException(StoreError.Unavailable, $"'{_info.Key}' broke at byte {_offset}, and no store can go on with it: {failure.Message}", failure);
    }
}
