namespace Delivery.ObjectStore.Failover;

public sealed class StoreRolesTests : IAsyncDisposable
{
    private static readonly ObjectKey Manifest = ObjectKey.Parse("catalog/tracks/t.json");
    private readonly StorePair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _pair.DisposeAsync();

    public static TheoryData<string?, string?, int, int?, int> Cases => new()
    {
        // What each store says ("epoch role"), and: the epoch, the primary, whom reads go to first.
        { null, null, 1, 0, 0 },
        { "1 primary", "1 secondary", 1, 0, 0 },
        { "2 secondary", "2 primary", 2, 1, 1 },
        { null, "2 primary", 2, 1, 1 },
        { "1 primary", "2 primary", 2, 1, 1 },
        { "3 primary", "2 primary", 3, 0, 0 },
        { "3 primary", "3 secondary", 3, 0, 0 },
        { "2 secondary", null, 2, null, 0 },
        { "2 secondary", "1 secondary", 2, null, 0 },
        { null, "2 secondary", 2, null, 1 },
        { "2 secondary", "3 secondary", 3, null, 1 },
        { "2 primary", "2 primary", 2, null, 0 },
        { "2 secondary", "2 secondary", 2, null, 0 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void HighestEpochCounts(string? first, string? second, int epoch, int? primary, int latest)
    {
        Assert.Equal((epoch, primary, latest), StoreRoles.Resolve(Parse(first), Parse(second)));

        static StoreRole? Parse(string? text) => text?.Split(' ') is [var number, var role]
            ? new StoreRole { Epoch = int.Parse(number), Role = Enum.Parse<StorePart>(role, ignoreCase: true), Since = default, By = "test" }
            : null;
    }

    [Fact]
    public async Task RoleRecord_IsAsTheFormatSays()
    {
        await SayAsync(_pair.First, 2, StorePart.Secondary);
        var text = System.Text.Encoding.UTF8.GetString((await StorePair.BytesAsync(_pair.First.Inner, StoreKeys.Role.Value))!);
        Assert.Equal("""{"format":1,"epoch":2,"role":"secondary","since":"2026-11-21T12:00:00+00:00","by":"test","settled":false}""", text);
    }

    [Fact]
    public async Task RolesMove_NodesFollowWithinAPoll_WithoutRestart()
    {
        var store = _pair.Open();
        await store.PutAsync(Manifest, [1]);
        Assert.True(await store.FlushAsync(TimeSpan.FromSeconds(30), Token));
        Assert.Equal((1, 0), (store.Epoch, store.Primary));

        await SayAsync(_pair.First, 2, StorePart.Secondary, settled: true);
        await _pair.UntilAsync(() => store.Primary is null, "the fence is seen", TimeSpan.FromMilliseconds(200));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.DeleteAsync(Manifest, Token));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.EntriesAsync());
        // Another node may know the new primary already, so what may change is marked, and an absence is not believed.
        Assert.True((await store.FindAsync(Manifest, Token))!.MayBeStale);
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.FindAsync(ObjectKey.Parse("catalog/none.json"), Token));

