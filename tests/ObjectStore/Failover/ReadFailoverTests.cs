using System.Diagnostics;

namespace Delivery.ObjectStore.Failover;

public sealed class ReadFailoverTests : IAsyncDisposable
{
    private static readonly ObjectKey Audio = ObjectKey.Parse("audio/a.ogg");
    private static readonly ObjectKey Manifest = ObjectKey.Parse("catalog/tracks/t.json");
    private readonly StorePair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FaultyStore Primary => _pair.First;

    private FaultyStore Secondary => _pair.Second;

    public ValueTask DisposeAsync() => _pair.DisposeAsync();

    [Fact]
    public async Task PrimaryDown_WhatCannotChange_ComesFromTheSecondaryUnmarked()
    {
        var bytes = await BothAsync(Audio, 300_000);
        var store = _pair.Open();
        Primary.Down = StoreError.Unavailable;
        var (info, read) = (await store.GetAsync(Audio))!.Value;
        Assert.Equal(bytes, read);
        Assert.False(info.MayBeStale);
        Assert.Equal(bytes[100..200], (await store.GetAsync(Audio, new ObjectRange(100, 100)))!.Value.Bytes);
        Assert.False((await store.FindAsync(Audio, Token))!.MayBeStale);
        Assert.Equal(3, store.Metrics.FallOvers);
        Assert.Equal(0, store.Metrics.StaleReads);
    }

