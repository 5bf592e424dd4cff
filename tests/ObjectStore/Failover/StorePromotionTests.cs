using System.Collections.Concurrent;
using System.Text.Json;

namespace Delivery.ObjectStore.Failover;

public sealed class StorePromotionTests : IAsyncDisposable
{
    private static readonly ObjectKey Audio = ObjectKey.Parse("audio/a.ogg");
    private static readonly ObjectKey Manifest = ObjectKey.Parse("catalog/tracks/t.json");
    private readonly StorePair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FaultyStore First => _pair.First;

    private FaultyStore Second => _pair.Second;

    public ValueTask DisposeAsync() => _pair.DisposeAsync();

    [Fact]
    public async Task Planned_LosesNothing_AndSaysSoInTheLog()
    {
        await First.Inner.PutAsync(ControlLogEnd.KeyOf(1, 1), "{}"u8.ToArray());
        await Second.Inner.PutAsync(ControlLogEnd.KeyOf(1, 1), "{}"u8.ToArray());
        var store = _pair.Open(new() { Sweeps = true });
        // The node's own replication does not get through; the promotion's does.
        Second.Fails = (call, key) => call == StoreCall.Write && key is { } k && !StoreKeys.IsStoresOwn(k) ? new StoreException(StoreError.Unavailable, "Not now.") : null;
        await store.PutAsync(Audio, [1]);
        await store.PutAsync(Manifest, [2]);
        Second.Fails = null;

        var lines = new List<string>();
        var report = await PromoteAsync(Second, First, new() { By = "ops", Progress = lines.Add });
        Assert.Equal((2, false, true), (report.Epoch, report.WasPrimary, report.IsPlanned));
        Assert.NotEmpty(lines);
        Assert.Equal([1], await StorePair.BytesAsync(Second.Inner, Audio.Value));
        Assert.Equal([2], await StorePair.BytesAsync(Second.Inner, Manifest.Value));
        await AssertRolesAsync(2, primary: Second, secondary: First);
        using var entry = JsonDocument.Parse((await StorePair.BytesAsync(Second.Inner, "control/log/0002-0000000000000002.json"))!);
        Assert.Equal(("epoch", 2, 2L, "ops"), (entry.RootElement.GetProperty("kind").GetString(), entry.RootElement.GetProperty("epoch").GetInt32(),
            entry.RootElement.GetProperty("sequence").GetInt64(), entry.RootElement.GetProperty("by").GetString()));

        await _pair.UntilAsync(() => store.Primary == 1, "the node sees it", TimeSpan.FromMilliseconds(200));
        await store.PutAsync(Manifest, [3]);
        await _pair.UntilAsync(async () => (await StorePair.BytesAsync(First.Inner, Manifest.Value))![0] == 3, "replication the other way", TimeSpan.FromMilliseconds(200));
        await _pair.UntilAsync(async () => await StorePair.BytesAsync(First.Inner, "control/log/0002-0000000000000002.json") is not null, "the log entry too", TimeSpan.FromMilliseconds(200));
    }