        await SayAsync(_pair.Second, 2, StorePart.Primary);
        await _pair.UntilAsync(() => store.Primary == 1, "the promotion is seen", TimeSpan.FromMilliseconds(200));
        Assert.Equal(2, store.Epoch);
        Assert.False((await store.FindAsync(Manifest, Token))!.MayBeStale);
        await store.PutAsync(Manifest, [3]);
        Assert.Equal([3], await StorePair.BytesAsync(_pair.Second.Inner, Manifest.Value));
        Assert.True(await store.FlushAsync(TimeSpan.FromSeconds(30), Token));
        Assert.Equal([3], await StorePair.BytesAsync(_pair.First.Inner, Manifest.Value));
    }

    [Fact]
    public async Task FenceSeenInMidUpload_CancelsIt()
    {
        var store = _pair.Open();
        var content = new ScriptedContent(100_000, 10_000) { StallsAtEnd = new TaskCompletionSource().Task };
        var writing = store.WriteAsync(ObjectKey.Parse("masters/t/u.wav"), content, new ObjectWrite { ContentType = "audio/wav" }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        await SayAsync(_pair.First, 2, StorePart.Secondary);
        await _pair.UntilAsync(() => writing.IsCompleted, "the upload is cancelled", TimeSpan.FromMilliseconds(200));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await writing);
        Assert.Empty(await StorePair.KeysAsync(_pair.First.Inner));
    }

    [Fact]
    public async Task LeaseThatLapsed_IsRenewedBeforeAWrite_OrThereIsNone()
    {
        var store = _pair.Open();
        await store.PutAsync(Manifest, [1]);
        // The node stood still, as a suspended machine does; meanwhile its primary was fenced.
        await SayAsync(_pair.First, 2, StorePart.Secondary);
        _pair.First.Waits = (call, key) => null;
        _pair.Time.Advance(StoreRoles.Lease + TimeSpan.FromMilliseconds(200));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));
        Assert.Equal([1], await StorePair.BytesAsync(_pair.First.Inner, Manifest.Value));
    }

    [Fact]
    public async Task WriteThatIsCommittedAfterTheFence_IsNotAcknowledged()
    {
        var store = _pair.Open();
        await store.FindAsync(Manifest, Token);
        // The write itself takes effect, and its node stands still until long after the fence.
        _pair.First.LosesAnswer = (call, key) =>
        {
            if (key != Manifest)
                return null;
            SayAsync(_pair.First.Inner, 2, StorePart.Secondary).GetAwaiter().GetResult();
            _pair.First.Fails = (c, k) => k == StoreKeys.Role ? new StoreException(StoreError.Unavailable, "Not readable now.") : null;
            _pair.Time.Advance(StoreRoles.Lease + TimeSpan.FromMilliseconds(200));
            return null;
        };
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));
    }

    [Fact]
    public async Task RoleThatCannotBeRead_LeavesWhatIsKnown_ButAllowsNoWriteAfterTheLease()
    {
        var store = _pair.Open();
        await store.PutAsync(Manifest, [1]);
        await _pair.First.Inner.PutAsync(StoreKeys.Role, "{ nonsense"u8.ToArray());
        _pair.Time.Advance(StoreRoles.Lease + TimeSpan.FromMilliseconds(200));
        await _pair.UntilAsync(() => !store.Roles.IsConfirmed(0), "the lease ends", TimeSpan.FromMilliseconds(200));
        Assert.Equal((1, 0), (store.Epoch, store.Primary));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));
        Assert.True((await store.FindAsync(Manifest, Token))!.MayBeStale);
    }

    [Fact]
    public async Task SecondaryThatWasNeverRead_IsNotOverwritten()
    {
        // It has been promoted and its network is gone: the node that starts now must not take it for a secondary.
        await SayAsync(_pair.Second, 2, StorePart.Primary);
        await _pair.Second.Inner.PutAsync(Manifest, [9]);
        _pair.Second.Fails = (call, key) => key == StoreKeys.Role ? new StoreException(StoreError.Unavailable, "Not readable now.") : null;
        var store = _pair.Open();
        await store.PutAsync(Manifest, [1]);
        Assert.False(await store.FlushAsync(TimeSpan.FromMilliseconds(300), Token));
        Assert.Equal([9], await StorePair.BytesAsync(_pair.Second.Inner, Manifest.Value));
        _pair.Second.Fails = null;
        await _pair.UntilAsync(() => store.Primary == 1 && store.Pending == 0, "the truth is seen", TimeSpan.FromMilliseconds(200));
        Assert.Equal([9], await StorePair.BytesAsync(_pair.Second.Inner, Manifest.Value));
    }

    private async Task SayAsync(IObjectStore store, int epoch, StorePart part, bool settled = false) => await (store is FaultyStore faulty ? faulty.Inner : store).WriteJsonAsync(
        StoreKeys.Role, new StoreRole { Epoch = epoch, Role = part, Since = _pair.Time.GetUtcNow(), By = "test", Settled = settled }, FailoverJson.Default.StoreRole, WritePrecondition.None, Token);
}
