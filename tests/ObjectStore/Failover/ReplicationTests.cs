using System.Text;

namespace Delivery.ObjectStore.Failover;

public sealed class ReplicationTests : IAsyncDisposable
{
    private static readonly ObjectKey Audio = ObjectKey.Parse("audio/a.ogg");
    private static readonly ObjectKey Manifest = ObjectKey.Parse("catalog/tracks/t.json");
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(30);
    private readonly StorePair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FaultyStore Primary => _pair.First;

    private FaultyStore Secondary => _pair.Second;

    public ValueTask DisposeAsync() => _pair.DisposeAsync();

    [Fact]
    public async Task WriteAndDelete_ReachTheSecondary_AndTheirMarkersGo()
    {
        var store = _pair.Open();
        var bytes = TestContent.Bytes(3_000_000, 1);
        await store.WriteAsync(Audio, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/flac", ExpectedSha256 = TestContent.Sha256(bytes) }, Token);
        await store.PutAsync(Manifest, [1]);
        await store.PutAsync(Manifest, [2]);
        Assert.True(await store.FlushAsync(Soon, Token));
        var (info, copied) = (await Secondary.Inner.GetAsync(Audio))!.Value;
        Assert.Equal(bytes, copied);
        Assert.Equal(("audio/flac", TestContent.Sha256(bytes)), (info.ContentType, info.Sha256));
        Assert.Equal([2], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
        Assert.Empty(await StorePair.MarkersAsync(Primary.Inner));

        Assert.True(await store.DeleteAsync(Manifest, Token));
        Assert.True(await store.FlushAsync(Soon, Token));
        Assert.Equal([Audio.Value], await StorePair.KeysAsync(Secondary.Inner));
        Assert.Empty(await StorePair.MarkersAsync(Primary.Inner));
        Assert.Equal((TimeSpan.Zero, 0), (store.ReplicationLag, store.Pending));
    }

    [Theory]
    [InlineData(MarkerKind.Write)]
    [InlineData(MarkerKind.Delete)]
    public async Task Marker_StandsBeforeTheChangeBegins(MarkerKind kind)
    {
        var store = _pair.Open();
        ReplicationMarker? seen = null;
        Primary.Fails = (call, key) =>
        {
            if (key != Manifest || call is not (StoreCall.Write or StoreCall.Delete))
                return null;
            var id = ReplicationMarker.IdOf(ObjectKey.Parse(Assert.Single(StorePair.MarkersAsync(Primary.Inner).Result)))!;
            seen = Primary.Inner.ReadJsonAsync(ReplicationMarker.KeyOf(id), FailoverJson.Default.ReplicationMarker, Token).AsTask().Result.Value;
            return null;
        };
        if (kind == MarkerKind.Write)
            await store.PutAsync(Manifest, [1]);
        else
            await store.DeleteAsync(Manifest, Token);
        var now = _pair.Time.GetUtcNow();
        Assert.Equal(new ReplicationMarker { Key = Manifest.Value, Kind = kind, StartedAt = now, ExpiresAt = now.AddHours(1) }, seen);
    }

    [Fact]
    public async Task RefusedWrite_TakesItsMarkerAway_AndCopiesNothing()
    {
        await Primary.Inner.PutAsync(Manifest, [1]);
        var store = _pair.Open();
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await store.PutAsync(Manifest, [2], WritePrecondition.Absent));
        Assert.True(await store.FlushAsync(Soon, Token));
        Assert.Empty(await StorePair.MarkersAsync(Primary.Inner));
        Assert.Empty(await StorePair.KeysAsync(Secondary.Inner));
    }

    [Fact]
    public async Task PrimaryDown_WritesAreUnavailable_AndNeverGoToTheSecondary()
    {
        var store = _pair.Open();
        await store.PutAsync(Manifest, [1]);
        Assert.True(await store.FlushAsync(Soon, Token));
        Primary.Down = StoreError.Unavailable;
        for (var i = 0; i < 8; i++)
        {
            var failure = await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));
            Assert.True(failure.CanRetry);
            await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.DeleteAsync(Manifest, Token));
        }

        Assert.Equal([1], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
        Primary.Down = null;
        _pair.Time.Advance(CircuitBreaker.OpenFor);
        await _pair.UntilAsync(
            async () =>
            {
                try
                {
                    await store.PutAsync(Manifest, [3]);
                    return true;
                }
                catch (StoreException e) when (e.Error == StoreError.Unavailable)
                {
                    return false;
                }
            }, "the primary takes writes again", TimeSpan.FromMilliseconds(200));
        await _pair.UntilAsync(() => store.Pending == 0, "replicated", TimeSpan.FromMilliseconds(200));
        Assert.Equal([3], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
    }

    [Fact]
    public async Task PrimaryDiesInMidUpload_NothingIsVisible_AndTheUploadMadeAgainArrives()
    {
        var store = _pair.Open();
        var bytes = TestContent.Bytes(2_000_000, 3);
        var gate = new TaskCompletionSource();
        var content = new ScriptedContent(1_000_000, 64_000) { StallsAtEnd = gate.Task };
        var writing = store.WriteAsync(Audio, content, new ObjectWrite { ContentType = "audio/ogg" }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        Primary.Down = StoreError.Unavailable;
        gate.SetResult();
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await writing);
        Primary.Down = null;
        Assert.Null(await store.FindAsync(Audio, Token));
        await store.PutAsync(Audio, bytes, WritePrecondition.Absent);
        await _pair.UntilAsync(() => store.Pending == 0, "replicated", TimeSpan.FromMilliseconds(200));
        Assert.Equal(bytes, await StorePair.BytesAsync(Secondary.Inner, Audio.Value));
    }

    [Fact]
    public async Task LostAnswer_IsUnavailable_AndWhatHappenedIsReplicatedAllTheSame()
    {
        var store = _pair.Open();
        Primary.LosesAnswer = (_, key) => key == Manifest ? new StoreException(StoreError.Unavailable, "The answer is lost.") : null;
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [7]));
        Primary.LosesAnswer = null;
        Assert.True(await store.FlushAsync(Soon, Token));
        Assert.Equal([7], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
        // It might have been on its way still, so its marker stays until it cannot be.
        Assert.Single(await StorePair.MarkersAsync(Primary.Inner));
        await SweepUntilMarkersAreGoneAsync(store);
    }

    [Fact]
    public async Task WriteThatTakesTooLong_IsCancelled()
    {
        var store = _pair.Open(new() { MaxWriteTime = TimeSpan.FromMinutes(10) });
        var content = new ScriptedContent(1000, 100) { StallsAtEnd = new TaskCompletionSource().Task };
        var writing = store.WriteAsync(Audio, content, new ObjectWrite { ContentType = "audio/ogg" }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        _pair.Time.Advance(TimeSpan.FromMinutes(9));
        Assert.False(writing.IsCompleted);
        _pair.Time.Advance(TimeSpan.FromMinutes(1));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await writing);
        Assert.Null(await Primary.Inner.FindAsync(Audio, Token));
    }

    [Fact]
    public async Task SecondaryDown_WritesGoOn_LagGrows_AndEverythingArrivesAfterwards()
    {
        var store = _pair.Open();
        await store.PutAsync(Manifest, [0]);
        Assert.True(await store.FlushAsync(Soon, Token));
        Secondary.Down = StoreError.Unavailable;
        for (var i = 0; i < 20; i++)
            await store.PutAsync(ObjectKey.Parse($"audio/{i}.ogg"), [(byte)i]);
        await store.PutAsync(Manifest, [1]);
        Assert.Equal(21, store.Pending);
        await _pair.UntilAsync(() => store.ReplicationLag > TimeSpan.FromSeconds(40), "lag", TimeSpan.FromMilliseconds(200));
        Assert.Equal(21, store.Pending);
        Assert.Equal(21, (await StorePair.MarkersAsync(Primary.Inner)).Count);

        Secondary.Down = null;
        await _pair.UntilAsync(() => store.Pending == 0, "everything is replicated", TimeSpan.FromMilliseconds(200));
        Assert.Equal(TimeSpan.Zero, store.ReplicationLag);
        Assert.Equal(21, (await StorePair.KeysAsync(Secondary.Inner)).Count);
        Assert.Equal([1], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
        Assert.Empty(await StorePair.MarkersAsync(Primary.Inner));
    }

    [Fact]
    public async Task SecondaryDown_IsLeftAloneLongerAndLonger_NotAskedPerKey()
    {
        var store = _pair.Open();
        await store.FindAsync(Audio, Token);
        Secondary.Down = StoreError.Unavailable;
        for (var i = 0; i < 50; i++)
            await store.PutAsync(ObjectKey.Parse($"audio/{i}.ogg"), [1]);
        for (var i = 0; i < 300; i++)
        {
            _pair.Time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(2, Token);
        }

        // 5 minutes: 1 + 2 + 4 + 8 + 16 s, then every 30 s, from four workers at most each time.
        Assert.InRange(Secondary.Asked.Count, 4, 4 * 20);
    }

    [Fact]
    public async Task FullQueue_LeavesTheRestToMarkers_AndASweepBringsThem()
    {
        const int Bound = 5;
        var writer = _pair.Open(queueBound: Bound);
        await writer.FindAsync(Audio, Token);
        Secondary.Down = StoreError.Unavailable;
        for (var i = 0; i < 40; i++)
            await writer.PutAsync(ObjectKey.Parse($"audio/{i}.ogg"), [(byte)i]);
        Assert.InRange(writer.Pending, Bound, Bound + new FailoverOptions().Copies);
        Assert.Equal(40, (await StorePair.MarkersAsync(Primary.Inner)).Count);
        Secondary.Down = null;
        await _pair.UntilAsync(() => writer.Pending == 0, "the writer's own", TimeSpan.FromMilliseconds(200));
        Assert.NotEmpty(await StorePair.MarkersAsync(Primary.Inner));

        await SweepUntilMarkersAreGoneAsync(_pair.Open());
        Assert.Equal(40, (await StorePair.KeysAsync(Secondary.Inner)).Count);
    }

    [Fact]
    public async Task ProcessEnds_WithChangesWaiting_AnotherBringsThem()
    {
        var writer = _pair.Open();
        await writer.PutAsync(Manifest, [1]);
        Assert.True(await writer.FlushAsync(Soon, Token));
        Secondary.Down = StoreError.Unavailable;
        await writer.PutAsync(Audio, [2]);
        await writer.DeleteAsync(Manifest, Token);
        await writer.DisposeAsync();
        Secondary.Down = null;

        var sweeper = _pair.Open(new() { Sweeps = true });
        await _pair.UntilAsync(async () => (await StorePair.KeysAsync(Secondary.Inner)).SequenceEqual([Audio.Value]), "the sweep", TimeSpan.FromMilliseconds(200));
        await _pair.UntilAsync(() => sweeper.Pending == 0 && sweeper.ReplicationLag == TimeSpan.Zero, "no lag", TimeSpan.FromMilliseconds(200));
    }

    public static TheoryData<MarkerKind, string?, string?, string?> KilledAt => new()
    {
        // What a process that was killed leaves: what its marker says, what is on the primary and on the secondary, and what the secondary must have in the end.
        { MarkerKind.Write, null, null, null },
        { MarkerKind.Write, "new", null, "new" },
        { MarkerKind.Write, "new", "old", "new" },
        { MarkerKind.Write, "new", "new", "new" },
        { MarkerKind.Write, null, "the last copy", "the last copy" },
        { MarkerKind.Delete, "not deleted yet", null, "not deleted yet" },
        { MarkerKind.Delete, "not deleted yet", "not deleted yet", "not deleted yet" },
        { MarkerKind.Delete, "written again", "old", "written again" },
        { MarkerKind.Delete, null, "old", null },
        { MarkerKind.Delete, null, null, null },
    };

    [Theory]
    [MemberData(nameof(KilledAt))]
    public async Task WriterKilledAtAnyStep_TheSecondaryEndsRight(MarkerKind kind, string? onPrimary, string? onSecondary, string? expected)
    {
        if (onPrimary is not null)
            await Primary.Inner.PutAsync(Manifest, Encoding.UTF8.GetBytes(onPrimary));
        if (onSecondary is not null)
            await Secondary.Inner.PutAsync(Manifest, Encoding.UTF8.GetBytes(onSecondary));
        await MarkAsync(kind, Manifest);
        var store = _pair.Open();

        // Young, it is its writer's.
        await store.Sweep.RoundAsync(Token);
        Assert.Equal(onSecondary, Text(await StorePair.BytesAsync(Secondary.Inner, Manifest.Value)));

        await RoundAfterAsync(store, TimeSpan.FromSeconds(11));
        Assert.Equal(expected, Text(await StorePair.BytesAsync(Secondary.Inner, Manifest.Value)));
        Assert.Equal(onPrimary, Text(await StorePair.BytesAsync(Primary.Inner, Manifest.Value)));
        Assert.Single(await StorePair.MarkersAsync(Primary.Inner));
        Assert.Equal(0, store.Pending);

        await SweepUntilMarkersAreGoneAsync(store);
        Assert.Equal(expected, Text(await StorePair.BytesAsync(Secondary.Inner, Manifest.Value)));

        static string? Text(byte[]? bytes) => bytes is null ? null : Encoding.UTF8.GetString(bytes);
    }

    [Fact]
    public async Task WriteThatCommitsLate_AndIsKilledThen_IsFoundByItsMarker()
    {
        await MarkAsync(MarkerKind.Write, Audio);
        var store = _pair.Open();
        await RoundAfterAsync(store, TimeSpan.FromMinutes(20));
        Assert.Equal(0, store.Pending);
        await Primary.Inner.PutAsync(Audio, [5]);
        for (var i = 0; i < 3; i++)
            await RoundAfterAsync(store, TimeSpan.FromSeconds(30));
        Assert.Equal([5], await StorePair.BytesAsync(Secondary.Inner, Audio.Value));
    }

    [Fact]
    public async Task MarkersThatNeedNothing_AreNotLookedAtInEachRound()
    {
        for (var i = 0; i < 30; i++)
            await MarkAsync(MarkerKind.Write, ObjectKey.Parse($"audio/{i}.ogg"));
        var store = _pair.Open();
        await RoundAfterAsync(store, TimeSpan.FromMinutes(20));
        var asked = Primary.Asked.Count;
        Assert.True(asked >= 30);
        for (var i = 0; i < 10; i++)
            await RoundAfterAsync(store, TimeSpan.FromSeconds(5));
        Assert.Equal(asked, Primary.Asked.Count);
    }

    [Fact]
    public async Task OneKeyThatCannotBeCopied_DoesNotHoldTheOthers_AndIsNotForgotten()
    {
        // A folder cannot hold an object where another one's folder is.
        await Secondary.Inner.PutAsync(ObjectKey.Parse("audio/x/y"), [1]);
        var store = _pair.Open();
        await store.PutAsync(ObjectKey.Parse("audio/x"), [1]);
        for (var i = 0; i < 10; i++)
            await store.PutAsync(ObjectKey.Parse($"audio/{i}"), [1]);
        Assert.True(await store.FlushAsync(Soon, Token));
        Assert.Equal(11, (await StorePair.KeysAsync(Secondary.Inner)).Count);
        Assert.Single(await StorePair.MarkersAsync(Primary.Inner));
        await RoundAfterAsync(store, TimeSpan.FromMinutes(3));
        Assert.Equal(1, store.Pending);
        Assert.True(store.ReplicationLag >= TimeSpan.FromMinutes(3));
    }

    [Fact]
    public async Task Mark_SaysUpToWhenTheSecondaryHasEverything()
    {
        var store = _pair.Open();
        await store.Sweep.RoundAsync(Token);
        var first = await MarkOfSecondaryAsync();
        Assert.Equal((_pair.Time.GetUtcNow(), 0, 1), (first!.ReplicatedAsOf, first.Pending, first.Epoch));

        // Another process writes, and is killed before it could copy.
        await Primary.Inner.PutAsync(Audio, [1]);
        await MarkAsync(MarkerKind.Write, Audio);
        var started = _pair.Time.GetUtcNow();
        await RoundAfterAsync(store, TimeSpan.FromSeconds(8));
        Assert.Equal(started, (await MarkOfSecondaryAsync())!.ReplicatedAsOf, TimeSpan.FromMilliseconds(1));

        Secondary.Fails = (call, key) => call == StoreCall.Write && key == Audio ? new StoreException(StoreError.KeyRefused, "Not this one.") : null;
        await RoundAfterAsync(store, TimeSpan.FromSeconds(8));
        var held = (await MarkOfSecondaryAsync())!;
        Assert.Equal(started, held.ReplicatedAsOf, TimeSpan.FromMilliseconds(1));
        Assert.Equal(1, held.Pending);

        // A key that fails for a reason of its own is tried again after as long as it is old.
        Secondary.Fails = null;
        await RoundAfterAsync(store, TimeSpan.FromSeconds(8));
        Assert.Equal(1, store.Pending);
        await RoundAfterAsync(store, TimeSpan.FromSeconds(10));
        Assert.Equal((_pair.Time.GetUtcNow(), 0), ((await MarkOfSecondaryAsync())!.ReplicatedAsOf, (await MarkOfSecondaryAsync())!.Pending));
    }

    [Fact]
    public async Task UnreadableMarker_IsPassedOver()
    {
        await Primary.Inner.PutAsync(ReplicationMarker.KeyOf(ReplicationMarker.NewId(_pair.Time.GetUtcNow())), "{\"format\":1,\"key\":\"../etc\",\"kind\":\"write\""u8.ToArray());
        await Primary.Inner.PutAsync(ObjectKey.Parse("replication/markers/notes.txt"), [1]);
        await MarkAsync(MarkerKind.Write, Audio);
        await Primary.Inner.PutAsync(Audio, [1]);
        var store = _pair.Open();
        await RoundAfterAsync(store, TimeSpan.FromMinutes(1));
        Assert.Equal([1], await StorePair.BytesAsync(Secondary.Inner, Audio.Value));
    }

    /// <summary>Two nodes write and delete the same few keys at the same time, while a third sweeps and the secondary fails now and then: in the end both stores are the same.</summary>
    [Fact]
    public async Task TwoReplicatorsOnTheSameKeys_Converge()
    {
        var seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        FailoverStore[] nodes = [_pair.Open(time: TimeProvider.System), _pair.Open(time: TimeProvider.System)];
        var sweeper = _pair.Open(time: TimeProvider.System);
        var faults = new Random(seed);
        Secondary.Fails = (call, key) =>
        {
            lock (faults)
                return call is StoreCall.Write or StoreCall.Delete && !StoreKeys.IsStoresOwn(key!.Value) && faults.Next(25) == 0 ? new StoreException(StoreError.Corrupt, "One call fails.") : null;
        };
        await Task.WhenAll(nodes.Select((node, n) => Task.Run(async () =>
        {
            var random = new Random(seed + n);
            for (var i = 0; i < 150; i++)
            {
                var key = ObjectKey.Parse($"catalog/tracks/{random.Next(3)}.json");
                if (random.Next(5) == 0)
                    await node.DeleteAsync(key, Token);
                else
                    await node.PutAsync(key, TestContent.Bytes(random.Next(1, 50_000), n * 1000 + i));
                if (i % 25 == 0)
                    await sweeper.Sweep.RoundAsync(Token);
            }
        }, Token)));
        Secondary.Fails = null;
        foreach (var node in nodes)
            Assert.True(await node.FlushAsync(Soon, Token));

        // What a single failed call left stands in markers, as if its writer had been killed.
        _pair.Time.Advance(DateTimeOffset.UtcNow - _pair.Time.GetUtcNow() + TimeSpan.FromSeconds(30));
        var late = _pair.Open();
        await late.Sweep.RoundAsync(Token);
        Assert.Equal(0, late.Pending);
        var keys = await StorePair.KeysAsync(Primary.Inner);
        Assert.Equal(keys, await StorePair.KeysAsync(Secondary.Inner));
        foreach (var key in keys)
            Assert.Equal(await StorePair.BytesAsync(Primary.Inner, key), await StorePair.BytesAsync(Secondary.Inner, key));
    }

    [Fact]
    public async Task OlderCopy_ThatCommitsLast_DoesNotStand()
    {
        var store = _pair.Open();
        await Primary.Inner.PutAsync(Manifest, [1]);
        await Secondary.Inner.PutAsync(Manifest, [0]);
        // One copier has read [1] and is held before its write to the secondary; meanwhile [2] is written and copied by another.
        var (held, gate) = (new TaskCompletionSource(), new TaskCompletionSource());
        Secondary.Waits = (call, key) =>
        {
            if (call != StoreCall.Write || key != Manifest || !held.TrySetResult())
                return null;
            return gate.Task;
        };
        var slow = Copying.ObjectCopy.EnsureAsync(Primary, Secondary, Manifest, Copying.CopyOptions.Default, Token).AsTask();
        await held.Task.WaitAsync(Token);
        await store.PutAsync(Manifest, [2]);
        Assert.True(await store.FlushAsync(Soon, Token));
        gate.SetResult();
        await slow;
        Assert.Equal([2], await StorePair.BytesAsync(Secondary.Inner, Manifest.Value));
    }

    private async Task MarkAsync(MarkerKind kind, ObjectKey key)
    {
        var now = _pair.Time.GetUtcNow();
        var marker = new ReplicationMarker { Key = key.Value, Kind = kind, StartedAt = now, ExpiresAt = now.AddHours(1) };
        await Primary.Inner.WriteJsonAsync(ReplicationMarker.KeyOf(ReplicationMarker.NewId(now)), marker, FailoverJson.Default.ReplicationMarker, WritePrecondition.Absent, Token);
    }

    private async Task RoundAfterAsync(FailoverStore store, TimeSpan by)
    {
        _pair.Time.Advance(by);
        // A look that was under way may have run into its time-out just now.
        await _pair.UntilAsync(
            async () =>
            {
                await store.Roles.RefreshAsync(Token);
                return store.Roles.IsConfirmed(0) && store.Roles.IsConfirmed(1);
            }, "the roles are read");
        await store.Sweep.RoundAsync(Token);
    }

    private async Task SweepUntilMarkersAreGoneAsync(FailoverStore store)
    {
        await RoundAfterAsync(store, TimeSpan.FromMinutes(59));
        Assert.NotEmpty(await StorePair.MarkersAsync(Primary.Inner));
        await RoundAfterAsync(store, TimeSpan.FromMinutes(1) + ReplicationSweep.ClockAllowance + TimeSpan.FromSeconds(1));
        Assert.Empty(await StorePair.MarkersAsync(Primary.Inner));
    }

    private async Task<ReplicationMark?> MarkOfSecondaryAsync() => (await Secondary.Inner.ReadJsonAsync(ReplicationMark.Key, FailoverJson.Default.ReplicationMark, Token)).Value;
}
