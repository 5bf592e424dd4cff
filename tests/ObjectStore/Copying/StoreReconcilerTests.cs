using Delivery.ObjectStore.Failover;

namespace Delivery.ObjectStore.Copying;

public sealed class StoreReconcilerTests : IAsyncDisposable
{
    private static readonly ObjectKey Key = ObjectKey.Parse("masters/t/u.wav");
    private readonly StorePair _pair = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FaultyStore From => _pair.First;

    private FaultyStore To => _pair.Second;

    public ValueTask DisposeAsync() => _pair.DisposeAsync();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(ObjectCopy.SmallBytes)]
    [InlineData(ObjectCopy.SmallBytes + 1)]
    [InlineData(5_000_000)]
    public async Task Copy_GivesBytesTypeAndDigest_AndIsIdempotent(int length)
    {
        var bytes = TestContent.Bytes(length, 1);
        await From.Inner.WriteAsync(Key, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/x-odd" }, Token);
        long told = 0;
        var options = new CopyOptions { BytesCopied = n => Interlocked.Add(ref told, n) };
        Assert.Equal(new CopyResult(CopyOutcome.Copied, length), await ObjectCopy.EnsureAsync(From, To, Key, options, Token));
        var (info, copied) = (await To.Inner.GetAsync(Key))!.Value;
        Assert.Equal(bytes, copied);
        Assert.Equal(("audio/x-odd", TestContent.Sha256(bytes), (long)length), (info.ContentType, info.Sha256, told));
        Assert.Equal(new CopyResult(CopyOutcome.Equal, 0), await ObjectCopy.EnsureAsync(From, To, Key, options, Token));
        Assert.Equal(length, told);
    }

    [Fact]
    public async Task Absent_DeletesOnlyWhenToldSo()
    {
        await To.Inner.PutAsync(Key, [1]);
        Assert.Equal(CopyOutcome.Absent, (await ObjectCopy.EnsureAsync(From, To, Key, CopyOptions.Default, Token)).Outcome);
        Assert.NotNull(await To.Inner.FindAsync(Key, Token));
        Assert.Equal(CopyOutcome.Deleted, (await ObjectCopy.EnsureAsync(From, To, Key, new() { DeleteWhenAbsent = true }, Token)).Outcome);
        Assert.Null(await To.Inner.FindAsync(Key, Token));
    }

    [Fact]
    public async Task SourceThatBreaks_IsTheSourcesFault_AndLeavesNothing()
    {
        await From.Inner.PutAsync(Key, TestContent.Bytes(3_000_000, 1));
        From.BodyBreaksAfter = 2_000_000;
        var failure = await TestContent.FailsAsync(StoreError.Unavailable, async () => await ObjectCopy.EnsureAsync(From, To, Key, CopyOptions.Default, Token));
        Assert.Contains("the source failed", failure.Message, StringComparison.Ordinal);
        Assert.Null(await To.Inner.FindAsync(Key, Token));
        From.BodyBreaksAfter = null;
        To.Down = StoreError.Full;
        failure = await TestContent.FailsAsync(StoreError.Full, async () => await ObjectCopy.EnsureAsync(From, To, Key, CopyOptions.Default, Token));
        Assert.Contains("the target failed", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SourceThatIsNotOfItsOwnDigest_IsCorrupt_AndIsNotCopied()
    {
        foreach (var length in new[] { 1000, 3_000_000 })
        {
            await From.Inner.PutAsync(Key, TestContent.Bytes(length, 1));
            using var lying = new LyingStore(From.Inner);
            await TestContent.FailsAsync(StoreError.Corrupt, async () => await ObjectCopy.EnsureAsync(lying, To, Key, CopyOptions.Default, Token));
            Assert.Null(await To.Inner.FindAsync(Key, Token));
        }
    }

    [Fact]
    public async Task ObjectThatChangesAllTheTime_EndsBounded()
    {
        await From.Inner.PutAsync(Key, [1]);
        byte n = 1;
        To.Waits = (call, _) => call == StoreCall.Write ? From.Inner.PutAsync(Key, [++n]).AsTask() : null;
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await ObjectCopy.EnsureAsync(From, To, Key, CopyOptions.Default, Token));
        Assert.Equal(ObjectCopy.MaxRounds, To.Calls(StoreCall.Write));
    }

    [Fact]
    public async Task UnknownDigests_SmallOnesAreHashed_LargeOnesOnlyToVerify()
    {
        var (small, large) = (ObjectKey.Parse("a/small"), ObjectKey.Parse("a/large"));
        foreach (var (key, length) in new[] { (small, 1000), (large, 2_000_000) })
        {
            await From.Inner.PutAsync(key, TestContent.Bytes(length, 1));
            await To.Inner.PutAsync(key, TestContent.Bytes(length, 2));
        }

        using var from = new DigestlessStore(From.Inner);
        Assert.Equal([(large, KeyState.NotCompared), (small, KeyState.Different)], await StatesAsync(from, new()));
        Assert.Equal([(large, KeyState.Different), (small, KeyState.Different)], await StatesAsync(from, new() { Verify = true }));
        var report = await StoreReconciler.RunAsync(from, To, new() { Repair = true, Comparison = new() { Verify = true } }, null, Token);
        Assert.Equal((2L, 2L, true, 2_001_000L), (report.Different, report.Repaired, report.IsInSync, report.Bytes));
        Assert.Equal(TestContent.Bytes(2_000_000, 1), (await To.Inner.GetAsync(large))!.Value.Bytes);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public async Task EveryKeyOfEither_IsToldOnceInOrder_AndStoresOwnAreNot(int concurrency)
    {
        var random = new Random(5);
        var expected = new SortedDictionary<string, KeyState>(Comparer<string>.Create(ObjectKey.CompareUtf8));
        for (var i = 0; i < 300; i++)
        {
            var key = $"{(char)('a' + random.Next(5))}/{(i % 7 == 0 ? "😀" : i % 5 == 0 ? "\uffee" : "")}{i}";
            expected[key] = (KeyState)new[] { 0, 2, 3, 4 }[random.Next(4)];
            if (expected[key] != KeyState.Extra)
                await From.Inner.PutAsync(ObjectKey.Parse(key), [1, (byte)i]);
            if (expected[key] != KeyState.Missing)
                await To.Inner.PutAsync(ObjectKey.Parse(key), expected[key] == KeyState.Different ? [2, (byte)i] : [1, (byte)i]);
        }

        await From.Inner.PutAsync(StoreKeys.Role, [1]);
        await From.Inner.PutAsync(ObjectKey.Parse("replication/markers/x.json"), [1]);
        await To.Inner.PutAsync(ReplicationMark.Key, [1]);
        Assert.Equal(expected.Select(e => (ObjectKey.Parse(e.Key), e.Value)), await StatesAsync(From, new() { Concurrency = concurrency }));
        Assert.Equal(
            expected.Where(e => e.Key.StartsWith("c/", StringComparison.Ordinal)).Select(e => (ObjectKey.Parse(e.Key), e.Value)), await StatesAsync(From, new() { Prefix = "c/", Concurrency = concurrency }));
    }

    [Fact]
    public async Task Repair_CopiesWhatIsMissingOrDifferent_AndDeletesExtrasOnlyWhenTold()
    {
        await PutAsync(From, ("audio/1", 1), ("audio/2", 2), ("catalog/3", 3));
        await PutAsync(To, ("audio/1", 1), ("catalog/3", 9), ("extra/4", 4));
        var report = await StoreReconciler.RunAsync(From, To, new(), null, Token);
        Assert.Equal((1L, 1L, 1L, 1L, 0L, false), (report.Equal, report.Missing, report.Different, report.Extra, report.Repaired, report.IsInSync));

        report = await StoreReconciler.RunAsync(From, To, new() { Repair = true }, null, Token);
        Assert.Equal((2L, 0L, true), (report.Repaired, report.Deleted, report.IsInSync));
        Assert.Equal(["audio/1", "audio/2", "catalog/3", "extra/4"], await StorePair.KeysAsync(To.Inner));

        report = await StoreReconciler.RunAsync(From, To, new() { Repair = true, DeleteExtras = true }, null, Token);
        Assert.Equal((3L, 1L), (report.Equal, report.Deleted));
        Assert.Equal(["audio/1", "audio/2", "catalog/3"], await StorePair.KeysAsync(To.Inner));
        Assert.Equal([3], await StorePair.BytesAsync(To.Inner, "catalog/3"));
    }

    [Fact]
    public async Task StoppedRun_GoesOnAtItsLastKey()
    {
        await PutAsync(From, [.. Enumerable.Range(0, 60).Select(i => ($"audio/{i:D3}", (byte)i))]);
        using var stop = new CancellationTokenSource();
        ReconcileReport? first = null;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => StoreReconciler.RunAsync(From, To, new() { Repair = true }, (_, report) =>
        {
            first = report;
            if (report.Repaired == 25)
                stop.Cancel();
        }, stop.Token));
        Assert.Equal("audio/024", first!.LastKey);
        var second = await StoreReconciler.RunAsync(From, To, new() { Repair = true, Comparison = new() { StartAfter = first.LastKey } }, null, Token);
        Assert.Equal((60L - 25, true), (second.Equal + second.Missing, second.IsInSync));
        Assert.Equal(60, (await StorePair.KeysAsync(To.Inner)).Count);
    }

    [Fact]
    public async Task KeyThatTheTargetCannotHold_IsTold_AndTheOthersGoOn()
    {
        await PutAsync(From, ("a/1", 1), ("b", 2), ("c/3", 3));
        await PutAsync(To, ("b/folder", 0));
        var failures = new List<(string, StoreError)>();
        var report = await StoreReconciler.RunAsync(From, To, new() { Repair = true }, (key, _) =>
        {
            if (key.Failure is { } failure)
                failures.Add((key.Found.Key.Value, failure.Error));
        }, Token);
        Assert.Equal([("b", StoreError.KeyRefused)], failures);
        Assert.Equal((2L, 1L, false), (report.Repaired, report.Failed, report.IsInSync));
    }

    [Fact]
    public async Task StoreThatFails_EndsTheRun()
    {
        await PutAsync(From, [.. Enumerable.Range(0, 40).Select(i => ($"audio/{i:D3}", (byte)i))]);
        To.Fails = (call, key) => key?.Value == "audio/020" ? new StoreException(StoreError.Unavailable, "Away.") : null;
        var told = 0;
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await StoreReconciler.RunAsync(From, To, new() { Repair = true }, (_, _) => told++, Token));
        Assert.Equal(20, told);
    }

    private async Task<List<(ObjectKey, KeyState)>> StatesAsync(IObjectStore from, ComparisonOptions options)
    {
        var states = new List<(ObjectKey, KeyState)>();
        await foreach (var key in StoreComparison.CompareAsync(from, To, options, Token))
            states.Add((key.Key, key.State));
        return states;
    }

    private static async Task PutAsync(FaultyStore store, params (string Key, byte Content)[] objects)
    {
        foreach (var (key, content) in objects)
            await store.Inner.PutAsync(ObjectKey.Parse(key), [content]);
    }

    /// <summary>As a bucket does that knows no digest of what was uploaded in parts.</summary>
    private sealed class DigestlessStore(IObjectStore inner) : ToldOtherwise(inner, info => info with { Sha256 = null });

    /// <summary>Metadata that are not of the bytes: an object that rotted, or was replaced behind the store's back.</summary>
    private sealed class LyingStore(IObjectStore inner) : ToldOtherwise(inner, info => info with { Sha256 = new string('0', 64) });

    private abstract class ToldOtherwise(IObjectStore inner, Func<ObjectInfo, ObjectInfo> tell) : IObjectStore
    {
        public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) => await inner.FindAsync(key, cancellationToken) is { } info ? tell(info) : null;

        public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) =>
            await inner.OpenReadAsync(key, range, cancellationToken) is { } read ? new ObjectRead(tell(read.Info), read.Offset, read.Length, read.Content) : null;

        public ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken) => inner.WriteAsync(key, content, write, cancellationToken);

        public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

        public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => inner.ListAsync(prefix, startAfter, cancellationToken);

        public void Dispose()
        {
        }
    }
}
