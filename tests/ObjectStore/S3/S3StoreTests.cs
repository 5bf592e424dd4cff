using Amazon.S3.Model;

namespace Delivery.ObjectStore.S3;

/// <summary>What is true of the S3 driver alone, on a real server.</summary>
public sealed class S3StoreTests : IAsyncLifetime
{
    private const int PartSize = 5 << 20;

    private static readonly ObjectKey Song = ObjectKey.Parse("audio/song.ogg");

    private readonly TestBucket _bucket = new();
    private IObjectStore _store = null!;
    private Func<Task> _cleanup = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => (_store, _cleanup) = await _bucket.OpenAsync();

    public async ValueTask DisposeAsync() => await _cleanup();

    [Fact]
    public async Task Prefix_SeparatesStoresOfOneBucket_AndIsPartOfNoKey()
    {
        using var one = ObjectStores.Open(_bucket.Url(prefix: "tenants/one"));
        using var other = ObjectStores.Open(_bucket.Url(prefix: "tenants/one-more/"));
        await one.PutAsync(Song, [1]);
        await one.PutAsync(ObjectKey.Parse("b"), [2]);
        await other.PutAsync(Song, [3]);
        Assert.Equal(["audio/song.ogg", "b"], (await one.EntriesAsync()).Select(e => e.Key.Value));
        Assert.Equal(["b"], (await one.EntriesAsync("", "audio/song.ogg")).Select(e => e.Key.Value));
        Assert.Equal(["audio/song.ogg"], (await one.EntriesAsync("au", "")).Select(e => e.Key.Value));
        Assert.Equal(["tenants/one-more/audio/song.ogg", "tenants/one/audio/song.ogg", "tenants/one/b"], (await _store.EntriesAsync()).Select(e => e.Key.Value));
        Assert.Equal([3], (await other.GetAsync(Song))!.Value.Bytes);
        Assert.True(await one.DeleteAsync(Song, Token));
        Assert.Equal([3], (await other.GetAsync(Song))!.Value.Bytes);

        // The prefix takes its bytes from S3's 1,024.
        var longest = ObjectKey.Parse(string.Join('/', Enumerable.Repeat(new string('k', 255), 4)));
        Assert.Equal(StoreFault.Caller, (await TestContent.FailsAsync(StoreError.KeyRefused, async () => await one.PutAsync(longest, [1]))).Fault);
    }

