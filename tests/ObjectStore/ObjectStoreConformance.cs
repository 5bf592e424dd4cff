using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.ObjectStore;

/// <summary>
/// What every driver must do, whatever lies below it. A driver joins with a sealed class of three lines that gives a factory of empty
/// stores. Nothing here may rest on files, folders, or a digest of the store's own making.
/// </summary>
public abstract class ObjectStoreConformance(Func<Task<(IObjectStore Store, Func<Task> Cleanup)>> factory) : IAsyncLifetime
{
    private Func<Task> _cleanup = null!;

    /// <summary>An empty store at the start of each test.</summary>
    protected IObjectStore Store { get; private set; } = null!;

    /// <summary>Objects in the listing test: more pages than one of any store.</summary>
    protected virtual int ListedObjects => 10_000;

    /// <summary>Bytes of the large object.</summary>
    protected virtual long LargeObjectBytes => 2L << 30;

    /// <summary>Whether a read tells the digest too. Not where media answers carry no metadata, and a second request would be needed for it.</summary>
    protected virtual bool ReadsTellTheDigest => true;

    /// <summary>How often each race is run.</summary>
    protected virtual int RaceRounds => 25;

    /// <summary>Writes and deletes of each writer in the stress test.</summary>
    protected virtual int StressOperations => 150;

    private static CancellationToken Cancelled => new(canceled: true);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => (Store, _cleanup) = await factory();

    public async ValueTask DisposeAsync() => await _cleanup();

    [Fact]
    public async Task Write_ThenFindAndRead_GiveBackBytesAndMetadata()
    {
        var key = ObjectKey.Parse("audio/0123.m4a");
        var bytes = TestContent.Bytes(300_001, 1);
        var before = DateTimeOffset.UtcNow;
        var written = await Store.WriteAsync(
            key, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/x-odd; codecs=\"a, b\"", ExpectedLength = bytes.Length, ExpectedSha256 = TestContent.Sha256(bytes) }, Token);

        var (info, read) = (await Store.GetAsync(key))!.Value;
        Assert.Equal(bytes, read);
        AssertReads(written, info);
        Assert.Equal(written, await Store.FindAsync(key, Token));
        info = written;
        Assert.Equal((key, bytes.Length, "audio/x-odd; codecs=\"a, b\"", TestContent.Sha256(bytes)), (info.Key, info.Length, info.ContentType, info.Sha256));
        Assert.InRange(info.LastModified, before.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
    }

    [Fact]
    public async Task Write_WithoutPromises_StoresTheBytes_AndNeverAWrongDigest()
    {
        var key = ObjectKey.Parse("a");
        var bytes = TestContent.Bytes(70_000, 2);
        await Store.WriteAsync(key, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/flac" }, Token);
        var (info, read) = (await Store.GetAsync(key))!.Value;
        Assert.Equal(bytes, read);
        Assert.True(info.Sha256 is null || info.Sha256 == TestContent.Sha256(bytes));
    }

    [Fact]
    public async Task AbsentObject_IsAValue()
    {
        var key = ObjectKey.Parse("no/such/object");
        Assert.Null(await Store.FindAsync(key, Token));
        Assert.Null(await Store.OpenReadAsync(key, null, Token));
        Assert.Null(await Store.OpenReadAsync(key, new ObjectRange(5, 5), Token));
        Assert.False(await Store.DeleteAsync(key, Token));
        Assert.Empty(await Store.EntriesAsync());
    }

    [Fact]
    public async Task Overwrite_ReplacesBytesTypeAndVersion()
    {
        var key = ObjectKey.Parse("catalog/tracks/t.json");
        var first = await Store.PutAsync(key, TestContent.Bytes(5000, 1));
        var second = await Store.WriteAsync(key, new MemoryStream(TestContent.Bytes(40, 2)), new ObjectWrite { ContentType = "application/json" }, Token);
        Assert.NotEqual(first.Version, second.Version);
        var (info, bytes) = (await Store.GetAsync(key))!.Value;
        Assert.Equal((40L, "application/json", second.Version), (info.Length, info.ContentType, info.Version));
        Assert.Equal(TestContent.Bytes(40, 2), bytes);
        Assert.Single(await Store.EntriesAsync());
    }

    [Fact]
    public async Task Delete_IsIdempotent_AndTheKeyCanBeMadeAgain()
    {
        var key = ObjectKey.Parse("masters/t/u.wav");
        var old = await Store.PutAsync(key, TestContent.Bytes(10, 1));
        Assert.True(await Store.DeleteAsync(key, Token));
        Assert.False(await Store.DeleteAsync(key, Token));
        Assert.Null(await Store.FindAsync(key, Token));
        Assert.Empty(await Store.EntriesAsync("masters/"));
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await Store.PutAsync(key, [1], WritePrecondition.Version(old.Version)));
        await Store.PutAsync(key, TestContent.Bytes(10, 2), WritePrecondition.Absent);
        Assert.Equal(TestContent.Bytes(10, 2), (await Store.GetAsync(key))!.Value.Bytes);
    }

