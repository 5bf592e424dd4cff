using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.ObjectStore.Failover;

/// <summary>
/// A store made of two, for origins and workers: reads fall over, writes go to the primary and are replicated, and which of the two is the primary they say themselves.
/// docs/adr/0017-failover-of-stores.md, docs/formats/replication.md.
/// </summary>
/// <remarks>
/// <list type="bullet">
/// <item>Of an object that may change, what comes from the secondary says so: <see cref="ObjectInfo.MayBeStale"/>, and a version that no write can be conditioned on.</item>
/// <item>That there is no such object is believed of the primary alone.</item>
/// <item>Writes, deletes and listings are the primary's: without it <see cref="StoreError.Unavailable"/>.</item>
/// <item>What is a store's own (<see cref="StoreKeys.IsStoresOwn"/>) is absent here, and refused to writes.</item>
/// </list>
/// </remarks>
public sealed class FailoverStore : IObjectStore, IAsyncDisposable
{
    /// <summary>Where its metrics are.</summary>
    public const string MeterName = FailoverMetrics.MeterName;

    /// <summary>Stands before the version of what may be stale. No driver's version starts so.</summary>
    public const string StaleVersionPrefix = "secondary:";

    /// <summary>
    /// Up to so many bytes of an object that may change are read before the read is answered: when its body breaks, the whole read falls over. Of a larger one the body may break and then fails.
    /// Nearly every manifest is below 100 KB.
    /// </summary>
    public const int MaxManifestInMemory = 1 << 20;

    private readonly StoreLink[] _links;
    private readonly FailoverOptions _options;
    private readonly TimeProvider _time;
    private readonly FailoverMetrics _metrics = new();
    private readonly StoreRoles _roles;
    private readonly StoreReader _reader;
    private readonly Replicator _replicator;
    private readonly ReplicationSweep _sweep;
    private int _disposed;

    private FailoverStore(IObjectStore first, IObjectStore second, FailoverOptions options, ILogger log, TimeProvider time, int queueBound)
    {
        (_options, _time) = (options, time);
        _links = [new(first, 0, _metrics, time, log), new(second, 1, _metrics, time, log)];
        _roles = new([first, second], store => _links[store].Breaker.Answers(), options.FirstByteTimeout, time, log);
        _reader = new(_links, _roles, options, _metrics, time);
        _replicator = new(_links, _roles, options, _metrics, time, log, queueBound);
        _sweep = new(_links, _roles, _replicator, options, _metrics, time, log);
        _metrics.Watch(_links, _reader.Budget, _roles, () => (ReplicationLag.TotalSeconds, Pending));
    }

    /// <summary>Makes one store of two. Neither needs to answer yet.</summary>
    /// <param name="first">The primary as long as no promotion has said otherwise.</param>
    /// <param name="second">The other one.</param>
    /// <param name="options">Bounds.</param>
    /// <param name="log">Receives 4001 to 4049; null: nobody does.</param>
    /// <param name="time">The clock of all of it.</param>
    /// <remarks>Owns both stores.</remarks>
    public static FailoverStore Open(IObjectStore first, IObjectStore second, FailoverOptions options, ILoggerFactory? log, TimeProvider time) =>
        Open(first, second, options, log, time, Replicator.QueueBound);

    internal static FailoverStore Open(IObjectStore first, IObjectStore second, FailoverOptions options, ILoggerFactory? log, TimeProvider time, int queueBound) =>
        new(first, second, options, (log ?? NullLoggerFactory.Instance).CreateLogger(typeof(FailoverStore).FullName!), time, queueBound);

    /// <summary>The epoch of the roles as this node knows it: 1, and one more with each promotion. The control log numbers its entries by it.</summary>
    public int Epoch => _roles.View.Epoch;

    /// <summary>Which store takes the writes, by its place in the configuration (0 or 1); null in the middle of a switch.</summary>
    public int? Primary => _roles.View.Primary;

    /// <summary>Age of the oldest accepted change that is not known to be on the secondary; zero when there is none. Of other processes' changes it knows where it sweeps.</summary>
    public TimeSpan ReplicationLag
    {
        get
        {
            var (oldest, now) = (_sweep.Last.Oldest, _time.GetUtcNow());
            foreach (var own in _replicator.Waiting)
                oldest = oldest is { } other && other < own.AcceptedOn ? other : own.AcceptedOn;
            return oldest is { } at && at < now ? now - at : TimeSpan.Zero;
        }
    }

