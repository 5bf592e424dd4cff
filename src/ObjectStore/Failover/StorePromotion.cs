using Delivery.ObjectStore.Copying;

namespace Delivery.ObjectStore.Failover;

/// <summary>How to promote.</summary>
public sealed record PromotionOptions
{
    /// <summary>Also while the present primary does not answer. What it had accepted and not replicated is then left behind until it comes back.</summary>
    public bool Force { get; init; }

    /// <summary>Who promotes, for the record.</summary>
    public string By { get; init; } = Environment.MachineName;

    /// <summary>Told what is being done, a line at a time.</summary>
    public Action<string>? Progress { get; init; }
}

/// <summary>What a promotion came to.</summary>
/// <param name="Epoch">The epoch that it is the primary of.</param>
/// <param name="WasPrimary">It was the primary already, and nothing was left to do but what a killed run may have left.</param>
/// <param name="IsPlanned">The other store was fenced and drained first: nothing is left behind.</param>
/// <param name="Drained">Changes that were copied over after the fence.</param>
/// <param name="LeftBehind">Keys of changes that could not be copied, each for a reason of its own; their markers stay on the other store.</param>
/// <param name="ReplicatedAsOf">When not planned: everything accepted before is there; null when no sweep has ever said so.</param>
public sealed record PromotionReport(int Epoch, bool WasPrimary, bool IsPlanned, int Drained, IReadOnlyList<string> LeftBehind, DateTimeOffset? ReplicatedAsOf);

/// <summary>Makes a store the primary of two.</summary>
public static class StorePromotion
{
    /// <summary>
    /// Makes <paramref name="next"/> the primary. Run again after a crash at any point, it finishes the job.
    /// </summary>
    /// <remarks>
    /// <code>
    /// planned:  1 copy what waits ─▶ 2 fence the other ─▶ 3 wait until every lease has ended ─▶ 4 copy the rest ─▶ 5 settled ─▶ 6 log entry ─▶ 7 primary
    /// forced:                                                                                                     6 log entry ─▶ 7 primary
    ///           from 2 to 7 writes are refused (503) and reads go on
    /// </code>
    /// The log entry comes before the role, so that it is the first of its epoch: nobody appends there before.
    /// </remarks>
    /// <param name="next">The store to promote.</param>
    /// <param name="other">The other one of the two; null when there is no way to it.</param>
    /// <param name="options">How.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Stops it where it is; run it again, or promote the other one, to end the pause of writes.</param>
    /// <exception cref="StoreException">
    /// <see cref="StoreError.Unavailable"/>: <paramref name="other"/> does not answer and nothing was forced (nothing has been changed then), or a store failed on the way.
    /// <see cref="StoreError.PreconditionFailed"/>: somebody else promotes at the same time.
    /// </exception>
    public static async Task<PromotionReport> PromoteAsync(IObjectStore next, IObjectStore? other, PromotionOptions options, TimeProvider time, CancellationToken cancellationToken)
    {
        var tell = options.Progress ?? (_ => { });
        var (role, version) = await next.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, cancellationToken);
        var (mark, _) = await next.ReadJsonAsync(ReplicationMark.Key, FailoverJson.Default.ReplicationMark, cancellationToken);
        var there = other is null ? new(null, null, "there is no way to it") : await InspectAsync(other, cancellationToken);
        if (there.Problem is not null && !options.Force)
        {
            throw new StoreException(StoreError.Unavailable, $"The other store does not answer ({there.Problem}), so it cannot be fenced and drained. "
                + $"{(mark is null ? "How far replication is, nobody has noted" : $"Everything accepted before {mark.ReplicatedAsOf:u} is replicated, {mark.Pending} changes were pending")}. With force the rest is left behind.");
        }

        var (ownEpoch, otherEpoch) = (role?.Epoch ?? 1, there.Role?.Epoch ?? 1);
        var logEpoch = (await ControlLogEnd.FindAsync(next, cancellationToken))?.Epoch ?? 1;

