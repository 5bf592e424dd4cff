using System.Runtime.CompilerServices;
using System.Text.Json;
using Delivery.ObjectStore.Copying;
using Microsoft.Extensions.Logging;

namespace Delivery.ObjectStore.Failover;

/// <summary>
/// Does for both stores what no single writer can: replicates what killed processes left in markers, fences and settles a store that was demoted, and keeps the mark of how far replication is.
/// Any number of processes may sweep at once: every step is idempotent or has a precondition.
/// </summary>
internal sealed partial class ReplicationSweep : IAsyncDisposable
{
    /// <summary>Between two rounds; a round that takes longer is followed by as long a pause.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    /// <summary>A younger marker is in its writer's hands: copying at the same time would cost twice and gain nothing.</summary>
    public static readonly TimeSpan YoungAge = TimeSpan.FromSeconds(10);

    /// <summary>A marker of a write that may still run is looked at again after as long as it is old, but no less often than this.</summary>
    public static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);

    /// <summary>How far clocks of nodes may differ: so much later than its expiry a marker is believed to be nobody's.</summary>
    public static readonly TimeSpan ClockAllowance = TimeSpan.FromMinutes(5);

    /// <summary>Markers that are remembered between rounds, a few hundred bytes each. Those beyond are read anew in each round.</summary>
    public const int MaxRemembered = 10_000;

    private readonly IReadOnlyList<StoreLink> _links;
    private readonly StoreRoles _roles;
    private readonly Replicator _replicator;
    private readonly FailoverOptions _options;
    private readonly FailoverMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _sweeping;
    private Dictionary<string, Looked> _looked = new(StringComparer.Ordinal);
    private volatile Unsynced _unsynced = new(0, null);
    private ReplicationMark? _mark;

    public ReplicationSweep(
        IReadOnlyList<StoreLink> links, StoreRoles roles, Replicator replicator, FailoverOptions options, FailoverMetrics metrics, TimeProvider time, ILogger log)
    {
        (_links, _roles, _replicator, _options, _metrics, _time, _log) = (links, roles, replicator, options, metrics, time, log);
        _sweeping = options.Sweeps ? Task.Run(SweepAsync) : Task.CompletedTask;
    }

    /// <summary>Markers of other processes that stood for something not yet on the secondary, in the last round.</summary>
    public Unsynced Last => _unsynced;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _sweeping.WaitAsync(Replicator.StopTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>The markers of a store, oldest first.</summary>
    public static async IAsyncEnumerable<string> MarkersAsync(IObjectStore store, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var entry in store.ListAsync(ReplicationMarker.Prefix, null, cancellationToken))
        {
            if (ReplicationMarker.IdOf(entry.Key) is { } id)
                yield return id;
        }
    }

    /// <summary>One round; for tests also by hand.</summary>
    public async Task RoundAsync(CancellationToken cancellationToken)
    {
        var view = await _roles.GetAsync(cancellationToken);
        if (view.Primary is not { } primary)
            return;
        using var round = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, view.Ended);
        if (_roles.IsConfirmed(1 - primary))
        {
            try
            {
                await FenceAndSettleAsync(view, round.Token);
            }
            catch (StoreException e) when (Replicator.IsOfTheStore(e))
            {
                LogSettlingWaits(_log, _links[1 - primary].Name, e.Error, e.Message);
            }
        }

        await ReplicateAsync(view, round.Token);
    }

    private async Task SweepAsync()
    {
        try
        {
            while (true)
            {
                var from = _time.GetTimestamp();
                try
                {
                    await RoundAsync(_stop.Token);
                }
                catch (StoreException e)
                {
                    LogRoundFailed(_log, e.Error, e.Message);
                }
                catch (OperationCanceledException) when (!_stop.IsCancellationRequested)
                {
                    // The roles have changed; the next round goes by the new ones.
                }

                var took = _time.GetElapsedTime(from);
                await Task.Delay(took > Every ? took : Every, _time, _stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    /// <summary>
    /// A store that is not the primary says so itself (else it would claim to be it after a restart of everybody), and is overwritten only when all that it had accepted was looked at.
    /// <code>
    /// primary of an older epoch ─ fence ─▶ secondary, not settled ─ leases have ended, markers adopted ─▶ secondary, settled
    /// </code>
    /// </summary>
    private async Task FenceAndSettleAsync(RoleView view, CancellationToken cancellationToken)
    {
        var (primary, demoted) = (_links[view.Primary!.Value], _links[1 - view.Primary.Value]);
        if (view.Epoch == 1 || !_roles.TryGetRecord(demoted.Index, out var role, out var version) || role is { Settled: true } && role.Epoch == view.Epoch)
            return;
        if (role is null || role.Epoch < view.Epoch)
        {
            role = new StoreRole { Epoch = view.Epoch, Role = StorePart.Secondary, Since = _time.GetUtcNow(), By = _options.By };
            if (await TryWriteRoleAsync(demoted, role, version, cancellationToken))
                LogFenced(_log, demoted.Name, view.Epoch);
            return;
        }

        if (_time.GetUtcNow() < role.Since + StoreRoles.FenceWait)
            return;
        await foreach (var id in MarkersAsync(demoted.Store, cancellationToken))
        {
            if (await TryReadMarkerAsync(demoted.Store, id, cancellationToken) is { } marker)
                await AdoptAsync(demoted, primary, id, marker, cancellationToken);
        }

        if (await TryWriteRoleAsync(demoted, role with { Settled = true }, version, cancellationToken))
            LogSettled(_log, demoted.Name, view.Epoch);
    }

    private async Task AdoptAsync(StoreLink demoted, StoreLink primary, string id, ReplicationMarker marker, CancellationToken cancellationToken)
    {
        try
        {
            var outcome = await LeftBehind.AdoptAsync(demoted.Store, primary.Store, id, marker, cancellationToken);
            _metrics.LeftBehind(outcome);
            if (outcome == LeftBehindOutcome.Conflict)
                LogConflict(_log, marker.Key, demoted.Name, LeftBehind.ConflictKey(id, ObjectKey.Parse(marker.Key)).Value);
            else
                LogLeftBehind(_log, marker.Key, marker.Kind, demoted.Name, outcome);
        }
        catch (StoreException e) when (!Replicator.IsOfTheStore(e))
        {
            // One object that cannot be read or held must not keep the store from following. Its marker stays and names it.
            LogNotAdopted(_log, marker.Kind, marker.Key, demoted.Name, e.Error, e.Message);
        }
    }

    private async ValueTask<bool> TryWriteRoleAsync(StoreLink link, StoreRole role, string? version, CancellationToken cancellationToken)
    {
        try
        {
            await link.Store.WriteJsonAsync(StoreKeys.Role, role, FailoverJson.Default.StoreRole, SmallJson.Unchanged(version), cancellationToken);
            return true;
        }
        catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
        {
            // Another sweep was faster, or an operator.
            return false;
        }
        finally
        {
            _roles.Suspect();
        }
    }

    private async Task ReplicateAsync(RoleView view, CancellationToken cancellationToken)
    {
        var now = _time.GetUtcNow();
        var tally = new Tally(now);
        var looked = new Dictionary<string, Looked>(StringComparer.Ordinal);
        await Parallel.ForEachAsync(
            MarkersAsync(_links[view.Primary!.Value].Store, cancellationToken),
            new ParallelOptions { MaxDegreeOfParallelism = _options.Copies, CancellationToken = cancellationToken },
            async (id, token) =>
            {
                var before = _looked.GetValueOrDefault(id);
                var after = await LookAsync(view, id, before, now, tally, token);
                lock (looked)
                {
                    if (after is not null && looked.Count < MaxRemembered)
                        looked[id] = after;
                }
            });
        foreach (var own in _replicator.Waiting)
            tally.Holds(own.AcceptedOn);

        _looked = looked;
        _unsynced = new(tally.Unsynced, tally.OldestUnsynced);
        if (_replicator.Backoff.Left > TimeSpan.Zero || !_roles.MayOverwrite(view))
            return;
        var mark = new ReplicationMark { Epoch = view.Epoch, ReplicatedAsOf = tally.AsOf, Pending = tally.Unsynced + _replicator.Waiting.Count(), By = _options.By };
        if (_mark is { } last && last.Epoch == mark.Epoch && mark.ReplicatedAsOf <= last.ReplicatedAsOf && mark.Pending == last.Pending)
            return;
        await _links[1 - view.Primary.Value].Store.WriteJsonAsync(ReplicationMark.Key, mark, FailoverJson.Default.ReplicationMark, WritePrecondition.None, cancellationToken);
        _mark = mark;
    }

    // What to remember of a marker; null: nothing.
    private async ValueTask<Looked?> LookAsync(RoleView view, string id, Looked? before, DateTimeOffset now, Tally tally, CancellationToken cancellationToken)
    {
        // This process's own: the replicator has it.
        if (_replicator.TryGet(id, out _))
            return null;
        var startedAt = ReplicationMarker.StartOf(id);
        if (now - startedAt < YoungAge)
        {
            tally.Holds(startedAt);
            return null;
        }

        if (before is not null && now < before.NextLook)
        {
            if (before.InSyncAsOf is { } asOf)
                tally.Holds(asOf);
            else
                tally.IsUnsynced(startedAt);
            return before;
        }

        if (_replicator.Backoff.Left > TimeSpan.Zero || !_roles.MayOverwrite(view))
        {
            tally.IsUnsynced(startedAt);
            return before;
        }

        var store = _links[view.Primary!.Value].Store;
        var marker = before?.Marker;
        try
        {
            marker ??= await TryReadMarkerAsync(store, id, cancellationToken);
            if (marker is null)
                return null;
            var key = ObjectKey.Parse(marker.Key);
            _metrics.Settled(await Replicator.CopyAsync(_links, view, key, marker.Kind, cancellationToken));
            _replicator.Backoff.Succeeded();
            if (now > marker.ExpiresAt + ClockAllowance)
            {
                await store.DeleteAsync(ReplicationMarker.KeyOf(id), cancellationToken);
                return null;
            }

            return new(marker, now, NextLook(startedAt, now));
        }
        catch (StoreException e)
        {
            _metrics.CopyFailed(e.Error);
            tally.IsUnsynced(startedAt);
            LogKeyWaits(_log, marker?.Key ?? id, e.Error, e.Message);
            if (!Replicator.IsOfTheStore(e) && marker is not null)
                return new(marker, null, NextLook(startedAt, now));
            _replicator.Backoff.Failed();
            return before;
        }
    }

    private static DateTimeOffset NextLook(DateTimeOffset startedAt, DateTimeOffset now) => now + (now - startedAt < LongestPause ? now - startedAt : LongestPause);

    // Null: it went meanwhile, or is nothing that this version understands; the latter is told and stays.
    private async ValueTask<ReplicationMarker?> TryReadMarkerAsync(IObjectStore store, string id, CancellationToken cancellationToken)
    {
        try
        {
            var (marker, _) = await store.ReadJsonAsync(ReplicationMarker.KeyOf(id), FailoverJson.Default.ReplicationMarker, cancellationToken);
            if (marker is null || (marker.Format == 1 && ObjectKey.TryParse(marker.Key, out _)))
                return marker;
            throw new JsonException($"Its format is {marker.Format}, its key '{marker.Key}'.");
        }
        catch (Exception e) when (e is JsonException or StoreException { Error: StoreError.Corrupt })
        {
            LogBadMarker(_log, id, e.Message);
            return null;
        }
    }

    [LoggerMessage(4031, LogLevel.Warning, "A round of the replication sweep failed ({Error}): {Message}")]
    private static partial void LogRoundFailed(ILogger logger, StoreError error, string message);

    [LoggerMessage(4032, LogLevel.Warning, "'{Key}' of another process's marker cannot be replicated now ({Error}): {Message}")]
    private static partial void LogKeyWaits(ILogger logger, string key, StoreError error, string message);

    [LoggerMessage(4033, LogLevel.Error, "The marker {Id} cannot be read, and stays: {Message}")]
    private static partial void LogBadMarker(ILogger logger, string id, string message);

    [LoggerMessage(4041, LogLevel.Warning, "The {Store} store did not know that it is no longer the primary: fenced at epoch {Epoch}")]
    private static partial void LogFenced(ILogger logger, string store, int epoch);

    [LoggerMessage(4042, LogLevel.Warning, "Left behind: {Kind} of '{Key}' on the {Store} store: {Outcome}")]
    private static partial void LogLeftBehind(ILogger logger, string key, MarkerKind kind, string store, LeftBehindOutcome outcome);

    [LoggerMessage(4043, LogLevel.Error, "'{Key}' was changed on the {Store} store before and on the new primary after the promotion. The new one stands, the old one is kept as '{Kept}'")]
    private static partial void LogConflict(ILogger logger, string key, string store, string kept);

    [LoggerMessage(4046, LogLevel.Error, "Left behind: {Kind} of '{Key}' on the {Store} store cannot be brought over ({Error}): {Message}")]
    private static partial void LogNotAdopted(ILogger logger, MarkerKind kind, string key, string store, StoreError error, string message);

    [LoggerMessage(4044, LogLevel.Information, "The {Store} store is settled as secondary of epoch {Epoch}")]
    private static partial void LogSettled(ILogger logger, string store, int epoch);

    [LoggerMessage(4045, LogLevel.Warning, "The {Store} store cannot be settled as secondary now ({Error}): {Message}")]
    private static partial void LogSettlingWaits(ILogger logger, string store, StoreError error, string message);

    /// <param name="Count">Markers.</param>
    /// <param name="Oldest">When the oldest of their writes began.</param>
    internal sealed record Unsynced(int Count, DateTimeOffset? Oldest);

    /// <summary>A marker as it was looked at: its key was the same in both stores then, or (null) could not be made so for a reason of its own.</summary>
    private sealed record Looked(ReplicationMarker Marker, DateTimeOffset? InSyncAsOf, DateTimeOffset NextLook);

    /// <summary>What a round comes to.</summary>
    private sealed class Tally(DateTimeOffset now)
    {
        private readonly Lock _gate = new();

        public DateTimeOffset AsOf { get; private set; } = now;

        public int Unsynced { get; private set; }

        public DateTimeOffset? OldestUnsynced { get; private set; }

        public void Holds(DateTimeOffset asOf)
        {
            lock (_gate)
                AsOf = asOf < AsOf ? asOf : AsOf;
        }

        public void IsUnsynced(DateTimeOffset startedAt)
        {
            lock (_gate)
            {
                Unsynced++;
                AsOf = startedAt < AsOf ? startedAt : AsOf;
                OldestUnsynced = OldestUnsynced is { } oldest && oldest < startedAt ? oldest : startedAt;
            }
        }
    }
}