    /// <summary>Accepted changes that are not known to be on the secondary.</summary>
    public int Pending => _sweep.Last.Count + _replicator.Waiting.Count();

    internal FailoverMetrics Metrics => _metrics;

    internal Replicator Replicator => _replicator;

    internal StoreRoles Roles => _roles;

    internal ReplicationSweep Sweep => _sweep;

    internal IReadOnlyList<StoreLink> Links => _links;

    internal RetryBudget Budget => _reader.Budget;

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (StoreKeys.IsStoresOwn(key))
            return null;
        var answer = await _reader.AskAsync(key, (store, token) => store.FindAsync(key, token), cancellationToken);
        return answer.Value is { } info && answer.MayBeStale ? Stale(info) : answer.Value;
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (StoreKeys.IsStoresOwn(key))
            return null;
        var answer = await _reader.AskAsync(
            key, (store, token) => StoreKeys.IsImmutable(key) ? store.OpenReadAsync(key, range, token) : OpenManifestAsync(store, key, range, token), cancellationToken);
        if (answer.Value is not { } read)
            return null;
        var body = new FailoverBody(read, answer.Visit, _reader, _links, _roles, _options, _metrics, _time);
        return new ObjectRead(answer.MayBeStale ? Stale(read.Info) : read.Info, read.Offset, read.Length, body);
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (StoreKeys.IsStoresOwn(key))
            throw new StoreException(StoreError.KeyRefused, $"'{key}' is one store's own, and is not written through two.");
        return await ChangeAsync(key, MarkerKind.Write, write.Precondition, (store, token) => store.WriteAsync(key, content, write, token), cancellationToken);
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return !StoreKeys.IsStoresOwn(key) && await ChangeAsync(key, MarkerKind.Delete, default, (store, token) => store.DeleteAsync(key, token), cancellationToken);
    }

    /// <inheritdoc/>
    /// <remarks>The primary's alone: an old listing could not say that it is old.</remarks>
    public async IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var (view, link, visit) = await EnterPrimaryAsync($"list '{prefix}'", StoreKeys.Role, cancellationToken);
        await using var entries = link.Store.ListAsync(prefix, startAfter, cancellationToken).GetAsyncEnumerator(cancellationToken);
        while (true)
        {
            try
            {
                if (!await entries.MoveNextAsync())
                    break;
                visit.End(ReadOutcome.Answered);
            }
            catch (StoreException e)
            {
                visit.End(ReadOutcome.Failed, e);
                _roles.Suspect();
                throw;
            }
            finally
            {
                visit.End(cancellationToken.IsCancellationRequested ? ReadOutcome.GivenUp : ReadOutcome.Answered);
            }

            if (!StoreKeys.IsStoresOwn(entries.Current.Key))
                yield return entries.Current;
        }

        if (!await _roles.IsStillPrimaryAsync(view, cancellationToken))
            throw new StoreException(StoreError.Unavailable, $"The primary was switched while '{prefix}' was listed.");
    }

    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    /// <summary>Stops replication within <see cref="Replicator.StopTimeout"/> (what is left stands in markers), and closes both stores.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _sweep.DisposeAsync();
        await _replicator.DisposeAsync();
        await _reader.DisposeAsync();
        await _roles.DisposeAsync();
        _metrics.Dispose();
        foreach (var link in _links)
            link.Store.Dispose();
    }

    private static async ValueTask<ObjectRead?> OpenManifestAsync(IObjectStore store, ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        var read = await store.OpenReadAsync(key, range, cancellationToken);
        if (read is null || read.Length > MaxManifestInMemory)
            return read;
        await using (read)
        {
            // One byte more than there should be: some stores tell only at the end that the bytes were not the right ones.
            var bytes = new byte[read.Length + 1];
            var count = await read.Content.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);
            return count == read.Length
                ? new ObjectRead(read.Info, read.Offset, read.Length, new MemoryStream(bytes, 0, count, writable: false))
                : throw new StoreException(StoreError.Unavailable, $"'{key}' gave {count} bytes, not {read.Length}.");
        }
    }

    private ObjectInfo Stale(ObjectInfo info)
    {
        _metrics.Stale();
        return info with { MayBeStale = true, Version = StaleVersionPrefix + info.Version };
    }

    // 1 a primary that is one ─▶ 2 its circuit ─▶ 3 marker ─▶ 4 the change ─▶ 5 still the primary? ─▶ 6 to be replicated
    private async ValueTask<T> ChangeAsync<T>(
        ObjectKey key, MarkerKind kind, WritePrecondition precondition, Func<IObjectStore, CancellationToken, ValueTask<T>> change, CancellationToken cancellationToken)
    {
        // 1, 2.
        var (view, link, visit) = await EnterPrimaryAsync($"change '{key}'", key, cancellationToken);
        if (precondition.MustMatchVersion?.StartsWith(StaleVersionPrefix, StringComparison.Ordinal) == true)
        {
            visit.End(ReadOutcome.GivenUp);
            throw new StoreException(StoreError.PreconditionFailed, $"'{key}' was read from the secondary while the primary did not answer, so nothing can be conditioned on that version: read it again.");
        }

        // 3. A small write, so it is also the trial of a half-open circuit, which an upload of an hour should not be.
        PendingChange pending;
        using (var answer = new CancellationTokenSource(_options.AnswerTimeout, _time))
        using (cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), answer))
        {
            try
            {
                pending = await _replicator.BeginAsync(key, kind, view, answer.Token);
                visit.End(ReadOutcome.Answered);
            }
            catch (Exception e)
            {
                visit.End(cancellationToken.IsCancellationRequested ? ReadOutcome.GivenUp : ReadOutcome.Failed, e as StoreException);
                cancellationToken.ThrowIfCancellationRequested();
                _roles.Suspect();
                throw e is StoreException ? e : StoreReader.AsStoreException(e, _options.AnswerTimeout);
            }
        }

        // 4.
        using var deadline = new CancellationTokenSource(_options.MaxWriteTime, _time);
        using var left = cancellationToken.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
        using var ended = view.Ended.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
        T result;
        try
        {
            result = await change(link.Store, deadline.Token);
        }
        catch (StoreException e) when (e.Error != StoreError.Unavailable)
        {
            _replicator.Refused(pending);
            throw;
        }
        catch (StoreException e)
        {
            _replicator.Unsure(pending);
            link.Failed(key, e);
            _roles.Suspect();
            throw;
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            _replicator.Unsure(pending);
            throw new StoreException(StoreError.Unavailable, view.Ended.IsCancellationRequested
                ? $"The primary was switched while '{key}' was changed."
                : $"'{key}' was not changed within {_options.MaxWriteTime.TotalMinutes} minutes.", e);
        }
        catch
        {
            _replicator.Unsure(pending);
            throw;
        }

        // 5. A change that a demoted store took is not acknowledged; by its marker it is not lost either.
        _replicator.Accepted(pending);
        return await _roles.IsStillPrimaryAsync(view, cancellationToken)
            ? result
            : throw new StoreException(StoreError.Unavailable, $"The primary was switched while '{key}' was changed.");
    }

    private async ValueTask<(RoleView View, StoreLink Link, StoreVisit Visit)> EnterPrimaryAsync(string what, ObjectKey key, CancellationToken cancellationToken)
    {
        var view = await _roles.GetAsync(cancellationToken);
        // A lease that had lapsed may come back with another primary.
        if (!await _roles.IsStillPrimaryAsync(view, cancellationToken) && (view = _roles.View).Primary is { } named && !_roles.IsConfirmed(named))
            throw new StoreException(StoreError.Unavailable, $"Cannot {what}: the {_links[named].Name} store does not tell whether it is the primary.");
        if (view.Primary is not { } primary)
            throw new StoreException(StoreError.Unavailable, $"Cannot {what}: the primary is being switched.");
        return _links[primary].TryEnter(key, out var visit)
            ? (view, _links[primary], visit)
            : throw new StoreException(StoreError.Unavailable, $"Cannot {what}: the primary is left alone for a while, as it kept failing.");
    }
}