        // A run that was killed after the role was written has nothing left: the log entry came before, and who sweeps fences the other one.
        if (role is { Role: StorePart.Primary } && ownEpoch >= otherEpoch && !(there.Role is { Role: StorePart.Primary } && otherEpoch == ownEpoch))
            return new(ownEpoch, WasPrimary: true, IsPlanned: true, 0, [], null);

        Drain drain = new(0, []);
        var isPlanned = false;
        int epoch;
        if (there.Problem is not null || (role is { Role: StorePart.Primary } && there.Role is { Role: StorePart.Primary } && ownEpoch == otherEpoch))
        {
            // Away; or both have claimed it, and may both have accepted changes: a sweep then fences the other one, and adopts or keeps aside what it alone has.
            epoch = Math.Max(Math.Max(ownEpoch, logEpoch), mark?.Epoch ?? 1) + 1;
        }
        else if (role is { Role: StorePart.Secondary } && (ownEpoch > otherEpoch || (ownEpoch == otherEpoch && there.Role is { Role: StorePart.Secondary })))
        {
            // It was fenced, and nobody took its place: nothing was accepted since, so there is nothing to wait for.
            isPlanned = true;
            epoch = Math.Max(ownEpoch, logEpoch) + 1;
        }
        else if (there.Role is { Role: StorePart.Primary, Epoch: > 1 } && !(role is { Role: StorePart.Secondary, Settled: true } && ownEpoch == otherEpoch))
        {
            throw new StoreException(StoreError.Unavailable, "It was the primary before, and what it had accepted then is not settled yet: an origin over both stores does that within a minute.");
        }
        else
        {
            // A killed run's fence stands for this one, unless a forced promotion has gone by since.
            isPlanned = true;
            var fenced = there.Role is { Role: StorePart.Secondary } && otherEpoch > ownEpoch ? there.Role : null;
            epoch = fenced?.Epoch ?? Math.Max(Math.Max(ownEpoch, otherEpoch), logEpoch) + 1;
            drain = await FenceAndDrainAsync(next, other!, there, fenced, epoch, options, time, tell, cancellationToken);
        }

        // 6.
        await AppendEpochAsync(next, epoch, options, time, cancellationToken);

