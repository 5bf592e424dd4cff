using System.Collections.Concurrent;
using System.Threading.Channels;
using Delivery.ObjectStore.Copying;
using Microsoft.Extensions.Logging;

namespace Delivery.ObjectStore.Failover;

/// <summary>A write or delete of this process, from before it begins until it is on the secondary.</summary>
internal sealed record PendingChange(string Id, ObjectKey Key, MarkerKind Kind, int Source, int Epoch)
{
    /// <summary>Until when its marker must stand in any case; null once the change has ended for certain.</summary>
    public DateTimeOffset? UnsureUntil { get; init; }

    /// <summary>When it was accepted; null while it runs.</summary>
    public long? AcceptedAt { get; init; }

    public DateTimeOffset AcceptedOn { get; init; }
}

/// <summary>
/// Carries what this process writes to the secondary. What it does not get to (its queue is full, the process is killed) stands in a marker on the primary, and a sweep finds it.
/// </summary>
/// <remarks><code>
/// marker on the primary ─▶ the write ─┬─ accepted ─▶ queue ─▶ copied, and the primary looked at again ─▶ marker deleted
///                                     ├─ refused  ─▶ queue ─▶ marker deleted
///                                     └─ unsure   ─▶ queue ─▶ copied as it is now; the marker stays until it expires
/// </code></remarks>
internal sealed partial class Replicator : IAsyncDisposable
{
    /// <summary>Changes that wait in memory, a few hundred bytes each. At the bound a change is left to its marker.</summary>
    public const int QueueBound = 10_000;

    /// <summary>For work under way when the process stops; what is not done by then stands in markers.</summary>
    public static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(5);

    private readonly IReadOnlyList<StoreLink> _links;
    private readonly StoreRoles _roles;
    private readonly FailoverOptions _options;
    private readonly FailoverMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Channel<PendingChange> _queue;
    private readonly ConcurrentDictionary<string, PendingChange> _pending = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task[] _workers;

    public Replicator(
        IReadOnlyList<StoreLink> links, StoreRoles roles, FailoverOptions options, FailoverMetrics metrics, TimeProvider time, ILogger log, int queueBound = QueueBound)
    {
        (_links, _roles, _options, _metrics, _time, _log) = (links, roles, options, metrics, time, log);
        Backoff = new(time);
        // Waiting is what TryWrite never does: at the bound it says no.
        _queue = Channel.CreateBounded<PendingChange>(new BoundedChannelOptions(queueBound) { FullMode = BoundedChannelFullMode.Wait });
        _workers = [.. Enumerable.Range(0, options.Copies).Select(_ => Task.Run(WorkAsync))];
    }

    public Backoff Backoff { get; }

    /// <summary>Accepted here and not known to be on the secondary.</summary>
    public IEnumerable<PendingChange> Waiting => _pending.Values.Where(c => c.AcceptedAt is not null);

    /// <summary>Nothing of this process runs or waits.</summary>
    public bool IsIdle => _pending.IsEmpty;

    /// <summary>Whether a marker is this process's own and still in its hands.</summary>
    public bool TryGet(string id, out PendingChange? change) => _pending.TryGetValue(id, out change);

    /// <summary>Puts up the marker, before the change begins.</summary>
    /// <exception cref="StoreException">Of the primary: then nothing has begun.</exception>
    public async ValueTask<PendingChange> BeginAsync(ObjectKey key, MarkerKind kind, RoleView view, CancellationToken cancellationToken)
    {
        var now = _time.GetUtcNow();
        var change = new PendingChange(ReplicationMarker.NewId(now), key, kind, view.Primary!.Value, view.Epoch) { UnsureUntil = now + _options.MaxWriteTime };
        _pending[change.Id] = change;
        try
        {
            var marker = new ReplicationMarker { Key = key.Value, Kind = kind, StartedAt = now, ExpiresAt = change.UnsureUntil.Value };
            await _links[change.Source].Store.WriteJsonAsync(ReplicationMarker.KeyOf(change.Id), marker, FailoverJson.Default.ReplicationMarker, WritePrecondition.None, cancellationToken);
            return change;
        }
        catch
        {
            // It may be there all the same; a sweep finds it, and nothing to do for it.
            _pending.TryRemove(change.Id, out _);
            throw;
        }
    }

    /// <summary>The primary has it.</summary>
    public void Accepted(PendingChange change) => Enqueue(change with { UnsureUntil = null, AcceptedAt = _time.GetTimestamp(), AcceptedOn = _time.GetUtcNow() });