    [Fact]
    public async Task Planned_WhileEverybodyWrites_LosesNoAcknowledgedWrite()
    {
        FailoverStore[] nodes = [_pair.Open(new() { Sweeps = true }), _pair.Open()];
        using var stop = new CancellationTokenSource();
        var (acknowledged, begun) = (new ConcurrentDictionary<string, byte>(), new ConcurrentDictionary<string, byte>());
        var refused = 0;
        var writers = nodes.SelectMany(node => Enumerable.Range(0, 2).Select(w => Task.Run(async () =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                var key = ObjectKey.Parse($"catalog/tracks/{Array.IndexOf(nodes, node)}-{w}-{i % 20}.json");
                begun[key.Value] = (byte)(i / 20);
                try
                {
                    await node.PutAsync(key, [(byte)(i / 20)]);
                    acknowledged[key.Value] = (byte)(i / 20);
                }
                catch (StoreException e) when (e.Error == StoreError.Unavailable)
                {
                    Interlocked.Increment(ref refused);
                    await Task.Delay(5, Token);
                    // What was not acknowledged may or may not have happened: it is made again, until it is.
                    i--;
                }
            }
        }, Token))).ToArray();
        await _pair.UntilAsync(() => acknowledged.Count >= 60, "writes");
        await PromoteAsync(Second, First, new());
        await _pair.UntilAsync(() => nodes.All(n => n.Primary == 1), "the nodes see it", TimeSpan.FromMilliseconds(200));
        var before = acknowledged.Count;
        await _pair.UntilAsync(() => acknowledged.Count >= Math.Min(80, before + 1), "writes go on", TimeSpan.FromMilliseconds(100));
        await stop.CancelAsync();
        await Task.WhenAll(writers);
        TestContext.Current.TestOutputHelper!.WriteLine($"{acknowledged.Count} keys, {refused} refused meanwhile");
        Assert.True(refused > 0);
        foreach (var (key, value) in acknowledged)
            AssertStands(key, value, await StorePair.BytesAsync(Second.Inner, key));
        await _pair.UntilAsync(() => nodes.All(n => n.Pending == 0), "replicated back", TimeSpan.FromMilliseconds(200));
        foreach (var (key, value) in acknowledged)
            AssertStands(key, value, await StorePair.BytesAsync(First.Inner, key));

        // The very last one of a writer may have been refused to it and have happened all the same.
        void AssertStands(string key, byte value, byte[]? bytes) => Assert.True(bytes is [var stands] && (stands == value || stands == begun[key]), $"{key} should be {value}");
    }

    [Fact]
    public async Task PrimaryAway_IsRefusedWithoutForce_AndSaysHowFarReplicationIs()
    {
        var store = _pair.Open();
        await store.Sweep.RoundAsync(Token);
        var replicatedAsOf = _pair.Time.GetUtcNow();
        First.Down = StoreError.Unavailable;
        var refused = await TestContent.FailsAsync(StoreError.Unavailable, async () => await PromoteAsync(Second, First, new()));
        Assert.Contains("2026-11-21 12:00:00Z", refused.Message, StringComparison.Ordinal);
        Assert.Null(await Second.Inner.FindAsync(StoreKeys.Role, Token));
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await PromoteAsync(Second, null, new()));

        var report = await PromoteAsync(Second, First, new() { Force = true });
        Assert.Equal((2, false, replicatedAsOf), (report.Epoch, report.IsPlanned, report.ReplicatedAsOf));
    }

    [Fact]
    public async Task Forced_TheOldPrimaryComesBack_IsFenced_AndNothingAcceptedIsLost()
    {
        var store = _pair.Open(new() { Sweeps = true });
        await store.PutAsync(Manifest, "before"u8.ToArray());
        await store.PutAsync(ObjectKey.Parse("catalog/gone.json"), [1]);
        await _pair.UntilAsync(() => store.Pending == 0, "replicated");

        // The secondary's network fails, then the primary dies: some changes were accepted and are nowhere else.
        Second.Down = StoreError.Unavailable;
        await store.PutAsync(Audio, [5]);
        await store.PutAsync(ObjectKey.Parse("catalog/left.json"), "left"u8.ToArray());
        await store.PutAsync(Manifest, "accepted by the old one"u8.ToArray());
        await store.PutAsync(ObjectKey.Parse("control/log/0001-0000000000000001.json"), "entry"u8.ToArray());
        await store.DeleteAsync(ObjectKey.Parse("catalog/gone.json"), Token);
        First.Down = StoreError.Unavailable;
        Second.Down = null;
        // A folder's clock is the real one; the record of the delete goes by the manual one.
        File.SetLastWriteTimeUtc(Directory.EnumerateFiles(_pair.SecondPath, "gone.json", SearchOption.AllDirectories).Single(), _pair.Time.GetUtcNow().UtcDateTime.AddHours(-1));

        var report = await PromoteAsync(Second, First, new() { Force = true });
        Assert.False(report.IsPlanned);
        await _pair.UntilAsync(() => store.Primary == 1, "the node sees it", TimeSpan.FromMilliseconds(200));
        await store.PutAsync(Manifest, "written to the new one"u8.ToArray());

        First.Down = null;
        await _pair.UntilAsync(async () => (await RoleAsync(First)) is { Role: StorePart.Secondary, Epoch: 2 }, "the old primary is fenced", TimeSpan.FromMilliseconds(200));
        Assert.Equal("accepted by the old one"u8.ToArray(), await StorePair.BytesAsync(First.Inner, Manifest.Value));
        await _pair.UntilAsync(async () => (await RoleAsync(First))!.Settled, "it is settled", TimeSpan.FromMilliseconds(200));
        await _pair.UntilAsync(() => store.Pending == 0, "it follows", TimeSpan.FromMilliseconds(200));

        Assert.Equal([5], await StorePair.BytesAsync(Second.Inner, Audio.Value));
        Assert.Equal("left"u8.ToArray(), await StorePair.BytesAsync(Second.Inner, "catalog/left.json"));
        Assert.Equal("written to the new one"u8.ToArray(), await StorePair.BytesAsync(Second.Inner, Manifest.Value));
        Assert.Null(await StorePair.BytesAsync(Second.Inner, "catalog/gone.json"));
        var kept = (await Second.Inner.EntriesAsync(LeftBehind.ConflictPrefix)).Select(e => e.Key.Value).ToList();
        Assert.Equal(2, kept.Count);
        Assert.Equal("accepted by the old one"u8.ToArray(), await StorePair.BytesAsync(Second.Inner, Assert.Single(kept, k => k.EndsWith(Manifest.Value, StringComparison.Ordinal))));
        // The log went on without it: an entry is never put into the past of its readers.
        Assert.Equal("entry"u8.ToArray(), await StorePair.BytesAsync(Second.Inner, Assert.Single(kept, k => k.EndsWith("control/log/0001-0000000000000001.json", StringComparison.Ordinal))));
        Assert.Null(await StorePair.BytesAsync(Second.Inner, "control/log/0001-0000000000000001.json"));
        Assert.Equal("written to the new one"u8.ToArray(), await StorePair.BytesAsync(First.Inner, Manifest.Value));
        Assert.Empty(await StorePair.MarkersAsync(First.Inner));
    }

    [Fact]
    public async Task OldPrimaryThatIsNotSettled_CannotBePromotedBack()
    {
        await First.Inner.PutAsync(Manifest, [1]);
        await PromoteAsync(Second, null, new() { Force = true });
        var refused = await TestContent.FailsAsync(StoreError.Unavailable, async () => await PromoteAsync(First, Second, new()));
        Assert.Contains("settled", refused.Message, StringComparison.Ordinal);

        var store = _pair.Open(new() { Sweeps = true });
        await _pair.UntilAsync(async () => (await RoleAsync(First)) is { Settled: true }, "it is settled", TimeSpan.FromMilliseconds(200));
        var report = await PromoteAsync(First, Second, new());
        Assert.Equal((3, true), (report.Epoch, report.IsPlanned));
        await _pair.UntilAsync(() => store is { Primary: 0, Epoch: 3 }, "the node sees it", TimeSpan.FromMilliseconds(200));
    }

    [Fact]
    public async Task BothClaimIt_NobodyWrites_UntilOneIsPromotedAgain()
    {
        // Both were forced, neither ever saw the other: the worst that two operators can do.
        await PromoteAsync(First, null, new() { Force = true });
        await PromoteAsync(Second, null, new() { Force = true });
        var store = _pair.Open(new() { Sweeps = true });
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [1]));
        Assert.Null(store.Primary);

        var report = await PromoteAsync(First, Second, new());
        Assert.Equal((3, false), (report.Epoch, report.IsPlanned));
        await _pair.UntilAsync(() => store.Primary == 0, "the node sees it", TimeSpan.FromMilliseconds(200));
        await store.PutAsync(Manifest, [1]);
        await _pair.UntilAsync(async () => (await RoleAsync(Second)) is { Role: StorePart.Secondary, Epoch: 3, Settled: true }, "the other one follows", TimeSpan.FromMilliseconds(200));
    }

    [Fact]
    public async Task PromotedAlready_DoesNothing()
    {
        await PromoteAsync(Second, First, new());
        var again = await PromoteAsync(Second, First, new());
        Assert.Equal((2, true), (again.Epoch, again.WasPrimary));
        Assert.Single(await Second.Inner.EntriesAsync(StoreKeys.ControlLogPrefix));
        await AssertRolesAsync(2, Second, First);
    }

    [Fact]
    public async Task SwitchThatIsGivenUp_IsUndoneByPromotingTheOldOne()
    {
        await First.Inner.PutAsync(Manifest, [1]);
        Second.Fails = (call, key) => call == StoreCall.Write ? new StoreException(StoreError.Full, "No space.") : null;
        await Assert.ThrowsAsync<StoreException>(() => PromoteAsync(Second, First, new()));
        var store = _pair.Open();
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Manifest, [2]));

        await PromoteAsync(First, Second, new());
        await _pair.UntilAsync(() => store.Primary == 0, "the node sees it", TimeSpan.FromMilliseconds(200));
        await store.PutAsync(Manifest, [2]);
    }

    /// <summary>The promotion is killed before and after each of its calls in turn; run again, it finishes, and the outcome is the same.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task KilledAnywhere_RunAgain_FinishesTheJob(bool forced, bool afterTheCall)
    {
        for (var kill = 1; ; kill++)
        {
            await using var pair = new StorePair();
            var marker = new ReplicationMarker { Key = Manifest.Value, Kind = MarkerKind.Write, StartedAt = pair.Time.GetUtcNow(), ExpiresAt = pair.Time.GetUtcNow().AddHours(1) };
            await pair.First.Inner.WriteJsonAsync(ReplicationMarker.KeyOf(ReplicationMarker.NewId(pair.Time.GetUtcNow())), marker, FailoverJson.Default.ReplicationMarker, WritePrecondition.Absent, Token);
            await pair.First.Inner.PutAsync(Manifest, [7]);
            await pair.First.Inner.PutAsync(ControlLogEnd.KeyOf(1, 1), "{}"u8.ToArray());
            await pair.Second.Inner.PutAsync(ControlLogEnd.KeyOf(1, 1), "{}"u8.ToArray());
            if (forced)
                pair.First.Down = StoreError.Unavailable;

            var calls = 0;
            Exception? Kill() => Interlocked.Increment(ref calls) == kill ? new InvalidOperationException("killed") : null;
            if (afterTheCall)
                pair.First.LosesAnswer = pair.Second.LosesAnswer = (_, _) => Kill();
            else
                pair.First.Fails = pair.Second.Fails = (_, _) => Kill();
            var wasKilled = false;
            try
            {
                await PromoteAsync(pair, new() { Force = forced });
            }
            catch (InvalidOperationException e) when (e.Message == "killed")
            {
                wasKilled = true;
            }

            (pair.First.Fails, pair.Second.Fails, pair.First.LosesAnswer, pair.Second.LosesAnswer) = (null, null, null, null);
            var report = await PromoteAsync(pair, new() { Force = forced });
            var second = (await pair.Second.Inner.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, Token)).Value!;
            Assert.Equal((StorePart.Primary, report.Epoch), (second.Role, second.Epoch));
            if (!forced)
            {
                var first = (await pair.First.Inner.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, Token)).Value!;
                Assert.Equal((StorePart.Secondary, report.Epoch, true), (first.Role, first.Epoch, first.Settled));
                Assert.Equal([7], await StorePair.BytesAsync(pair.Second.Inner, Manifest.Value));
                Assert.Empty(await StorePair.MarkersAsync(pair.First.Inner));
            }

            // One entry per epoch that was begun, without a gap, the last one of the epoch that stands.
            var log = (await pair.Second.Inner.EntriesAsync(StoreKeys.ControlLogPrefix)).Select(e => e.Key.Value).ToList();
            Assert.Equal(log.Select((_, i) => i + 1L), log.Select(k => long.Parse(k[^21..^5])));
            Assert.StartsWith($"control/log/{report.Epoch:D4}-", log[^1], StringComparison.Ordinal);
            Assert.Equal(log.Count, log.Select(k => k[..^22]).Distinct().Count());
            if (!wasKilled)
            {
                Assert.True(kill > (afterTheCall ? 3 : 8));
                return;
            }
        }
    }

    [Fact]
    public async Task TwoAtOnce_OneWinsOrBothAgree_NeverTwoPrimaries()
    {
        for (var round = 0; round < 10; round++)
        {
            await using var pair = new StorePair();
            var both = Task.WhenAll(Enumerable.Range(0, 2).Select(i => Task.Run(async () =>
            {
                try
                {
                    await StorePromotion.PromoteAsync(i == 0 ? pair.First : pair.Second, i == 0 ? pair.Second : pair.First, new(), pair.Time, Token);
                }
                catch (StoreException e) when (e.Error is StoreError.PreconditionFailed or StoreError.Unavailable)
                {
                }
            })));
            await pair.UntilAsync(() => both.IsCompleted, "both end", TimeSpan.FromMilliseconds(200));
            await both;
            // Both fenced is a pause of writes, which promoting either of them ends.
            if (await PrimaryOfAsync(pair) is null)
                await PromoteAsync(pair, new());
            Assert.NotNull(await PrimaryOfAsync(pair));
        }
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(37, 1)]
    [InlineData(500, 3)]
    [InlineData(511, 2)]
    [InlineData(512, 2)]
    [InlineData(513, 2)]
    public async Task EndOfTheLog_IsFoundWithFewQuestions(int entries, int epochs)
    {
        for (var i = 1; i <= entries; i++)
            await First.Inner.PutAsync(ControlLogEnd.KeyOf(1 + (i - 1) * epochs / entries, i), "{}"u8.ToArray());
        var end = await ControlLogEnd.FindAsync(First, Token);
        Assert.Equal(entries == 0 ? null : ((int, long)?)(epochs, entries), end is { } found ? (found.Epoch, found.Sequence) : null);
        Assert.InRange(First.Calls(StoreCall.List), 1, 40);
    }

    private static async Task<int?> PrimaryOfAsync(StorePair pair)
    {
        var (first, _) = await pair.First.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, Token);
        var (second, _) = await pair.Second.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, Token);
        return StoreRoles.Resolve(first, second).Primary;
    }

    private Task<PromotionReport> PromoteAsync(IObjectStore next, IObjectStore? other, PromotionOptions options) => PromoteAsync(_pair, next, other, options);

    private static Task<PromotionReport> PromoteAsync(StorePair pair, PromotionOptions options) => PromoteAsync(pair, pair.Second, pair.First, options, stepSeconds: 5);

    private static async Task<PromotionReport> PromoteAsync(StorePair pair, IObjectStore next, IObjectStore? other, PromotionOptions options, double stepSeconds = 0.2)
    {
        var promoting = StorePromotion.PromoteAsync(next, other, options, pair.Time, Token);
        await pair.UntilAsync(() => promoting.IsCompleted, "the promotion", TimeSpan.FromSeconds(stepSeconds));
        return await promoting;
    }

    private static async Task<StoreRole?> RoleAsync(FaultyStore store) => (await store.Inner.ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, Token)).Value;

    private static async Task AssertRolesAsync(int epoch, FaultyStore primary, FaultyStore secondary)
    {
        Assert.Equal((StorePart.Primary, epoch), (await RoleAsync(primary) is { } one ? (one.Role, one.Epoch) : default));
        Assert.Equal((StorePart.Secondary, epoch, true), (await RoleAsync(secondary) is { } other ? (other.Role, other.Epoch, other.Settled) : default));
    }
}