    [Fact]
    public async Task PrimaryDown_WhatMayChange_SaysSo_AndNoWriteCanRestOnIt()
    {
        await BothAsync(Manifest, 500);
        var store = _pair.Open();
        Assert.False((await store.FindAsync(Manifest, Token))!.MayBeStale);

        Primary.Down = StoreError.Unavailable;
        var (info, bytes) = (await store.GetAsync(Manifest))!.Value;
        Assert.True(info.MayBeStale);
        Assert.StartsWith(FailoverStore.StaleVersionPrefix, info.Version, StringComparison.Ordinal);
        var found = (await store.FindAsync(Manifest, Token))!;
        Assert.Equal(info, found);
        Assert.Equal(2, store.Metrics.StaleReads);

        Primary.Down = null;
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await store.PutAsync(Manifest, [1], WritePrecondition.Version(info.Version)));
        var fresh = (await store.FindAsync(Manifest, Token))!;
        Assert.False(fresh.MayBeStale);
        await store.PutAsync(Manifest, [1], WritePrecondition.Version(fresh.Version));
    }

    [Theory]
    [InlineData("audio/none.ogg")]
    [InlineData("catalog/tracks/none.json")]
    public async Task PrimaryDown_AbsentFromTheSecondary_IsNotBelieved(string key)
    {
        var store = _pair.Open();
        Assert.Null(await store.FindAsync(ObjectKey.Parse(key), Token));
        Primary.Down = StoreError.Unavailable;
        var failure = await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.FindAsync(ObjectKey.Parse(key), Token));
        Assert.True(failure.CanRetry);
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.OpenReadAsync(ObjectKey.Parse(key), null, Token));
    }

    [Theory]
    [InlineData(StoreError.Denied)]
    [InlineData(StoreError.Misconfigured)]
    [InlineData(StoreError.ClockSkewed)]
    public async Task OperatorsErrorInOneCloud_DoesNotStopListeners(StoreError error)
    {
        var bytes = await BothAsync(Audio, 1000);
        var store = _pair.Open();
        Primary.Down = error;
        Assert.Equal(bytes, (await store.GetAsync(Audio))!.Value.Bytes);
        Assert.Equal(1, store.Metrics.FallOvers);
    }

    [Fact]
    public async Task BothDown_IsUnavailable_AndNamesBoth()
    {
        await BothAsync(Audio, 10);
        var store = _pair.Open();
        (Primary.Down, Secondary.Down) = (StoreError.Unavailable, StoreError.Unavailable);
        var failure = await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.FindAsync(Audio, Token));
        Assert.Contains("The primary:", failure.Message, StringComparison.Ordinal);
        Assert.Contains("The secondary:", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PrimaryHangs_SecondaryAnswersAfterTheFirstByteTimeout()
    {
        await BothAsync(Manifest, 10);
        var store = _pair.Open();
        await store.FindAsync(Manifest, Token);
        Primary.Waits = (_, key) => key == Manifest ? new TaskCompletionSource().Task : null;
        var reading = store.FindAsync(Manifest, Token).AsTask();
        await _pair.UntilAsync(() => Primary.Asked.Count == 2, "the primary is asked");
        Assert.Empty(Secondary.Asked);
        await _pair.UntilAsync(() => reading.IsCompleted, "an answer", TimeSpan.FromMilliseconds(200));
        Assert.True((await reading)!.MayBeStale);
        Assert.Equal(1, store.Metrics.FallOvers);
    }

    [Fact]
    public async Task LatePrimary_StillAnswers_WhereTheSecondaryCannot()
    {
        await Primary.Inner.PutAsync(Manifest, [1, 2, 3]);
        var store = _pair.Open();
        await store.FindAsync(Manifest, Token);
        var gate = new TaskCompletionSource();
        Primary.Waits = (_, key) => key == Manifest ? gate.Task : null;
        var reading = store.FindAsync(Manifest, Token).AsTask();
        await _pair.UntilAsync(() => !Secondary.Asked.IsEmpty, "the secondary is asked", TimeSpan.FromMilliseconds(200));
        Assert.False(reading.IsCompleted);
        gate.SetResult();
        Assert.False((await reading)!.MayBeStale);
    }

    [Fact]
    public async Task FiveFailures_LeaveThePrimaryAlone_UntilATrialSucceeds()
    {
        await BothAsync(Audio, 10);
        var store = _pair.Open();
        Primary.Down = StoreError.Unavailable;
        for (var i = 0; i < 10; i++)
            await store.FindAsync(Audio, Token);
        Assert.Equal(CircuitBreaker.FailuresToOpen, Primary.Asked.Count);
        Assert.Equal(BreakerState.Open, store.Links[0].Breaker.State);
        // A change is refused at once, and listing with it.
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Audio, [1]));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.EntriesAsync());
        Assert.Equal(CircuitBreaker.FailuresToOpen, Primary.Asked.Count);

        Primary.Down = null;
        _pair.Time.Advance(CircuitBreaker.OpenFor);
        for (var i = 0; i < CircuitBreaker.SuccessesToClose; i++)
            await store.FindAsync(Audio, Token);
        Assert.Equal(BreakerState.Closed, store.Links[0].Breaker.State);
    }

    [Fact]
    public async Task CallerWhoLeaves_IsNoFailureOfTheStore()
    {
        await BothAsync(Manifest, 10);
        var store = _pair.Open();
        Primary.Waits = (_, key) => key == Manifest ? new TaskCompletionSource().Task : null;
        for (var i = 0; i < 2 * CircuitBreaker.FailuresToOpen; i++)
        {
            using var leaves = new CancellationTokenSource();
            var reading = store.FindAsync(Manifest, leaves.Token).AsTask();
            await _pair.UntilAsync(() => Primary.Asked.Count > i, "the primary is asked");
            await leaves.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
        }

        Assert.Equal(BreakerState.Closed, store.Links[0].Breaker.State);
        Assert.Empty(Secondary.Asked);
    }

    [Fact]
    public async Task PastTheEnd_IsThePrimarysAnswer_AndTheSecondarysOnlyOfWhatCannotChange()
    {
        await BothAsync(Audio, 10);
        await BothAsync(Manifest, 10);
        var store = _pair.Open();
        var range = new ObjectRange(10, 1);
        await TestContent.FailsAsync(StoreError.RangeNotSatisfiable, async () => await store.OpenReadAsync(Manifest, range, Token));
        Assert.Empty(Secondary.Asked);
        Primary.Down = StoreError.Unavailable;
        await TestContent.FailsAsync(StoreError.RangeNotSatisfiable, async () => await store.OpenReadAsync(Audio, range, Token));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.OpenReadAsync(Manifest, range, Token));
    }

    [Fact]
    public async Task SlowPrimary_OfWhatCannotChange_IsHedged_WithinTheBudget()
    {
        var bytes = await BothAsync(Audio, 1000);
        var store = _pair.Open();
        for (var i = 0; i < FirstByteTimes.MinSamples; i++)
            await store.FindAsync(Audio, Token);
        Primary.Waits = (_, key) => key == Audio ? new TaskCompletionSource().Task : null;
        var late = 0;
        for (var i = 0; i < RetryBudget.MaxTokens + 3; i++)
        {
            var reading = store.FindAsync(Audio, Token).AsTask();
            var from = _pair.Time.GetTimestamp();
            await _pair.UntilAsync(() => reading.IsCompleted, "an answer", TimeSpan.FromMilliseconds(50));
            Assert.Equal(bytes.Length, (await reading)!.Length);
            late += _pair.Time.GetElapsedTime(from) >= TimeSpan.FromSeconds(2) ? 1 : 0;
        }

        // 13 reads earn one token and a bit; the others waited for the time-out, and then fell over for free.
        Assert.InRange(store.Metrics.Hedges, RetryBudget.MaxTokens, RetryBudget.MaxTokens + 1);
        Assert.Equal(RetryBudget.MaxTokens + 3, store.Metrics.Hedges + store.Metrics.FallOvers);
        Assert.True(late >= 2);
    }

    [Fact]
    public async Task SlowPrimary_OfWhatMayChange_IsNeverHedged()
    {
        await BothAsync(Manifest, 10);
        var store = _pair.Open();
        for (var i = 0; i < 2 * FirstByteTimes.MinSamples; i++)
            await store.FindAsync(Manifest, Token);
        var gate = new TaskCompletionSource();
        Primary.Waits = (_, key) => key == Manifest ? gate.Task : null;
        var reading = store.FindAsync(Manifest, Token).AsTask();
        for (var i = 0; i < 30; i++)
        {
            _pair.Time.Advance(TimeSpan.FromMilliseconds(60));
            await Task.Delay(5, Token);
        }

        Assert.Empty(Secondary.Asked);
        gate.SetResult();
        Assert.False((await reading)!.MayBeStale);
        Assert.Equal(0, store.Metrics.Hedges);
    }

    [Fact]
    public async Task HedgedAbsence_IsNoAnswer()
    {
        await Primary.Inner.PutAsync(Audio, [1, 2, 3]);
        var store = _pair.Open();
        for (var i = 0; i < FirstByteTimes.MinSamples; i++)
            await store.FindAsync(Audio, Token);
        var gate = new TaskCompletionSource();
        Primary.Waits = (_, key) => key == Audio ? gate.Task : null;
        var reading = store.FindAsync(Audio, Token).AsTask();
        await _pair.UntilAsync(() => Secondary.Asked.Count == 1, "the hedge", TimeSpan.FromMilliseconds(50));
        Assert.False(reading.IsCompleted);
        gate.SetResult();
        Assert.Equal(3, (await reading)!.Length);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(100_000)]
    [InlineData(299_999)]
    [InlineData(300_000)]
    public async Task BodyBreaks_OfWhatCannotChange_GoesOnAtTheSameByte(long after)
    {
        var bytes = await BothAsync(Audio, 300_000);
        var store = _pair.Open();
        Primary.BodyBreaksAfter = after;
        Assert.Equal(bytes, (await store.GetAsync(Audio))!.Value.Bytes);
        // Behind the last byte there is nothing to go on with.
        Assert.Equal(after == bytes.Length ? 0 : 1, store.Metrics.TakeOvers);
    }

    [Fact]
    public async Task BodyBreaks_OfARange_GoesOnWithinTheRange()
    {
        var bytes = await BothAsync(Audio, 300_000);
        var store = _pair.Open();
        Primary.BodyBreaksAfter = 70_000;
        Assert.Equal(bytes[50_000..250_000], (await store.GetAsync(Audio, new ObjectRange(50_000, 200_000)))!.Value.Bytes);
    }

    [Fact]
    public async Task BodyStandsStill_GoesOnFromTheOtherStore()
    {
        var bytes = await BothAsync(Audio, 300_000);
        var store = _pair.Open();
        Primary.BodyHangsAfter = 120_000;
        var reading = store.GetAsync(Audio);
        await _pair.UntilAsync(() => reading.IsCompleted, "the body", TimeSpan.FromMilliseconds(500));
        Assert.Equal(bytes, (await reading)!.Value.Bytes);
        Assert.Equal(1, store.Metrics.TakeOvers);
    }

    [Fact]
    public async Task BodiesBreakInBothStores_EndBounded()
    {
        await BothAsync(Audio, 300_000);
        var store = _pair.Open();
        (Primary.BodyBreaksAfter, Secondary.BodyBreaksAfter) = (10_000, 10_000);
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.GetAsync(Audio));
        Assert.InRange(store.Metrics.TakeOvers, 1, FailoverBody.MaxTakeOvers);
        Assert.InRange(Primary.Asked.Count + Secondary.Asked.Count, 2, FailoverBody.MaxTakeOvers + 1);
    }

    [Fact]
    public async Task BodyBreaks_AndTheOtherStoreHasAnotherLengthOrDigest_Fails()
    {
        foreach (var other in new[] { TestContent.Bytes(299_999, 1), TestContent.Bytes(300_000, 2) })
        {
            await Primary.Inner.PutAsync(Audio, TestContent.Bytes(300_000, 1));
            await Secondary.Inner.PutAsync(Audio, other);
            await using var store = _pair.Open();
            // The same store may go on with it, but not so often as this takes.
            Primary.BodyBreaksAfter = 10_000;
            await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.GetAsync(Audio));
        }
    }

    [Fact]
    public async Task BodyBreaks_OfAManifest_ItIsReadFromTheSecondaryAsAWhole_AndMarked()
    {
        var bytes = await BothAsync(Manifest, 300_000);
        var store = _pair.Open();
        Primary.BodyBreaksAfter = 100_000;
        var (info, read) = (await store.GetAsync(Manifest))!.Value;
        Assert.Equal(bytes, read);
        Assert.True(info.MayBeStale);
        Assert.Equal((0, 1), (store.Metrics.TakeOvers, store.Metrics.FallOvers));
    }

    [Fact]
    public async Task BodyBreaks_OfSomethingLargeThatMayChange_Fails()
    {
        await BothAsync(Manifest, FailoverStore.MaxManifestInMemory + 1);
        var store = _pair.Open();
        Primary.BodyBreaksAfter = 100_000;
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.GetAsync(Manifest));
        Assert.Empty(Secondary.Asked);
        Assert.Equal(0, store.Metrics.TakeOvers);
    }

    [Fact]
    public async Task BodiesThatKeepBreaking_OpenTheCircuit_ThoughHeadsAreGood()
    {
        for (var i = 0; i < 8; i++)
            await BothAsync(ObjectKey.Parse($"audio/{i}.ogg"), 10_000);
        var store = _pair.Open();
        Primary.BodyBreaksAfter = 1000;
        for (var i = 0; i < 8; i++)
            Assert.NotNull(await store.GetAsync(ObjectKey.Parse($"audio/{i}.ogg")));
        Assert.Equal(BreakerState.Open, store.Links[0].Breaker.State);
        Assert.Equal(CircuitBreaker.FailuresToOpen, Primary.Asked.Count);
    }

    [Fact]
    public async Task StoresOwnKeys_AreAbsent_AndRefusedToWrites()
    {
        var store = _pair.Open(new() { Sweeps = true });
        foreach (var key in new[] { StoreKeys.Role, ReplicationMark.Key, ReplicationMarker.KeyOf(ReplicationMarker.NewId(DateTimeOffset.UtcNow)) })
        {
            await Primary.Inner.PutAsync(key, "{\"format\":1,\"epoch\":1,\"role\":\"primary\",\"since\":\"2026-11-21T00:00:00Z\",\"by\":\"test\"}"u8.ToArray());
            Assert.Null(await store.FindAsync(key, Token));
            Assert.Null(await store.OpenReadAsync(key, null, Token));
            Assert.False(await store.DeleteAsync(key, Token));
            await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(key, [1]));
        }

        Assert.Empty(await store.EntriesAsync());
    }

    /// <summary>Players read, and the primary dies and comes back in the middle of it, again and again: nobody hears anything, and no manifest that may be old passes for a new one.</summary>
    [Fact]
    public async Task PrimaryDiesUnderLoad_NoPlaybackFails_AndNoStaleManifestPassesForFresh()
    {
        const int Objects = 12;
        var contents = new Dictionary<ObjectKey, byte[]>();
        for (var i = 0; i < Objects; i++)
        {
            var key = ObjectKey.Parse($"audio/{i}.ogg");
            contents[key] = await BothAsync(key, 400_000 + i, i);
        }

        // The secondary's manifest is old: whoever gets it must be told.
        await Primary.Inner.PutAsync(Manifest, "new"u8.ToArray());
        await Secondary.Inner.PutAsync(Manifest, "old"u8.ToArray());
        // The clock jumps over the breaker's pause with reads under way, which is no time-out of theirs.
        var never = TimeSpan.FromDays(1);
        var store = _pair.Open(new() { FirstByteTimeout = never, AnswerTimeout = never, IdleTimeout = never });
        using var stop = new CancellationTokenSource();
        var (played, marked, fresh) = (0, 0, 0);
        var listeners = Enumerable.Range(0, 8).Select(n => Task.Run(async () =>
        {
            var random = new Random(n);
            while (!stop.IsCancellationRequested)
            {
                var (key, bytes) = contents.ElementAt(random.Next(Objects));
                var offset = random.Next(bytes.Length);
                Assert.Equal(bytes[offset..], (await store.GetAsync(key, new ObjectRange(offset, long.MaxValue)))!.Value.Bytes);
                Interlocked.Increment(ref played);
                if ((await store.GetAsync(Manifest)) is not var (info, manifest))
                    throw new InvalidOperationException("The manifest was taken for absent.");
                Assert.Equal(info.MayBeStale, manifest.AsSpan().SequenceEqual("old"u8));
                Interlocked.Increment(ref info.MayBeStale ? ref marked : ref fresh);
            }
        }, Token)).ToArray();

        var from = Stopwatch.GetTimestamp();
        for (var outage = 0; outage < 4; outage++)
        {
            var (before, takenOver) = (Volatile.Read(ref played), store.Metrics.TakeOvers);
            await _pair.UntilAsync(() => Volatile.Read(ref played) > before + 50, "playback");
            (Primary.Down, Primary.BodyBreaksAfter) = (outage % 2 == 0 ? StoreError.Unavailable : null, outage % 2 == 0 ? null : 50_000);
            before = Volatile.Read(ref played);
            await _pair.UntilAsync(
                () => Volatile.Read(ref played) > before + 100 && (outage % 2 == 0 || store.Metrics.TakeOvers > takenOver), "playback during the outage");
            (Primary.Down, Primary.BodyBreaksAfter) = (null, null);
            _pair.Time.Advance(CircuitBreaker.OpenFor);
            await _pair.UntilAsync(() => store.Links[0].Breaker.State == BreakerState.Closed, "the primary is asked again", TimeSpan.FromMilliseconds(100));
        }

        await stop.CancelAsync();
        await Task.WhenAll(listeners);
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{played} played in {Stopwatch.GetElapsedTime(from).TotalSeconds:0.0} s, {fresh} fresh and {marked} marked manifests, {store.Metrics.FallOvers} fall-overs, {store.Metrics.TakeOvers} taken over");
        Assert.True(fresh > 0 && marked > 0 && store.Metrics.FallOvers > 0 && store.Metrics.TakeOvers > 0);
    }

    private async Task<byte[]> BothAsync(ObjectKey key, int length, int seed = 1)
    {
        var bytes = TestContent.Bytes(length, seed);
        await Primary.Inner.PutAsync(key, bytes);
        await Secondary.Inner.PutAsync(key, bytes);
        return bytes;
    }
}