    /// <summary>The primary has certainly not taken it.</summary>
    public void Refused(PendingChange change) => Enqueue(change with { UnsureUntil = null });

    /// <summary>Nobody knows whether the primary has taken it, or will: the connection broke, or the call was cancelled on its way.</summary>
    public void Unsure(PendingChange change) => Enqueue(change with { AcceptedAt = _time.GetTimestamp(), AcceptedOn = _time.GetUtcNow() });

    public async ValueTask DisposeAsync()
    {
        _queue.Writer.Complete();
        await _stop.CancelAsync();
        await Task.WhenAll(_workers).WaitAsync(StopTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Whether a failure is the stores' as a whole, rather than one key's.</summary>
    public static bool IsOfTheStore(StoreException failure) => failure.CanRetry || failure.Fault == StoreFault.Operator;

    private void Enqueue(PendingChange change)
    {
        _pending[change.Id] = change;
        if (_queue.Writer.TryWrite(change))
            return;
        _pending.TryRemove(change.Id, out _);
        LogQueueFull(_log, change.Key.Value);
    }

    private async Task WorkAsync()
    {
        try
        {
            await foreach (var change in _queue.Reader.ReadAllAsync(_stop.Token))
            {
                await SettleAsync(change, _stop.Token);
                _pending.TryRemove(change.Id, out _);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    // Ends when the change is settled, or left to its marker.
    private async Task SettleAsync(PendingChange change, CancellationToken stop)
    {
        while (true)
        {
            await Backoff.WaitAsync(stop);
            var view = _roles.View;
            if (view.Primary != change.Source || view.Epoch != change.Epoch)
            {
                // The primary has moved. What was accepted there and did not get over is adopted by its marker.
                if (change.AcceptedAt is not null)
                    return;
            }
            else if (change.AcceptedAt is not null && !_roles.MayOverwrite(view))
            {
                // It does not answer, or is not settled yet after a switch. That is no failure, and must not put off who settles it.
                await Task.Delay(Backoff.First, _time, stop);
                continue;
            }

            try
            {
                if (change.AcceptedAt is not null)
                {
                    using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop, view.Ended);
                    _metrics.Settled(await CopyAsync(_links, view, change.Key, change.Kind, ended.Token));
                }

                if (change.UnsureUntil is null)
                    await _links[change.Source].Store.DeleteAsync(ReplicationMarker.KeyOf(change.Id), stop);
                Backoff.Succeeded();
                return;
            }
            catch (StoreException e)
            {
                _metrics.CopyFailed(e.Error);
                // A marker of what did not happen is nobody's loss; one key's trouble must not hold the others.
                if (change.AcceptedAt is null || !IsOfTheStore(e))
                {
                    if (change.AcceptedAt is not null)
                        LogKeyFailed(_log, change.Key.Value, e.Error, e.Message);
                    return;
                }

                LogFailed(_log, change.Key.Value, e.Error, e.Message);
                Backoff.Failed();
            }
            catch (OperationCanceledException) when (!stop.IsCancellationRequested)
            {
                // The view has ended; the next one is looked at.
            }
        }
    }

    /// <summary>Makes one key of the secondary what it is on the primary.</summary>
    public static ValueTask<CopyResult> CopyAsync(IReadOnlyList<StoreLink> links, RoleView view, ObjectKey key, MarkerKind kind, CancellationToken cancellationToken) =>
        ObjectCopy.EnsureAsync(links[view.Primary!.Value].Store, links[1 - view.Primary.Value].Store, key, OptionsFor(key, kind), cancellationToken);

    /// <summary>What cannot change and is as long is the same; of anything else that is not enough.</summary>
    public static CopyOptions OptionsFor(ObjectKey key, MarkerKind kind) => new() { Verify = !StoreKeys.IsImmutable(key), DeleteWhenAbsent = kind == MarkerKind.Delete };

    [LoggerMessage(4021, LogLevel.Warning, "Replication waits; '{Key}' cannot be copied now ({Error}): {Message}")]
    private static partial void LogFailed(ILogger logger, string key, StoreError error, string message);

    [LoggerMessage(4022, LogLevel.Error, "'{Key}' cannot be replicated ({Error}), and stays in its marker: {Message}")]
    private static partial void LogKeyFailed(ILogger logger, string key, StoreError error, string message);

    [LoggerMessage(4023, LogLevel.Debug, "The replication queue is full: '{Key}' is left to its marker")]
    private static partial void LogQueueFull(ILogger logger, string key);
}