    [Fact]
    public async Task Preconditions_DecideWhetherAWriteHappens()
    {
        var key = ObjectKey.Parse("catalog/releases/r.json");
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await Store.PutAsync(key, [0], WritePrecondition.Version("no-such-version")));
        Assert.Null(await Store.FindAsync(key, Token));

        var first = await Store.PutAsync(key, [1], WritePrecondition.Absent);
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await Store.PutAsync(key, [2], WritePrecondition.Absent));
        Assert.Equal(first, await Store.FindAsync(key, Token));

        var second = await Store.PutAsync(key, [3], WritePrecondition.Version(first.Version));
        var refused = await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await Store.PutAsync(key, [4], WritePrecondition.Version(first.Version)));
        Assert.Equal((StoreFault.Caller, false), (refused.Fault, refused.CanRetry));
        Assert.Equal(second, await Store.FindAsync(key, Token));
        Assert.Equal([3], (await Store.GetAsync(key))!.Value.Bytes);
    }

    [Fact]
    public async Task SixteenCreators_OneWins_AndItsBytesStand()
    {
        for (var round = 0; round < RaceRounds; round++)
        {
            var key = ObjectKey.Parse($"control/log/0001-{round:D16}.json");
            var winners = new ConcurrentBag<int>();
            await Together(16, async writer =>
            {
                try
                {
                    await Store.PutAsync(key, TestContent.Bytes(2000 + writer, writer), WritePrecondition.Absent);
                    winners.Add(writer);
                }
                catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
                {
                }
            });
            var winner = Assert.Single(winners);
            Assert.Equal(TestContent.Bytes(2000 + winner, winner), (await Store.GetAsync(key))!.Value.Bytes);
        }
    }

    [Fact]
    public async Task CompareAndSwap_FromEightWriters_LosesNoUpdate()
    {
        var key = ObjectKey.Parse("catalog/files/counter.json");
        await Store.PutAsync(key, "0"u8.ToArray());
        await Together(8, async _ =>
        {
            for (var added = 0; added < RaceRounds;)
            {
                var (info, bytes) = (await Store.GetAsync(key))!.Value;
                var next = Encoding.ASCII.GetBytes((int.Parse(bytes) + 1).ToString());
                try
                {
                    await Store.PutAsync(key, next, WritePrecondition.Version(info.Version));
                    added++;
                }
                catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
                {
                }
            }
        });
        Assert.Equal((8 * RaceRounds).ToString(), Encoding.ASCII.GetString((await Store.GetAsync(key))!.Value.Bytes));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(0, 65536)]
    [InlineData(0, 200_000)]
    [InlineData(0, 200_001)]
    [InlineData(0, long.MaxValue)]
    [InlineData(131_071, 2)]
    [InlineData(131_072, 131_072)]
    [InlineData(199_999, 1)]
    [InlineData(199_999, long.MaxValue)]
    [InlineData(1, long.MaxValue)]
    public async Task Range_GivesExactlyItsBytes(long offset, long length)
    {
        var key = ObjectKey.Parse("audio/r.ogg");
        var bytes = TestContent.Bytes(200_000, 3);
        var written = await Store.PutAsync(key, bytes);
        await using var read = (await Store.OpenReadAsync(key, new ObjectRange(offset, length), Token))!;
        var content = new MemoryStream();
        await read.Content.CopyToAsync(content, Token);
        Assert.Equal(bytes[(int)offset..(int)(offset + Math.Min(length, bytes.Length - offset))], content.ToArray());
        Assert.Equal((offset, content.Length), (read.Offset, read.Length));
        AssertReads(written, read.Info);
    }

    [Theory]
    [InlineData(1000, 1000, 1)]
    [InlineData(1000, 1001, 5)]
    [InlineData(1000, long.MaxValue, long.MaxValue)]
    [InlineData(0, 0, 1)]
    [InlineData(0, 0, long.MaxValue)]
    public async Task Range_AtOrPastTheEnd_IsNotSatisfiable(int objectLength, long offset, long length)
    {
        var key = ObjectKey.Parse("audio/r.ogg");
        await Store.PutAsync(key, TestContent.Bytes(objectLength, 4));
        await TestContent.FailsAsync(StoreError.RangeNotSatisfiable, async () => await Store.OpenReadAsync(key, new ObjectRange(offset, length), Token));
    }

    [Theory]
    [InlineData(-1, 5)]
    [InlineData(0, 0)]
    [InlineData(0, -1)]
    public async Task Range_ThatIsNone_IsAProgrammingError(long offset, long length)
    {
        var key = ObjectKey.Parse("audio/r.ogg");
        await Store.PutAsync(key, [1, 2, 3]);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await Store.OpenReadAsync(key, new ObjectRange(offset, length), Token));
    }

    [Fact]
    public async Task EmptyObject_CanBeWrittenReadAndListed()
    {
        var key = ObjectKey.Parse("empty");
        await Store.PutAsync(key, []);
        Assert.Empty((await Store.GetAsync(key))!.Value.Bytes);
        Assert.Equal(0, Assert.Single(await Store.EntriesAsync()).Length);
    }

    public enum Refusal
    {
        TooShort,
        TooLong,
        WrongDigest,
        Breaks,
        BreaksAtOnce,
        BreaksByCancellingItself,
    }

    [Theory]
    [CombinatorialRefusals]
    public async Task RefusedWrite_LeavesNothing_OrTheEarlierVersion(Refusal refusal, int length, bool overwrites)
    {
        var key = ObjectKey.Parse("masters/t1/upload.flac");
        var earlier = overwrites ? await Store.PutAsync(key, TestContent.Bytes(99, 9)) : null;
        var (error, write, content) = refusal switch
        {
            Refusal.TooShort => (StoreError.LengthMismatch, Promise(length + 1), new ScriptedContent(length, 50_000)),
            Refusal.TooLong => (StoreError.LengthMismatch, Promise(length - 1), new ScriptedContent(length, 50_000)),
            Refusal.WrongDigest => (StoreError.DigestMismatch, Promise(length) with { ExpectedSha256 = new string('0', 64) }, new ScriptedContent(length, 50_000)),
            Refusal.Breaks => (StoreError.ContentFailed, Promise(length + 10), new ScriptedContent(length, 50_000) { FailsWith = new IOException("the client went away") }),
            Refusal.BreaksAtOnce => (StoreError.ContentFailed, Promise(null), new ScriptedContent(0, 1) { FailsWith = new IOException("the client went away") }),
            _ => (StoreError.ContentFailed, Promise(null), new ScriptedContent(length, 50_000) { FailsWith = new OperationCanceledException("the content's own token") }),
        };

        var refused = await TestContent.FailsAsync(error, async () => await Store.WriteAsync(key, content, write, Token));
        Assert.Equal((StoreFault.Caller, false), (refused.Fault, refused.CanRetry));
        if (error == StoreError.ContentFailed)
            Assert.Same(content.FailsWith, refused.InnerException);
        Assert.Equal(earlier, await Store.FindAsync(key, Token));
        Assert.Equal(overwrites ? 1 : 0, (await Store.EntriesAsync()).Count);
        if (overwrites)
            Assert.Equal(TestContent.Bytes(99, 9), (await Store.GetAsync(key))!.Value.Bytes);

        static ObjectWrite Promise(long? length) => new() { ContentType = "audio/flac", ExpectedLength = length };
    }

    [Fact]
    public async Task UnfinishedWrite_IsInvisible_UntilItIsCommitted()
    {
        var key = ObjectKey.Parse("audio/slow.ogg");
        var gate = new TaskCompletionSource();
        var content = new ScriptedContent(1_000_000, 64_000) { StallsAtEnd = gate.Task };
        var writing = Store.WriteAsync(key, content, new ObjectWrite { ContentType = "audio/ogg" }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        Assert.Null(await Store.FindAsync(key, Token));
        Assert.Null(await Store.OpenReadAsync(key, null, Token));
        Assert.Empty(await Store.EntriesAsync());

        gate.SetResult();
        var written = await writing;
        Assert.Equal(1_000_000, written.Length);
        Assert.Equal(written, await Store.FindAsync(key, Token));
    }

    [Fact]
    public async Task CancelledWrite_LeavesNothing()
    {
        var key = ObjectKey.Parse("audio/slow.ogg");
        using var cancel = new CancellationTokenSource();
        var content = new ScriptedContent(1_000_000, 64_000) { StallsAtEnd = new TaskCompletionSource().Task };
        var writing = Store.WriteAsync(key, content, new ObjectWrite { ContentType = "audio/ogg" }, cancel.Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writing);
        Assert.Null(await Store.FindAsync(key, Token));
        Assert.Empty(await Store.EntriesAsync());
    }

    [Fact]
    public async Task CancelledToken_StopsEveryCall()
    {
        var key = ObjectKey.Parse("a/b");
        var written = await Store.PutAsync(key, [1]);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.FindAsync(key, Cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.OpenReadAsync(key, null, Cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.PutAsync(key, [2], default, Cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.DeleteAsync(key, Cancelled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Store.ListAsync("", null, Cancelled).GetAsyncEnumerator(Cancelled).MoveNextAsync());
        Assert.Equal(written, await Store.FindAsync(key, Token));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(999)]
    [InlineData(131_073)]
    public async Task ContentInPiecesOfAnySize_IsStoredWhole(int pieceSize)
    {
        var key = ObjectKey.Parse("audio/pieces.ogg");
        var expected = new byte[pieceSize == 1 ? 5000 : 500_000];
        ScriptedContent.Fill(expected, 0);
        await Store.WriteAsync(key, new ScriptedContent(expected.Length, pieceSize), new ObjectWrite { ContentType = "audio/ogg" }, Token);
        Assert.Equal(expected, (await Store.GetAsync(key))!.Value.Bytes);
    }

    public static TheoryData<string> OddKeys => new(
        "x", "a b/c  d", "%2e%2e/%2F", "a+b&c=d?e#f", "quote'\"`$(x);|*", "-rf", "~/x", "...", "a/.hidden", "a/..b", "音楽/曲 №1.flac",
        "emoji/🎵🎧.ogg", "e\u0301 decomposed", "\u00e9 composed", "A/Case", "\u202eright-to-left", "con/nul.txt", "trailing./dot.",
        string.Join('/', Enumerable.Repeat(new string('k', 255), 4)), new string('n', 255),
        string.Join('/', Enumerable.Repeat(string.Concat(Enumerable.Repeat("曲", 85)), 4)), string.Join('/', Enumerable.Repeat("d", 100)));

    [Theory]
    [MemberData(nameof(OddKeys))]
    public async Task OddKey_IsWrittenFoundListedAndDeleted(string text)
    {
        var key = ObjectKey.Parse(text);
        var bytes = Encoding.UTF8.GetBytes(text);
        var written = await Store.PutAsync(key, bytes);
        Assert.Equal(bytes, (await Store.GetAsync(key))!.Value.Bytes);
        Assert.Equal(new ObjectEntry(key, bytes.Length, written.Version, written.LastModified), Assert.Single(await Store.EntriesAsync()));
        Assert.Single(await Store.EntriesAsync(text));
        Assert.Empty(await Store.EntriesAsync("", text));
        Assert.True(await Store.DeleteAsync(key, Token));
        Assert.Empty(await Store.EntriesAsync());
    }

    [Fact]
    public async Task KeysThatLookAlike_AreDifferentObjects()
    {
        string[] alike = ["a/Key", "a/key", "A/key", "a/\u00e9", "a/e\u0301", "a/key ", "a/\ufb01", "a/fi", "a/\u017f", "a/s"];
        for (var i = 0; i < alike.Length; i++)
            await Store.PutAsync(ObjectKey.Parse(alike[i]), [(byte)i]);
        for (var i = 0; i < alike.Length; i++)
            Assert.Equal([(byte)i], (await Store.GetAsync(ObjectKey.Parse(alike[i])))!.Value.Bytes);
        Assert.Equal(alike.Length, (await Store.EntriesAsync()).Count);
    }

    [Fact]
    public async Task Listing_IsInByteOrder_FromAnyPrefixAndStart()
    {
        var keys = await WriteListedAsync(2000);
        Assert.Equal(keys, (await Store.EntriesAsync()).Select(e => e.Key.Value));

        foreach (var prefix in new[] { "a", "a/", "a-", "a/b", "a/b/", "a/b/c0", "deep/1/2/3/", "no", "a//", "../", "/", "\ue000", "😀" })
            Assert.Equal(keys.Where(k => k.StartsWith(prefix, StringComparison.Ordinal)), (await Store.EntriesAsync(prefix)).Select(e => e.Key.Value));

        var starts = keys.Where((_, i) => i % 97 == 0).Concat(keys.Take(8)).Concat(["", "!", "a", "a/", "a/b", "a/b/", "a/b/c1", "a0", "deep/1", "zzz", "\ue000", "😀", keys[^1]]);
        foreach (var start in starts)
        {
            foreach (var prefix in new[] { "", "a/", "a/b/c", "deep/" })
            {
                Assert.Equal(
                    keys.Where(k => k.StartsWith(prefix, StringComparison.Ordinal) && ObjectKey.CompareUtf8(k, start) > 0),
                    (await Store.EntriesAsync(prefix, start)).Select(e => e.Key.Value));
            }
        }
    }

    [Fact]
    public async Task Listing_InPages_GivesEveryKeyOnce_AsFindTellsIt()
    {
        var keys = await WriteListedAsync(ListedObjects);
        var seen = new List<string>();
        string? last = null;
        while (true)
        {
            var page = new List<ObjectEntry>();
            await foreach (var entry in Store.ListAsync("", last, Token))
            {
                page.Add(entry);
                if (page.Count == 1700)
                    break;
            }

            if (page.Count == 0)
                break;
            seen.AddRange(page.Select(e => e.Key.Value));
            last = seen[^1];
            var info = (await Store.FindAsync(page[0].Key, Token))!;
            Assert.Equal(new ObjectEntry(info.Key, info.Length, info.Version, info.LastModified), page[0]);
        }

        Assert.Equal(keys, seen);
    }

    [Fact]
    public async Task Listing_WhileOthersComeAndGo_GivesEveryStandingKeyOnce()
    {
        var standing = Enumerable.Range(0, 60).Select(i => $"s/{i % 7}/{i:D3}").Order(StringComparer.Ordinal).ToList();
        foreach (var key in standing)
            await Store.PutAsync(ObjectKey.Parse(key), [1]);
        using var stop = new CancellationTokenSource();
        var churn = Together(4, async task =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                var key = ObjectKey.Parse($"s/{i % 7}x/{task}/{i % 5}");
                await Store.PutAsync(key, [2]);
                await Store.DeleteAsync(key, Token);
            }
        });
        try
        {
            for (var i = 0; i < RaceRounds; i++)
            {
                var listed = (await Store.EntriesAsync("s/")).Select(e => e.Key.Value).ToList();
                Assert.Equal(listed.Order(StringComparer.Ordinal).Distinct(), listed);
                Assert.Equal(standing, listed.Where(k => !k.Contains('x')));
            }
        }
        finally
        {
            await stop.CancelAsync();
            await churn;
        }
    }

    [Fact]
    public async Task LargeObject_GoesBothWays_InConstantMemory()
    {
        // Far below the object, far above what buffers and a busy garbage collector need.
        const long MaxGrowthBytes = 64L << 20;
        var key = ObjectKey.Parse("masters/large/upload.wav");
        using var process = Process.GetCurrentProcess();
        var peak = 0L;
        var start = 0L;

        void Sample(long position)
        {
            if (position % (8 << 20) != 0)
                return;
            process.Refresh();
            peak = Math.Max(peak, process.WorkingSet64);
        }

        await Store.PutAsync(key, TestContent.Bytes(1 << 20, 1));
        await Store.GetAsync(key);
        GC.Collect();
        process.Refresh();
        start = process.WorkingSet64;
        var content = new ScriptedContent(LargeObjectBytes, 1 << 20) { OnRead = Sample };
        await Store.WriteAsync(key, content, new ObjectWrite { ContentType = "audio/wav", ExpectedLength = LargeObjectBytes }, Token);

        await using var read = (await Store.OpenReadAsync(key, null, Token))!;
        var (buffer, expected) = (new byte[1 << 20], new byte[1 << 20]);
        long position = 0;
        int count;
        while ((count = await read.Content.ReadAsync(buffer, Token)) > 0)
        {
            ScriptedContent.Fill(expected.AsSpan(0, count), position);
            Assert.True(buffer.AsSpan(0, count).SequenceEqual(expected.AsSpan(0, count)), $"Other bytes near {position}.");
            position += count;
            Sample(position);
        }

        Assert.Equal(LargeObjectBytes, position);
        Assert.True(peak > 0);
        TestContext.Current.TestOutputHelper!.WriteLine($"{LargeObjectBytes >> 20} MiB: working set {start >> 20} MiB, at most {peak >> 20} MiB");
        Assert.True(peak - start < MaxGrowthBytes, $"The working set grew from {start >> 20} to {peak >> 20} MiB.");
    }

    [Fact]
    public async Task OpenRead_KeepsItsVersion_WhenTheObjectIsReplacedAndDeleted()
    {
        var key = ObjectKey.Parse("catalog/x.json");
        var (old, other) = (TestContent.Bytes(4_000_000, 1), TestContent.Bytes(3_000_000, 2));
        await Store.PutAsync(key, old);
        await using var first = (await Store.OpenReadAsync(key, null, Token))!;
        var bytes = new byte[old.Length];
        await first.Content.ReadExactlyAsync(bytes.AsMemory(0, 1000), Token);

        await Store.PutAsync(key, other);
        await using var second = (await Store.OpenReadAsync(key, new ObjectRange(100, long.MaxValue), Token))!;
        await first.Content.ReadExactlyAsync(bytes.AsMemory(1000, 1_000_000), Token);
        await Store.DeleteAsync(key, Token);
        await first.Content.ReadExactlyAsync(bytes.AsMemory(1_001_000), Token);
        Assert.Equal(old, bytes);
        var rest = new MemoryStream();
        await second.Content.CopyToAsync(rest, Token);
        Assert.Equal(other[100..], rest.ToArray());
    }

    /// <summary>
    /// One writer per key, many readers of all. A read must give the outcome of an operation that was the last finished one when the read
    /// began, or a later one that had begun when it ended: never less, never more, never a mixture.
    /// </summary>
    [Fact]
    public async Task ManyReaders_NeverSeeAnythingButTheWritersLastWord()
    {
        const int Keys = 6;
        var seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        var written = new bool[Keys, StressOperations + 1]; // [key, operation]: whether it wrote (or deleted)
        var (begun, finished) = (new int[Keys], new int[Keys]);
        var writers = Together(Keys, async k =>
        {
            var random = new Random(seed + k);
            for (var operation = 1; operation <= StressOperations; operation++)
            {
                written[k, operation] = random.Next(4) != 0;
                Volatile.Write(ref begun[k], operation);
                if (written[k, operation])
                    await Store.PutAsync(Key(k), Content(k, operation));
                else
                    Assert.Equal(written[k, operation - 1], await Store.DeleteAsync(Key(k), Token));
                Volatile.Write(ref finished[k], operation);
            }
        });
        var versions = new ConcurrentDictionary<(int, string), int>();
        await Task.WhenAll(writers, Together(6, async reader =>
        {
            var random = new Random(seed - 1 - reader);
            while (!writers.IsCompleted)
            {
                var k = random.Next(Keys);
                var from = Volatile.Read(ref finished[k]);
                var found = await Store.GetAsync(Key(k));
                var to = Volatile.Read(ref begun[k]);
                if (found is not { } got)
                {
                    Assert.True(Enumerable.Range(from, to - from + 1).Any(o => !written[k, o]), $"seed {seed}: key {k} was absent between operations {from} and {to}");
                    continue;
                }

                var operation = BitConverter.ToInt32(got.Bytes);
                Assert.InRange(operation, from, to);
                Assert.True(written[k, operation] && got.Bytes.AsSpan().SequenceEqual(Content(k, operation)), $"seed {seed}: key {k} gave other bytes than operation {operation} wrote");
                Assert.Equal(operation, versions.GetOrAdd((k, got.Info.Version), operation));
            }
        }));

        var standing = Enumerable.Range(0, Keys).Where(k => written[k, StressOperations]).Select(k => Key(k).Value);
        Assert.Equal(standing, (await Store.EntriesAsync()).Select(e => e.Key.Value));

        static ObjectKey Key(int k) => ObjectKey.Parse($"stress/{k / 2}/{k}");

        static byte[] Content(int k, int operation)
        {
            var bytes = TestContent.Bytes(1000 + operation * 37 % 5000 * 20, k * 100_000 + operation);
            BitConverter.TryWriteBytes(bytes, operation);
            return bytes;
        }
    }

    private void AssertReads(ObjectInfo written, ObjectInfo read) => Assert.Equal(ReadsTellTheDigest ? written : written with { Sha256 = null }, read);

    private static Task Together(int count, Func<int, Task> work) =>
        Task.WhenAll(Enumerable.Range(0, count).Select(i => Task.Run(() => work(i), Token)));

    private async Task<List<string>> WriteListedAsync(int count)
    {
        // '-' < '/' < '0' around a common stem, code points on both sides of the surrogates, nested and flat.
        var keys = new List<string>
        {
            "a-", "a,/x", "a/b/c", "a/b-", "a/b0", "a0", "a.b", "a/b/c-/d", "a/b/c0", "deep/1/2/3/4/5", "deep/1/2-", "deep/1/20", "\uffee", "\ue000/x", "😀", "😀-", "é/é",
        };
        for (var i = 0; keys.Count < count; i++)
            keys.Add((i % 4) switch { 0 => $"a/b/c{i}x", 1 => $"a/{i % 50}/{i}", 2 => $"flat-{i}", _ => $"deep/1/2/3/{i}" });
        await Parallel.ForEachAsync(keys, new ParallelOptions { MaxDegreeOfParallelism = 16, CancellationToken = Token },
            async (key, token) => await Store.PutAsync(ObjectKey.Parse(key), Encoding.UTF8.GetBytes(key), default, token));
        return [.. keys.OrderBy(Encoding.UTF8.GetBytes, Comparer<byte[]>.Create((x, y) => x.AsSpan().SequenceCompareTo(y)))];
    }
}

/// <summary>Every refusal, for a small and a large content, with and without an earlier version.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class CombinatorialRefusalsAttribute : Xunit.v3.DataAttribute
{
    public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(System.Reflection.MethodInfo testMethod, Xunit.Sdk.DisposalTracker disposalTracker) =>
        new([.. from refusal in Enum.GetValues<ObjectStoreConformance.Refusal>()
                from length in new[] { 1, 3_000_000 }
                from overwrites in new[] { false, true }
                select new TheoryDataRow(refusal, length, overwrites)]);

    public override bool SupportsDiscoveryEnumeration() => true;
}
