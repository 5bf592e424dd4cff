using System.Diagnostics;
using Delivery.Tests;

namespace Delivery.ObjectStore;

/// <summary>How a store behind a network is wrongly reached.</summary>
public enum Misuse
{
    /// <summary>Right key id or account, wrong secret.</summary>
    WrongSecret,

    /// <summary>Credentials that the store knows, and that may not do this.</summary>
    NoPermission,

    MissingBucket,

    /// <summary>This machine's clock is an hour late.</summary>
    SkewedClock,
}

/// <summary>What every driver that reaches its store over a network must do besides: what a network and an operator can do wrong.</summary>
public abstract class RemoteStoreConformance(Func<Task<(IObjectStore Store, Func<Task> Cleanup)>> factory) : ObjectStoreConformance(factory)
{
    private static readonly StoreClientOptions Impatient = new()
    {
        ConnectTimeout = TimeSpan.FromSeconds(1),
        FirstByteTimeout = TimeSpan.FromSeconds(1),
        IdleTimeout = TimeSpan.FromSeconds(1),
        Retries = 0,
        RetryDelay = TimeSpan.FromMilliseconds(20),
    };

    private static readonly ObjectKey Song = ObjectKey.Parse("audio/song.ogg");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The server that <see cref="ObjectStoreConformance.Store"/> reaches.</summary>
    protected abstract Uri Server { get; }

    /// <summary>The same bucket as <see cref="ObjectStoreConformance.Store"/>, reached at another address.</summary>
    protected abstract IObjectStore OpenAt(Uri address, StoreClientOptions options);

    /// <summary>A store that is reached wrongly; null where the driver puts it right by itself, so that every call succeeds.</summary>
    protected abstract Task<IObjectStore> OpenWronglyAsync(Misuse misuse);

    [Theory]
    [InlineData(Misuse.WrongSecret, StoreError.Denied)]
    [InlineData(Misuse.NoPermission, StoreError.Denied)]
    [InlineData(Misuse.MissingBucket, StoreError.Misconfigured)]
    [InlineData(Misuse.SkewedClock, StoreError.ClockSkewed)]
    public async Task WhatTheOperatorDidWrong_IsSaidByEveryCall_AndNotRetried(Misuse misuse, StoreError expected)
    {
        await Store.PutAsync(Song, [1, 2, 3]);
        using var store = await OpenWronglyAsync(misuse);
        foreach (var call in (Func<ValueTask>[])
                 [
                     async () => await store.FindAsync(Song, Token),
                     async () => await (await store.OpenReadAsync(Song, null, Token))!.DisposeAsync(),
                     async () => await store.OpenReadAsync(ObjectKey.Parse("not/there"), new ObjectRange(0, 5), Token),
                     async () => await store.FindAsync(ObjectKey.Parse("not/there"), Token),
                     async () => await store.PutAsync(ObjectKey.Parse("new"), [1]),
                     async () => await store.PutAsync(ObjectKey.Parse("new2"), TestContent.Bytes(20 << 20, 1), WritePrecondition.Absent),
                     async () => await store.WriteAsync(ObjectKey.Parse("new3"), new ScriptedContent(20 << 20, 1 << 20), new ObjectWrite { ContentType = "audio/ogg" }, Token),
                     async () => await store.DeleteAsync(Song, Token),
                     async () => await store.EntriesAsync(),
                 ])
        {
            try
            {
                await call();
                Assert.Equal(Misuse.SkewedClock, misuse); // A driver may find out the store's time, and go by it.
            }
            catch (StoreException e)
            {
                Assert.Equal((expected, StoreFault.Operator, false), (e.Error, e.Fault, e.CanRetry));
            }
        }
    }

    [Fact]
    public async Task ServerThatIsNotThere_IsUnavailable()
    {
        var gone = new TroubledProxy(Server);
        var address = gone.Address;
        await gone.DisposeAsync();
        using var store = OpenAt(address, Impatient with { Retries = 1 });
        foreach (var call in CallsOf(store))
            Assert.True((await TestContent.FailsAsync(StoreError.Unavailable, call)).CanRetry);
    }

    [Fact]
    public async Task ServerThatDoesNotAnswer_IsUnavailable_AfterItsTimeout()
    {
        await using var proxy = new TroubledProxy(Server) { Trouble = new() { HoldAnswersAfter = 0 } };
        using var store = OpenAt(proxy.Address, Impatient);
        foreach (var call in CallsOf(store))
        {
            var started = Stopwatch.GetTimestamp();
            await TestContent.FailsAsync(StoreError.Unavailable, call);
            Assert.InRange(Stopwatch.GetElapsedTime(started).TotalSeconds, 0.5, 10);
            proxy.Trouble = new() { HoldAnswersAfter = 0 };
        }
    }