        // 7.
        var primary = new StoreRole { Epoch = epoch, Role = StorePart.Primary, Since = time.GetUtcNow(), By = options.By };
        await next.WriteJsonAsync(StoreKeys.Role, primary, FailoverJson.Default.StoreRole, SmallJson.Unchanged(version), cancellationToken);
        tell($"It is the primary of epoch {epoch}. Every node knows within {StoreRoles.Poll.TotalSeconds} s.");
        return new(epoch, WasPrimary: false, isPlanned, drain.Copied, drain.LeftBehind, isPlanned ? null : mark?.ReplicatedAsOf);
    }

    private static async Task<Drain> FenceAndDrainAsync(
        IObjectStore next, IObjectStore other, StoreState there, StoreRole? fenced, int epoch, PromotionOptions options, TimeProvider time, Action<string> tell, CancellationToken cancellationToken)
    {
        var version = there.RoleVersion;
        if (fenced is null)
        {
            // 1. While writes still go on, so that the pause is short.
            tell("Copying what is not replicated yet");
            await CopyMarkedAsync(other, next, deletes: false, tell, cancellationToken);

            // 2.
            fenced = new StoreRole { Epoch = epoch, Role = StorePart.Secondary, Since = time.GetUtcNow(), By = options.By };
            version = (await other.WriteJsonAsync(StoreKeys.Role, fenced, FailoverJson.Default.StoreRole, SmallJson.Unchanged(version), cancellationToken)).Version;
        }

        // 3.
        var wait = fenced.Since + StoreRoles.FenceWait - time.GetUtcNow();
        if (wait > TimeSpan.Zero)
        {
            tell($"The other store is fenced. Waiting {Math.Min(wait.TotalSeconds, StoreRoles.FenceWait.TotalSeconds):0} s until every node has seen it");
            await Task.Delay(wait < StoreRoles.FenceWait ? wait : StoreRoles.FenceWait, time, cancellationToken);
        }

        // 4. Whatever still runs there is not acknowledged any more, so every marker can go.
        tell("Copying what was accepted until then");
        var drained = await CopyMarkedAsync(other, next, deletes: true, tell, cancellationToken);

        // 5.
        if (!fenced.Settled)
            await other.WriteJsonAsync(StoreKeys.Role, fenced with { Settled = true }, FailoverJson.Default.StoreRole, SmallJson.Unchanged(version), cancellationToken);
        return drained;
    }

    private static async Task<Drain> CopyMarkedAsync(IObjectStore from, IObjectStore to, bool deletes, Action<string> tell, CancellationToken cancellationToken)
    {
        var (copied, left) = (0, new List<string>());
        await foreach (var id in ReplicationSweep.MarkersAsync(from, cancellationToken))
        {
            var name = id;
            try
            {
                var (marker, _) = await from.ReadJsonAsync(ReplicationMarker.KeyOf(id), FailoverJson.Default.ReplicationMarker, cancellationToken);
                if (marker is null)
                    continue;
                name = marker.Key;
                if (!ObjectKey.TryParse(name, out var key))
                    throw new StoreException(StoreError.Corrupt, $"The marker {id} names no key.");
                var (outcome, _) = await ObjectCopy.EnsureAsync(from, to, key, Replicator.OptionsFor(key, marker.Kind), cancellationToken);
                copied += outcome is CopyOutcome.Copied or CopyOutcome.Deleted ? 1 : 0;
                if (deletes)
                    await from.DeleteAsync(ReplicationMarker.KeyOf(id), cancellationToken);
            }
            catch (StoreException e) when (!Replicator.IsOfTheStore(e))
            {
                // One object that cannot be read or held must not keep all others from their primary.
                left.Add(name);
                tell($"Cannot copy '{name}' ({e.Error}): {e.Message}");
            }
        }

        return new(copied, left);
    }

    // The first entry of the epoch, once. It carries a marker like every other write, so that it is replicated.
    private static async Task AppendEpochAsync(IObjectStore next, int epoch, PromotionOptions options, TimeProvider time, CancellationToken cancellationToken)
    {
        var last = await ControlLogEnd.FindAsync(next, cancellationToken);
        if (last is { } end && end.Epoch >= epoch)
            return;
        var now = time.GetUtcNow();
        var entry = new EpochEntry { Epoch = epoch, Sequence = (last?.Sequence ?? 0) + 1, At = now, By = options.By };
        var key = ControlLogEnd.KeyOf(epoch, entry.Sequence);
        var marker = new ReplicationMarker { Key = key.Value, Kind = MarkerKind.Write, StartedAt = now, ExpiresAt = now };
        await next.WriteJsonAsync(ReplicationMarker.KeyOf(ReplicationMarker.NewId(now)), marker, FailoverJson.Default.ReplicationMarker, WritePrecondition.None, cancellationToken);
        await next.WriteJsonAsync(key, entry, FailoverJson.Default.EpochEntry, WritePrecondition.Absent, cancellationToken);
    }

    private static async Task<StoreState> InspectAsync(IObjectStore store, CancellationToken cancellationToken)
    {
        try
        {
            var (role, version) = await store.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, cancellationToken);
            return new(role, version, null);
        }
        catch (StoreException e)
        {
            return new(null, null, $"{e.Error}: {e.Message}");
        }
    }

    /// <param name="Copied">Changes.</param>
    /// <param name="LeftBehind">Keys that could not be.</param>
    private sealed record Drain(int Copied, IReadOnlyList<string> LeftBehind);

    /// <summary>What the other store tells of itself.</summary>
    /// <param name="Role">Null: nothing, or it does not answer.</param>
    /// <param name="RoleVersion">The version of what it tells.</param>
    /// <param name="Problem">Why it does not answer; null when it does.</param>
    private sealed record StoreState(StoreRole? Role, string? RoleVersion, string? Problem);
}