    [Fact]
    public async Task ObjectOfSomebodyElse_IsAnObject_AndNamesThatAreNoKeysAreLeftOut()
    {
        foreach (var name in new[] { "audio/song.ogg", "folder/", "a//b", "f\\g", "h\u0001i", "ok" })
            await _bucket.Gateway.Client.PutObjectAsync(new PutObjectRequest { BucketName = _bucket.Name, Key = name, ContentBody = "by hand", ContentType = "text/x-hand", UseChunkEncoding = false }, Token);
        var (info, bytes) = (await _store.GetAsync(Song))!.Value;
        Assert.Equal("by hand"u8.ToArray(), bytes);
        Assert.Equal((7L, "text/x-hand", null), (info.Length, info.ContentType, info.Sha256));
        Assert.Equal(["audio/song.ogg", "ok"], (await _store.EntriesAsync()).Select(e => e.Key.Value));
        await _bucket.Gateway.Client.DeleteObjectAsync(_bucket.Name, "h\u0001i", Token); // The clean-up's XML cannot name it.

        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await _store.PutAsync(Song, [1], WritePrecondition.Absent));
        await _store.PutAsync(Song, [1], WritePrecondition.Version(info.Version));
    }

    [Fact]
    public async Task DigestThatIsNone_IsNotTold()
    {
        var request = new PutObjectRequest { BucketName = _bucket.Name, Key = Song.Value, ContentBody = "x", UseChunkEncoding = false };
        request.Metadata["sha256"] = "E3B0C442";
        await _bucket.Gateway.Client.PutObjectAsync(request, Token);
        Assert.Null((await _store.FindAsync(Song, Token))!.Sha256);
    }

    [Fact]
    public async Task Digest_IsToldOfWhatIsSmallOrPromised()
    {
        using var store = ObjectStores.Open(_bucket.Url($"&partSize={PartSize}"));
        var large = new byte[PartSize + 1];
        ScriptedContent.Fill(large, 0);
        foreach (var (length, promised, told) in new[] { (PartSize, false, true), (PartSize + 1, false, false), (PartSize + 1, true, true) })
        {
            var digest = TestContent.Sha256(large[..length]);
            var written = await store.WriteAsync(
                Song, new ScriptedContent(length, 1 << 20), new ObjectWrite { ContentType = "audio/ogg", ExpectedSha256 = promised ? digest : null }, Token);
            Assert.Equal(told ? digest : null, written.Sha256);
            Assert.Equal(written, await store.FindAsync(Song, Token));
        }
    }

    [Theory]
    [InlineData(PartSize - 1)]
    [InlineData(PartSize)]
    [InlineData(PartSize + 1)]
    [InlineData(2 * PartSize)]
    [InlineData(2 * PartSize + 70_000)]
    [InlineData(4 * PartSize + 1)]
    public async Task ContentAroundPartBounds_IsStoredWhole(int length)
    {
        using var store = ObjectStores.Open(_bucket.Url($"&partSize={PartSize}"));
        var expected = new byte[length];
        ScriptedContent.Fill(expected, 0);
        foreach (var (knows, precondition) in from knows in new[] { true, false } from p in new[] { WritePrecondition.None, WritePrecondition.Absent } select (knows, p))
        {
            await store.DeleteAsync(Song, Token);
            var written = await store.WriteAsync(
                Song, new ScriptedContent(length, 1 << 20), new ObjectWrite { ContentType = "audio/ogg", Precondition = precondition, ExpectedLength = knows ? length : null }, Token);
            var (info, bytes) = (await store.GetAsync(Song))!.Value;
            Assert.Equal(written, info);
            Assert.True(bytes.AsSpan().SequenceEqual(expected), $"{length} bytes, known: {knows}, {precondition}");
        }
    }

    [Fact]
    public async Task SixteenCreatorsOfLargeObjects_OneWins_AndItsBytesStand()
    {
        const int Length = 9_000_000;
        var winners = 0;
        var won = 0;
        await Task.WhenAll(Enumerable.Range(0, 16).Select(writer => Task.Run(async () =>
        {
            try
            {
                await _store.WriteAsync(Song, new MemoryStream(TestContent.Bytes(Length, writer)), new ObjectWrite { ContentType = "audio/ogg", Precondition = WritePrecondition.Absent, ExpectedLength = Length }, Token);
                Interlocked.Increment(ref winners);
                won = writer;
            }
            catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
            {
            }
        }, Token)));
        Assert.Equal(1, winners);
        Assert.True((await _store.GetAsync(Song))!.Value.Bytes.AsSpan().SequenceEqual(TestContent.Bytes(Length, won)));
    }

    [Fact]
    public async Task LargeObjectOfUnknownLength_MeetsAnother_ThatCameWhileItWasSent()
    {
        var gate = new TaskCompletionSource();
        var content = new ScriptedContent(20_000_000, 1 << 20) { StallsAtEnd = gate.Task };
        var writing = _store.WriteAsync(Song, content, new ObjectWrite { ContentType = "audio/ogg", Precondition = WritePrecondition.Absent }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        await _store.PutAsync(Song, [1, 2, 3], WritePrecondition.Absent);
        gate.SetResult();
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await writing);
        Assert.Equal([1, 2, 3], (await _store.GetAsync(Song))!.Value.Bytes);
        Assert.Equal(0, await _bucket.PendingUploadsAsync());
    }

    /// <summary>RadosGW 16.2 ignores them, so what AWS judges is looked at on its way.</summary>
    [Fact]
    public async Task ConditionalMultipart_SendsItsConditionWithTheCommit()
    {
        await using var proxy = new TroubledProxy(_bucket.Gateway.Endpoint);
        var asked = new System.Collections.Concurrent.ConcurrentQueue<string>();
        proxy.Asked = asked.Enqueue;
        var url = _bucket.Url($"&partSize={PartSize}", address: proxy.Address).ToString().Replace("conditionalMultipart=false", "conditionalMultipart=true", StringComparison.Ordinal);
        using var store = ObjectStores.Open(StoreUrl.Parse(url));
        var created = await store.PutAsync(Song, TestContent.Bytes(2 * PartSize, 1), WritePrecondition.Absent);
        Assert.EndsWith("-2", created.Version);
        Assert.Contains("If-None-Match: *\r\n", Complete());
        asked.Clear();
        await store.PutAsync(Song, TestContent.Bytes(2 * PartSize, 2), WritePrecondition.Version(created.Version));
        Assert.Contains($"If-Match: {created.Version}\r\n", Complete());

        asked.Clear();
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await store.PutAsync(Song, TestContent.Bytes(2 * PartSize, 2), WritePrecondition.Version(created.Version)));
        Assert.DoesNotContain(asked, piece => piece.Contains("?uploads", StringComparison.Ordinal));

        string Complete() => asked.Last(piece => piece.StartsWith("POST", StringComparison.Ordinal) && piece.Contains("?uploadId=", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public async Task LostAnswerOfAConditionalWrite_IsFoundOutByItsIdentifier(int retries)
    {
        await using var proxy = new TroubledProxy(_bucket.Gateway.Endpoint);
        using var store = ObjectStores.Open(_bucket.Url(address: proxy.Address), new() { Retries = retries, RetryDelay = TimeSpan.FromMilliseconds(10) });
        proxy.Trouble = new() { CutAnswersAfter = 0, Times = 1 };
        await store.PutAsync(Song, [1, 2, 3], WritePrecondition.Absent);
        Assert.Equal(1, proxy.Trouble.Happened);
        Assert.Equal([1, 2, 3], (await _store.GetAsync(Song))!.Value.Bytes);

        // Of the same bytes by somebody else nobody can say whether ours were there before.
        proxy.Trouble = new() { CutAnswersAfter = 0, Times = 1 };
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Song, [1, 2, 3], WritePrecondition.Absent));
        Assert.Equal(1, proxy.Trouble.Happened);
    }

    [Fact]
    public async Task ChecksumsOfAws_StandInHeaders_AndWhereTheyCannot_TheErrorNamesTheSetting()
    {
        var url = StoreUrl.Parse(_bucket.Url().ToString().Replace("checksums=whenRequired", $"checksums=whenSupported&partSize={PartSize}", StringComparison.Ordinal));
        using var store = ObjectStores.Open(url);
        await store.PutAsync(Song, [1, 2, 3]);
        Assert.Equal([1, 2, 3], (await store.GetAsync(Song))!.Value.Bytes);
        var bytes = TestContent.Bytes(2 * PartSize, 1);
        await store.PutAsync(Song, bytes);
        Assert.True((await store.GetAsync(Song))!.Value.Bytes.AsSpan().SequenceEqual(bytes));

        // What is streamed carries its checksum in a trailer, which RadosGW 16.2 does not know.
        var key = ObjectKey.Parse("masters/streamed.flac");
        var refused = await TestContent.FailsAsync(StoreError.Misconfigured, async () => await store.PutAsync(key, bytes, WritePrecondition.Absent));
        Assert.Contains("checksums=whenRequired", refused.Message);
        Assert.Null(await store.FindAsync(key, Token));
    }

    /// <summary>Of an answer without a range, the SDK takes the ETag for an MD5, and fails where it is none.</summary>
    [Fact]
    public async Task WholeObject_IsReadAsARange_AndAnEmptyOneStillIs()
    {
        await using var proxy = new TroubledProxy(_bucket.Gateway.Endpoint);
        var asked = new System.Collections.Concurrent.ConcurrentQueue<string>();
        using var store = ObjectStores.Open(_bucket.Url(address: proxy.Address));
        var written = await store.PutAsync(Song, TestContent.Bytes(100_000, 1));
        proxy.Asked = asked.Enqueue;
        var (info, bytes) = (await store.GetAsync(Song))!.Value;
        Assert.Equal(written, info);
        Assert.Equal(TestContent.Bytes(100_000, 1), bytes);
        Assert.Contains("Range: bytes=0-\r\n", Assert.Single(asked));

        var empty = await store.PutAsync(ObjectKey.Parse("empty"), []);
        var read = (await store.GetAsync(empty.Key))!.Value;
        Assert.Equal(empty, read.Info);
        Assert.Empty(read.Bytes);
    }

    [Fact]
    public async Task Refusal_NamesWhatWasAsked_AndNoSecret()
    {
        using var store = ObjectStores.Open(_bucket.Url("&profile=wrong-secret"));
        foreach (var call in (Func<ValueTask>[])[async () => await store.FindAsync(Song, Token), async () => await store.OpenReadAsync(Song, null, Token), async () => await store.PutAsync(Song, [1])])
        {
            var refused = await TestContent.FailsAsync(StoreError.Denied, call);
            Assert.Contains(Song.Value, refused.Message);
            Assert.Contains(_bucket.Name, refused.Message);
            Assert.Contains("SignatureDoesNotMatch", refused.Message);
            Assert.Contains("request tx", refused.Message);
            Assert.DoesNotContain("not-the-secret", refused.ToString());
        }
    }

    [Fact]
    public void ProfileOrRegionThatIsNotThere_IsMisconfigured_WhenTheStoreIsOpened()
    {
        Assert.Contains("no-such-profile", Misconfigured(_bucket.Url("&profile=no-such-profile")).Message);
        Assert.Contains("region", Misconfigured(StoreUrl.Parse("s3://bucket/")).Message);

        static StoreException Misconfigured(StoreUrl url)
        {
            var e = Assert.Throws<StoreException>(() => ObjectStores.Open(url));
            Assert.Equal(StoreError.Misconfigured, e.Error);
            return e;
        }
    }

    [Fact]
    public async Task NoCredentialsAnywhere_IsDenied()
    {
        Environment.SetEnvironmentVariable("AWS_ACCESS_KEY_ID", null);
        try
        {
            using var store = ObjectStores.Open(_bucket.Url());
            var refused = await TestContent.FailsAsync(StoreError.Denied, async () => await store.FindAsync(Song, Token));
            Assert.Contains("credentials", refused.Message);
        }
        finally
        {
            Environment.SetEnvironmentVariable("AWS_ACCESS_KEY_ID", RadosGateway.AccessKey);
        }
    }

    [Fact]
    public async Task ContentTypeThatIsNone_IsTheCallersFault() =>
        await Assert.ThrowsAsync<ArgumentException>(async () => await _store.WriteAsync(Song, new MemoryStream([1]), new ObjectWrite { ContentType = "music" }, Token));
}