    [Fact]
    public async Task ConnectionsLostBeforeAnAnswer_AreTriedAgain()
    {
        await Store.PutAsync(Song, [1, 2, 3]);
        await using var proxy = new TroubledProxy(Server);
        using var store = OpenAt(proxy.Address, Impatient with { Retries = 3 });
        await store.FindAsync(Song, Token);
        foreach (var call in CallsOf(store))
        {
            proxy.Trouble = new() { CutAnswersAfter = 0, Times = 2 };
            await call();
            Assert.Equal(2, proxy.Trouble.Happened);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task BodyThatBreaksOrStands_IsUnavailable_AndGivesNoOtherByte(bool stands)
    {
        var bytes = TestContent.Bytes(3_000_000, 5);
        await Store.PutAsync(Song, bytes);
        await using var proxy = new TroubledProxy(Server);
        using var store = OpenAt(proxy.Address, Impatient);
        await store.FindAsync(Song, Token);
        proxy.Trouble = stands ? new() { HoldAnswersAfter = 1_000_000 } : new() { CutAnswersAfter = 1_000_000 };
        await using var read = (await store.OpenReadAsync(Song, null, Token))!;
        var got = new MemoryStream();
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await read.Content.CopyToAsync(got, Token));
        Assert.InRange(got.Length, 1, 1_000_000);
        Assert.True(got.ToArray().AsSpan().SequenceEqual(bytes.AsSpan(0, (int)got.Length)));
    }

    [Fact]
    public async Task ReaderThatLeaves_GivesItsConnectionBack()
    {
        await Store.PutAsync(Song, TestContent.Bytes(3_000_000, 5));
        using var store = OpenAt(Server, new() { MaxConnections = 2 });
        for (var i = 0; i < 10; i++)
        {
            await using var read = (await store.OpenReadAsync(Song, null, Token))!;
            await read.Content.ReadExactlyAsync(new byte[1000], Token);
        }
    }

    /// <summary>Sizes below and above what a driver sends at once.</summary>
    [Theory]
    [InlineData(2_000_000, false)]
    [InlineData(2_000_000, true)]
    [InlineData(40_000_000, false)]
    [InlineData(40_000_000, true)]
    public async Task UploadWhoseConnectionBreaks_IsWholeOrNotThere(int length, bool knowsLength)
    {
        await using var proxy = new TroubledProxy(Server);
        using var store = OpenAt(proxy.Address, Impatient with { Retries = 3 });
        foreach (var trouble in (Trouble[])
                 [
                     new() { CutRequestsAfter = length / 2, Times = 1 }, new() { CutRequestsAfter = length - 100_000, Times = 1 }, new() { CutRequestsAfter = length / 2 },
                     new() { CutAnswersAfter = 0, Times = 1 }, new() { CutAnswersAfter = 600, Times = 1 },
                 ])
        {
            var key = ObjectKey.Parse($"masters/{Guid.NewGuid():N}.flac");
            proxy.Trouble = trouble;
            try
            {
                await store.WriteAsync(key, new ScriptedContent(length, 1 << 20), new ObjectWrite { ContentType = "audio/flac", Precondition = WritePrecondition.Absent, ExpectedLength = knowsLength ? length : null }, Token);
                var expected = new byte[length];
                ScriptedContent.Fill(expected, 0);
                Assert.True((await Store.GetAsync(key))!.Value.Bytes.AsSpan().SequenceEqual(expected));
            }
            catch (StoreException e) when (e.Error == StoreError.Unavailable)
            {
                // The one case in which a write that failed may be there, whole, is that its last answer was lost.
                if (trouble.CutAnswersAfter == long.MaxValue)
                    Assert.Null(await Store.FindAsync(key, Token));
                else if (await Store.FindAsync(key, Token) is { } there)
                    Assert.Equal(length, there.Length);
            }
        }
    }

    [Fact]
    public async Task LostAnswerOfAConditionalWrite_IsNeverCalledAFailedPrecondition()
    {
        await using var proxy = new TroubledProxy(Server);
        using var store = OpenAt(proxy.Address, Impatient with { Retries = 3 });
        await store.FindAsync(Song, Token);
        for (var after = 0; after < 1200; after += 150)
        {
            var key = ObjectKey.Parse($"control/log/{after}.json");
            proxy.Trouble = new() { CutAnswersAfter = after, Times = 1 };
            try
            {
                await store.PutAsync(key, [1, 2, 3], WritePrecondition.Absent);
                Assert.Equal([1, 2, 3], (await Store.GetAsync(key))!.Value.Bytes);
            }
            catch (StoreException e)
            {
                Assert.Equal(StoreError.Unavailable, e.Error);
            }
        }
    }

    [Fact]
    public async Task AbandonedUpload_LeavesNoParts()
    {
        var key = ObjectKey.Parse("masters/abandoned.flac");
        var content = new ScriptedContent(40_000_000, 1 << 20) { FailsWith = new IOException("the client went away") };
        await TestContent.FailsAsync(StoreError.ContentFailed, async () => await Store.WriteAsync(key, content, new ObjectWrite { ContentType = "audio/flac" }, Token));
        Assert.Equal(0, await PendingUploadsAsync());
    }

    /// <summary>Uploads that the server holds parts of and that were neither completed nor aborted.</summary>
    protected abstract Task<int> PendingUploadsAsync();

    private static Func<ValueTask>[] CallsOf(IObjectStore store) =>
    [
        async () => await store.FindAsync(Song, Token),
        async () => await (await store.OpenReadAsync(Song, new ObjectRange(0, 3), Token) ?? throw new StoreException(StoreError.Corrupt, "gone")).DisposeAsync(),
        async () => await store.PutAsync(Song, [1, 2, 3]),
        async () => await store.EntriesAsync("audio/"),
    ];
}
