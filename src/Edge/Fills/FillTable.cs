using System.Diagnostics;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Freshness;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Fills;

/// <summary>Every fill under way, by object and chunk: whoever misses a chunk joins its fill or leads a new one.</summary>
internal sealed partial class FillTable(
    UpstreamSet upstreams, ChunkCache cache, ObjectTable objects, FillBuffers buffers, EdgeOptions options, EdgeMeter meter, TimeProvider time, ILogger log)
    : IDisposable
{
    // Readings of one run: the first, and two that take up a broken body. What still breaks then is more than a lost connection.
    private const int MaxReads = 3;

    private readonly Lock _gate = new();
    // By generation too: who asks after a purge never joins what was asked before it.
    // By what may wait for a sibling as well: a sibling never joins that, or two edges could wait for each other.
    private readonly Dictionary<(string Path, long Generation, long Index, bool WaitsForSibling), FillChunk> _chunks = [];
    private readonly Dictionary<(string Path, long Generation, bool WaitsForSibling), Task<Description>> _descriptions = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _running;

    /// <summary>Fills under way.</summary>
    public int Running => Volatile.Read(ref _running);

    /// <summary>Chunks that can be joined.</summary>
    public int Joinable
    {
        get
        {
            lock (_gate)
                return _chunks.Count;
        }
    }

    /// <summary>
    /// Joins the fill of a chunk, or leads one; null when the chunk is in the cache by now, or (for an unknown object) its metadata is known by now: look again.
    /// </summary>
    public FillLease? JoinOrLead(in FillDemand demand)
    {
        Debug.Assert(demand.Wanted is > 0 and <= Chunk.MaxRun);
        var (path, key, known, chunk, wanted) = demand;
        // Before anything is asked of upstream: what comes is at least as new as this.
        var sequence = cache.Sequence;
        var generation = known?.Generation ?? cache.GenerationOf(ObjectHash.OfPath(path));
        var waits = upstreams.MayAskSibling(path, demand.Asker);
        FillLease lease;
        Fill? fill;
        lock (_gate)
        {
            if ((_chunks.TryGetValue((path, generation, chunk, waits), out var present) || (waits && _chunks.TryGetValue((path, generation, chunk, false), out present)))
                && !IsSuperseded(present.Fill, known))
            {
                // A fill of another version (the object was replaced meanwhile) is waited for like any other: the request finds the versions
                // different when it looks at the lease's entry, and plans anew.
                present.References++;
                lease = new(this, present, joined: true);
                fill = demand.IsRepeated ? null : CountJoin(present);
            }
            else
            {
                fill = Lead(demand, sequence, generation, waits);
                if (fill is null)
                    return null;
                fill.Chunks[0].References++;
                lease = new(this, fill.Chunks[0], joined: false);
            }
        }

        if (fill is not null)
            Start(fill);
        return lease;
    }

    /// <summary>
    /// A reader has come to a chunk that was read ahead (<see cref="ReadAhead.Next"/>): that is counted, and at the end of the run the next one starts. False when another
    /// reader was first.
    /// </summary>
    public bool Reached(EdgeObject known, long chunk)
    {
        Fill? next;
        lock (_gate)
        {
            if (!known.ReadAhead.Reach(chunk, out var isLast))
                return false;
            if (_chunks.TryGetValue((known.Path, known.Generation, chunk, upstreams.MayAskSibling(known.Path, default)), out var running))
                Need(running, known);
            else
                meter.Missed(known.ChunkLength(chunk));
            next = isLast ? LeadAhead(known) : null;
        }

        if (next is not null)
            Start(next);
        return true;
    }

    /// <summary>Reads an object's metadata; requests that ask at once share one answer.</summary>
    /// <param name="path">The public path.</param>
    /// <param name="key">The object's key in a store.</param>
    /// <param name="stale">What is known and must not be believed any longer without asking; null when nothing is known.</param>
    /// <param name="asker">Who wants to know.</param>
    public Task<Description> DescribeAsync(string path, ObjectKey key, EdgeObject? stale = null, Asker asker = default)
    {
        var generation = cache.GenerationOf(ObjectHash.OfPath(path));
        var waits = upstreams.MayAskSibling(path, asker);
        lock (_gate)
        {
            if (_descriptions.TryGetValue((path, generation, waits), out var present) || (waits && _descriptions.TryGetValue((path, generation, false), out present)))
                return present;
            // An answer leaves this table after it has entered the object table, so not being in either means that nobody asks.
            var now = time.GetUtcNow();
            if (objects.TryFind(path, now, out var found) && (found != stale || stale.Freshness?.FreshFor(now) > TimeSpan.Zero))
                return Task.FromResult(new Description(found.Exists ? FillOutcome.Completed : FillOutcome.Absent, found));
            _running++;
            return _descriptions[(path, generation, waits)] = Task.Run(() => RunDescribeAsync(path, generation, waits, key, asker));
        }
    }

    /// <summary>Cancels what is under way and returns when all of it has ended.</summary>
    public async Task StopAsync()
    {
        await _stopping.CancelAsync();
        lock (_gate)
        {
            if (_running == 0)
                _idle.TrySetResult();
        }

        await _idle.Task;
    }

    public void Dispose() => _stopping.Dispose();

    internal void Release(FillChunk chunk)
    {
        ChunkBuffer? buffer = null;
        lock (_gate)
        {
            if (--chunk.References == 0)
                (buffer, chunk.Buffer) = (chunk.Buffer, null);
        }

        if (buffer is not null)
            buffers.Return(buffer);
    }

    // Detached: the fill lives by its own deadline, whatever becomes of the request that led it.
    private void Start(Fill fill) => _ = Task.Run(() => RunAsync(fill));

    private Fill? Lead(in FillDemand demand, long sequence, long generation, bool waits)
    {
        var (path, key, known, chunk, wanted) = demand;
        // A chunk leaves the table after it has entered the cache, so not being here and not being there means that nobody fills it.
        if (known is null ? objects.TryFind(path, time.GetUtcNow(), out _) : !demand.Refill && known.IsIn(cache, chunk))
            return null;
        if (known is not null && !demand.IsRepeated)
            known.ReadAhead.Read(wanted);
        var length = Missing(path, generation, waits, known, chunk, known is null || demand.IsExact ? wanted : known.ReadAhead.Run(chunk, wanted, demand.IsSequential));
        var reserved = buffers.TryReserve(length);
        var fill = new Fill(path, key, known, chunk, Math.Max(1, reserved))
        {
            Reserved = reserved,
            Generation = generation,
            Sequence = sequence,
            IsRefill = demand.Refill,
            Wanted = wanted,
            Asker = demand.Asker,
            WaitsForSibling = waits,
        };
        Register(fill);
        if (known is null)
            return fill;
        known.ReadAhead.Filled(chunk, wanted, fill.Chunks.Length);
        for (var i = 0; i < wanted && i < fill.Chunks.Length; i++)
            Need(fill.Chunks[i], known);
        return fill;
    }

    // Reading ahead is a favour: it takes no buffer that a reader may wait for, and asks for nothing that is there or on its way.
    private Fill? LeadAhead(EdgeObject known)
    {
        var first = known.ReadAhead.End;
        var waits = upstreams.MayAskSibling(known.Path, default);
        if (known.ReadAhead.Allowed == 0 || buffers.InUse > buffers.Capacity / 2 || _stopping.IsCancellationRequested
            || IsUnderWay(known.Path, known.Generation, first, waits) || !IsWanted(known, first))
            return null;
        var reserved = buffers.TryReserve(Missing(known.Path, known.Generation, waits, known, first, (int)Math.Min(known.ReadAhead.Allowed, Chunk.MaxRun)));
        if (reserved == 0)
            return null;
        var fill = new Fill(known.Path, known.Key, known, first, reserved) { Reserved = reserved, Generation = known.Generation, Sequence = cache.Sequence, WaitsForSibling = waits };
        Register(fill);
        known.ReadAhead.Filled(first, wanted: 0, reserved);
        return fill;
    }

    // Chunks from the first on, up to the bound, that nobody fills and the cache has not.
    private int Missing(string path, long generation, bool waits, EdgeObject? known, long first, int bound)
    {
        var length = 1;
        while (length < bound && !IsUnderWay(path, generation, first + length, waits) && (known is null || IsWanted(known, first + length)))
            length++;
        return length;
    }

    // A fill of a version that another has replaced, until its chunks have entered the cache. Who wants the version that is known now would find the wrong one again and again.
    private bool IsSuperseded(Fill fill, EdgeObject? known) =>
        known is not null && fill.Entry is { } entry && entry.Hash != known.Hash && objects.TryFind(known.Path, time.GetUtcNow(), out var current) && current.Hash == known.Hash;

    private bool IsUnderWay(string path, long generation, long chunk, bool waits) =>
        _chunks.ContainsKey((path, generation, chunk, waits)) || (waits && _chunks.ContainsKey((path, generation, chunk, false)));

    private void Register(Fill fill)
    {
        for (var i = 0; i < fill.Chunks.Length; i++)
        {
            fill.Chunks[i] = new(fill, i) { References = 1, Buffer = fill.Reserved > 0 ? buffers.Take() : null };
            // In the place of a superseded one, if there is one.
            _chunks[(fill.Path, fill.Generation, fill.FirstChunk + i, fill.WaitsForSibling)] = fill.Chunks[i];
        }

        _running++;
    }

    // Gives the next run's fill, when this reader is the one who has come to the end of what was read ahead.
    private Fill? CountJoin(FillChunk chunk)
    {
        if (chunk.Fill.Entry is not { } entry)
        {
            chunk.Fill.UncountedJoins++;
            return null;
        }

        Need(chunk, entry);
        if (entry.ReadAhead.Reach(chunk.Index, out var isLast))
            return isLast ? LeadAhead(entry) : null;
        entry.ReadAhead.Read(1);
        return null;
    }

    // For the amplification: each chunk that is filled counts once as missed, when somebody first needs it.
    private void Need(FillChunk chunk, EdgeObject entry)
    {
        if (chunk.IsNeeded)
            return;
        chunk.IsNeeded = true;
        meter.Missed(entry.ChunkLength(chunk.Index));
    }

    private bool IsWanted(EdgeObject entry, long chunk) => chunk < Chunk.CountOf(entry.Length) && !entry.IsIn(cache, chunk);

    private async Task RunAsync(Fill fill)
    {
        var outcome = FillOutcome.Unavailable;
        try
        {
            // CancelAfter on a source that was made with a TimeProvider goes by that provider's clock; a linked source would not.
            using var deadline = new CancellationTokenSource(options.FillTimeout, time);
            using var stop = _stopping.Token.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
            outcome = await FillAsync(fill, deadline);
            if (outcome is FillOutcome.Truncated or FillOutcome.Contradictory)
                LogFillFailed(log, fill.Path, fill.FirstChunk, outcome, null);
        }
        catch (Exception exception)
        {
            // A detached task has nobody to throw to: every failure becomes an outcome, which its readers map to a status.
            outcome = OutcomeOf(exception);
            // A range past the end is the client's mistake, and no news for the operator.
            if (outcome != FillOutcome.PastEnd)
                LogFillFailed(log, fill.Path, fill.FirstChunk, outcome, exception);
        }
        finally
        {
            Settle(fill, outcome);
        }
    }

    private async Task<FillOutcome> FillAsync(Fill fill, CancellationTokenSource deadline)
    {
        // 1. Buffers, when there were none at once.
        if (fill.Reserved == 0 && !await ReserveAsync(fill))
            return FillOutcome.NoBuffers;

        // 2. Upstream. A body that breaks off is taken up where it broke, from whoever has the same version.
        for (var reads = 1; ; reads++)
        {
            var outcome = await ReadAsync(fill, deadline.Token);
            var isBroken = outcome is FillOutcome.Truncated or FillOutcome.Contradictory or FillOutcome.Unavailable or FillOutcome.TimedOut;
            if (!isBroken || reads == MaxReads || deadline.IsCancellationRequested)
                return outcome;
        }
    }

    private async Task<FillOutcome> ReadAsync(Fill fill, CancellationToken deadline)
    {
        // 2a. One call gives both metadata and bytes.
        var known = fill.Entry;
        var begin = fill.FirstChunk * Chunk.SizeBytes + fill.Landed;
        var range = new ObjectRange(begin, (long)fill.Chunks.Length * Chunk.SizeBytes - fill.Landed);
        await using var read = await upstreams.OpenAsync(new(fill.Path, fill.Key, fill.Sequence) { Expected = known?.Info, Asker = fill.Asker, Broke = fill.ReadFrom }, range, deadline);
        if (read is null)
        {
            objects.Add(EdgeObject.Absent(fill.Path, fill.Key, fill.Generation, time.GetUtcNow() + options.AbsentTtl));
            return FillOutcome.Absent;
        }

        fill.ReadFrom = read.Upstream;

        // 2b. Upstream's truth is checked before a byte of it is shown.
        if (known is not null && !known.IsSameVersion(read.Object.Info))
        {
            objects.Add(Present(fill.Path, read.Object, fill.Generation));
            return FillOutcome.Changed;
        }

        if (known is null)
            Open(fill, objects.Add(Present(fill.Path, read.Object, fill.Generation)));
        else
            known.Freshness = FreshnessOf(read.Object);

        // 2c. Bytes, shown as they land. The last ones are held back until the body has ended where it should.
        try
        {
            for (var left = read.Length; left > 0;)
            {
                var (ordinal, offset) = Math.DivRem(fill.Landed, Chunk.SizeBytes);
                var room = fill.Chunks[ordinal].Buffer!.Content[(int)offset..];
                var count = await read.Content.ReadAsync(left < room.Length ? room[..(int)left] : room, deadline);
                if (count == 0)
                    return FillOutcome.Truncated;
                left -= count;
                meter.Filled(count);
                if (left == 0 && await read.Content.ReadAsync(new byte[1], deadline) != 0)
                    return FillOutcome.Contradictory;
                fill.Land(count);
            }
        }
        catch (Exception exception)
        {
            var outcome = OutcomeOf(exception);
            UpstreamSet.BodyEnded(read, outcome);
            LogFillFailed(log, fill.Path, fill.FirstChunk, outcome, exception);
            return outcome;
        }

        return FillOutcome.Completed;
    }

    // What readers wanted before the object was known enters its account now.
    private void Open(Fill fill, EdgeObject entry)
    {
        lock (_gate)
        {
            var wanted = (int)Math.Min(fill.Wanted, Chunk.CountOf(entry.Length) - fill.FirstChunk);
            entry.ReadAhead.Read(wanted + fill.UncountedJoins);
            for (var i = 0; i < wanted && i < fill.Chunks.Length; i++)
                Need(fill.Chunks[i], entry);
            entry.ReadAhead.Filled(fill.FirstChunk, wanted, wanted);
            fill.Opened(entry);
        }
    }

    private EdgeObject Present(string path, UpstreamObject found, long generation) => EdgeObject.Present(path, found.Info, generation, FreshnessOf(found));

    // A store says nothing of freshness, so the operator does.
    private ResponseFreshness FreshnessOf(UpstreamObject found) => found.Freshness ?? new()
    {
        Lifetime = options.ObjectTtl,
        Source = LifetimeSource.Default,
        ReceivedAt = time.GetUtcNow(),
        StaleWhileRevalidate = options.StaleWhileRevalidate,
        StaleIfError = options.StaleIfError,
    };

    private async Task<bool> ReserveAsync(Fill fill)
    {
        using var wait = new CancellationTokenSource(options.FillBufferWait, time);
        using var stop = _stopping.Token.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), wait);
        try
        {
            await buffers.ReserveOneAsync(wait.Token);
        }
        catch (OperationCanceledException) when (!_stopping.IsCancellationRequested)
        {
            return false;
        }

        lock (_gate)
            fill.Chunks[0].Buffer = buffers.Take();
        fill.Reserved = 1;
        return true;
    }

    // The one place where a fill ends, however it ended.
    private void Settle(Fill fill, FillOutcome outcome)
    {
        if (outcome is FillOutcome.Truncated or FillOutcome.Contradictory && fill.Entry is { } doubtful)
            objects.Remove(doubtful);
        // Past the end of an object that was known to be longer: it was replaced by a shorter one.
        if (outcome is FillOutcome.Absent or FillOutcome.PastEnd && fill.Known is { } gone)
            objects.Remove(gone);
        meter.FillEnded(outcome);
        fill.End(outcome);
        foreach (var chunk in fill.Chunks)
        {
            var length = outcome == FillOutcome.Completed ? fill.Entry!.ChunkLength(chunk.Index) : 0;
            if (length == 0)
            {
                Unregister(chunk);
                continue;
            }

            // Also after a purge of the path: those who asked before it may need more of what they began with, and nobody else finds it.
            fill.Entry!.HasStoredChunks = true;
            var record = new CacheRecord(fill.Entry.ChunkKey(chunk.Index), fill.Entry.PathHash, fill.Sequence, length);
            cache.Write(new(record, chunk.Buffer!.Seal(record), () => Unregister(chunk), cache.Pins.IsPinned(fill.Entry.Hash), fill.IsRefill));
        }

        lock (_gate)
        {
            if (--_running == 0 && _stopping.IsCancellationRequested)
                _idle.TrySetResult();
        }
    }

    private void Unregister(FillChunk chunk)
    {
        lock (_gate)
        {
            var key = (chunk.Fill.Path, chunk.Fill.Generation, chunk.Index, chunk.Fill.WaitsForSibling);
            if (_chunks.TryGetValue(key, out var present) && present == chunk)
                _chunks.Remove(key);
        }

        Release(chunk);
    }

    private async Task<Description> RunDescribeAsync(string path, long generation, bool waits, ObjectKey key, Asker asker)
    {
        try
        {
            using var deadline = new CancellationTokenSource(options.FillTimeout, time);
            using var stop = _stopping.Token.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), deadline);
            var found = await upstreams.FindAsync(new(path, key, cache.Sequence) { Asker = asker }, deadline.Token);
            var entry = objects.Add(found is null
                ? EdgeObject.Absent(path, key, generation, time.GetUtcNow() + options.AbsentTtl)
                : Present(path, found, generation));
            return new(found is null ? FillOutcome.Absent : FillOutcome.Completed, entry);
        }
        catch (Exception exception)
        {
            var outcome = OutcomeOf(exception);
            LogFillFailed(log, path, 0, outcome, exception);
            return new(outcome, null);
        }
        finally
        {
            lock (_gate)
            {
                _descriptions.Remove((path, generation, waits));
                if (--_running == 0 && _stopping.IsCancellationRequested)
                    _idle.TrySetResult();
            }
        }
    }

    private FillOutcome OutcomeOf(Exception exception) =>
        exception is OperationCanceledException && _stopping.IsCancellationRequested ? FillOutcome.Stopped : UpstreamSet.OutcomeOf(exception);

    [LoggerMessage(1020, LogLevel.Warning, "Fill of {Path} from chunk {Chunk} ended: {Outcome}")]
    private static partial void LogFillFailed(ILogger logger, string path, long chunk, FillOutcome outcome, Exception? exception);
}

/// <summary>The answer to a question for metadata alone.</summary>
internal sealed record Description(FillOutcome Outcome, EdgeObject? Entry);
