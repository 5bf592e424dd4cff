using System.Net;
using System.Net.Sockets;
using System.Text;
using Delivery.Tests;
using Microsoft.AspNetCore.Http;

namespace Delivery.ObjectStore.Gcs;

/// <summary>What the service and the way to it can do to an upload, a read, a listing and a deletion.</summary>
public sealed class GcsFaultTests : IAsyncLifetime
{
    private const int Quantum = GcsStore.ChunkQuantumBytes;
    private static readonly ObjectKey Song = ObjectKey.Parse("audio/song.ogg");
    private static readonly StoreClientOptions Quick = new() { RetryDelay = TimeSpan.FromMilliseconds(5) };
    private GcsBench _bench = null!;
    private IObjectStore _store = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _bench = await GcsBench.StartAsync();
        _store = _bench.Open(Quick, chunkSize: Quantum);
    }

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    [Theory]
    [InlineData(408)]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(503)]
    public async Task PassingRefusal_IsTriedAgain_ByEveryCall(int status)
    {
        await _store.PutAsync(Song, [1, 2, 3]);
        foreach (var call in (Func<ValueTask>[])
                 [
                     async () => Assert.NotNull(await _store.FindAsync(Song, Token)),
                     async () => Assert.Equal([1, 2, 3], (await _store.GetAsync(Song))!.Value.Bytes),
                     async () => Assert.Single(await _store.EntriesAsync()),
                     async () => await _store.PutAsync(Song, [4]),
                     async () => await _store.PutAsync(ObjectKey.Parse($"{status}"), [4], WritePrecondition.Absent),
                     async () => await _store.PutAsync(Song, TestContent.Bytes(3 * Quantum, 1)),
                     async () => Assert.True(await _store.DeleteAsync(Song, Token)),
                 ])
        {
            var fault = _bench.Server.Inject(new() { Status = status, Times = 3 });
            await call();
            Assert.Equal(0, fault.Times);
        }
    }

    [Fact]
    public async Task RefusalThatLasts_IsUnavailable_AfterTheRetries()
    {
        await _store.FindAsync(Song, Token);
        _bench.Server.Inject(new() { Status = 503, Times = int.MaxValue });
        foreach (var call in (Func<ValueTask>[])
                 [
                     async () => await _store.FindAsync(Song, Token), async () => await _store.OpenReadAsync(Song, null, Token), async () => await _store.EntriesAsync(),
                     async () => await _store.DeleteAsync(Song, Token), async () => await _store.PutAsync(Song, TestContent.Bytes(3 * Quantum, 1)),
                 ])
        {
            var before = _bench.Server.Requests.Count;
            Assert.True((await TestContent.FailsAsync(StoreError.Unavailable, call)).CanRetry);
            Assert.Equal(1 + Quick.Retries, _bench.Server.Requests.Count - before);
        }
    }

    public static TheoryData<int, string> LostAnswers
    {
        get
        {
            var data = new TheoryData<int, string>();
            foreach (var length in (int[])[100, 3 * Quantum + 50])
            {
                foreach (var condition in (string[])["none", "absent", "version"])
                    data.Add(length, condition);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(LostAnswers))]
    public async Task LostAnswerOfACommit_IsFoundOut_AndTheWriteIsDoneOnce(int length, string condition)
    {
        var earlier = condition == "version" ? await _store.PutAsync(Song, [9]) : null;
        var precondition = condition switch { "absent" => WritePrecondition.Absent, "version" => WritePrecondition.Version(earlier!.Version), _ => WritePrecondition.None };
        var commits = 0;
        _bench.Server.Inject(new() { When = r => IsUpload(r, length) && (length < Quantum || ++commits == 4), LosesAnswer = true });
        var content = TestContent.Bytes(length, 1);
        var written = await _store.PutAsync(Song, content, precondition);
        Assert.Equal(written, await _store.FindAsync(Song, Token));
        Assert.Equal(content, (await _store.GetAsync(Song))!.Value.Bytes);
        // The bytes went once, and the session was asked, or the object looked up.
        var (isSmall, sent) = (length < Quantum, length < Quantum ? "uploadType=multipart" : "PUT ");
        var earlierOnes = isSmall && earlier is not null ? 1 : 0;
        Assert.Equal(isSmall ? 1 : 5, _bench.Server.Requests.Count(r => r.Contains(sent, StringComparison.Ordinal)) - earlierOnes);
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Fact]
    public async Task LostAnswerOfACommit_ThatAnotherHasReplaced_IsUnknown_AndNotAFailedPrecondition()
    {
        _bench.Server.Inject(new() { When = r => IsUpload(r, 1), LosesAnswer = true });
        // Between the lost answer and the look-up another writer comes.
        var other = _bench.Open();
        _bench.Server.Inject(new() { When = r => r.Method == "GET", Meanwhile = async () => await other.PutAsync(Song, [7]) });
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await _store.PutAsync(Song, [1], WritePrecondition.Absent));
        Assert.Equal([7], (await _store.GetAsync(Song))!.Value.Bytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task LostAnswerOfAChunk_IsAskedFor_AndNothingIsSentTwice(int chunk)
    {
        var seen = 0;
        _bench.Server.Inject(new() { When = r => r.Method == "PUT" && seen++ == chunk, LosesAnswer = true });
        var content = TestContent.Bytes(3 * Quantum + 7, 1);
        await _store.PutAsync(Song, content, WritePrecondition.Absent);
        Assert.Equal(content, (await _store.GetAsync(Song))!.Value.Bytes);
        Assert.Equal(5, _bench.Server.Requests.Count(r => r.StartsWith("PUT", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(Quantum)]
    [InlineData(Quantum + 100)]
    [InlineData(3 * Quantum + 100)]
    public async Task ChunkWhoseConnectionBreaks_ContinuesFromWhatWasPersisted(int after)
    {
        var store = _bench.Open(Quick, chunkSize: 4 * Quantum);
        var content = TestContent.Bytes(10 * Quantum + 7, 1);
        var seen = 0;
        _bench.Server.Inject(new() { When = r => r.Method == "PUT" && seen++ % 2 == 1, BreaksUploadAfter = after, Times = 2 });
        await store.PutAsync(Song, content, WritePrecondition.Absent);
        Assert.Equal(content, (await store.GetAsync(Song))!.Value.Bytes);
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Theory]
    [InlineData(0, 4)]
    [InlineData(Quantum, 4)]
    [InlineData(3 * Quantum, 4)]
    [InlineData(0, 1)]
    [InlineData(Quantum, 9)]
    public async Task ChunkThatIsPersistedInPart_IsContinued(int persisted, int times)
    {
        var store = _bench.Open(Quick with { Retries = 5 }, chunkSize: 4 * Quantum);
        var content = TestContent.Bytes(9 * Quantum + 7, 1);
        _bench.Server.Inject(new() { When = r => r.Method == "PUT" && r.ContentLength > 0, PersistsOnly = persisted, Times = times });
        await store.PutAsync(Song, content);
        Assert.Equal(content, (await store.GetAsync(Song))!.Value.Bytes);
    }

    [Fact]
    public async Task ChunkOfWhichNothingIsEverPersisted_IsUnavailable_AndTheSessionIsCancelled()
    {
        _bench.Server.Inject(new() { When = r => r.Method == "PUT", PersistsOnly = 0, Times = int.MaxValue });
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await _store.PutAsync(Song, TestContent.Bytes(3 * Quantum, 1)));
        Assert.Equal(0, _bench.Server.PendingUploads);
        Assert.Null(await _store.FindAsync(Song, Token));
    }

    [Fact]
    public async Task SessionThatExpires_IsUnavailable_AndLeavesNothing()
    {
        var content = new ScriptedContent(5 * Quantum, Quantum) { OnRead = read => { if (read == 3 * Quantum) _bench.Server.ExpireUploads(); } };
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await _store.WriteAsync(Song, content, new ObjectWrite { ContentType = "audio/ogg" }, Token));
        Assert.Null(await _store.FindAsync(Song, Token));
    }

    [Fact]
    public async Task ObjectThatChangesDuringAnUpload_FailsItsPreconditionAtTheEnd()
    {
        var other = _bench.Open();
        var content = new ScriptedContent(5 * Quantum, Quantum) { OnRead = read => { if (read == 3 * Quantum) other.PutAsync(Song, [7]).AsTask().GetAwaiter().GetResult(); } };
        await TestContent.FailsAsync(
            StoreError.PreconditionFailed, async () => await _store.WriteAsync(Song, content, new ObjectWrite { ContentType = "audio/ogg", Precondition = WritePrecondition.Absent }, Token));
        Assert.Equal([7], (await _store.GetAsync(Song))!.Value.Bytes);
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Fact]
    public async Task PreconditionThatCannotHold_IsToldBeforeTheContentIsSent()
    {
        await _store.PutAsync(Song, [1]);
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await _store.PutAsync(Song, TestContent.Bytes(5 * Quantum, 1), WritePrecondition.Absent));
        Assert.DoesNotContain(_bench.Server.Requests, r => r.StartsWith("PUT", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(100)]
    [InlineData(3 * Quantum)]
    public async Task ContentThatChangesOnItsWay_IsCorrupt_AndMakesNothing(int length)
    {
        _bench.Server.Inject(new() { When = r => IsUpload(r, length), ChangesUploadByte = 50 });
        await TestContent.FailsAsync(StoreError.Corrupt, async () => await _store.PutAsync(Song, TestContent.Bytes(length, 1)));
        Assert.Null(await _store.FindAsync(Song, Token));
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(3 * Quantum)]
    public async Task ObjectThatIsNotWhatWasSent_IsDeletedAgain(int length)
    {
        _bench.Server.Inject(new() { When = r => IsUpload(r, length), TellsOtherCrc32C = true, Times = 10 });
        await TestContent.FailsAsync(StoreError.Corrupt, async () => await _store.PutAsync(Song, TestContent.Bytes(length, 1)));
        Assert.Null(await _store.FindAsync(Song, Token));
        Assert.Contains(_bench.Server.Requests, r => r.StartsWith("DELETE", StringComparison.Ordinal) && r.Contains("ifGenerationMatch=", StringComparison.Ordinal));
    }

    [Fact]
    public async Task LostAnswerOfADelete_IsADelete()
    {
        await _store.PutAsync(Song, [1]);
        _bench.Server.Inject(new() { When = r => r.Method == "DELETE", LosesAnswer = true });
        Assert.True(await _store.DeleteAsync(Song, Token));
        Assert.False(await _store.DeleteAsync(Song, Token));
    }

    /// <summary>HttpClient sends what has no body again by itself when a connection ends in good order before an answer; the second answer would then be that there is no object.</summary>
    [Fact]
    public async Task DeleteWhoseConnectionEnds_IsNotSentAgainUnseen()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var deletes = 0;
        var serving = Task.Run(async () =>
        {
            while (true)
            {
                using var client = await listener.AcceptTcpClientAsync(Token);
                using var reader = new StreamReader(client.GetStream(), Encoding.ASCII, leaveOpen: true);
                while (await reader.ReadLineAsync(Token) is { } request)
                {
                    while (await reader.ReadLineAsync(Token) is { Length: > 0 })
                    {
                    }

                    if (request.StartsWith("DELETE", StringComparison.Ordinal) && ++deletes == 1)
                        break;
                    var answer = request.StartsWith("DELETE", StringComparison.Ordinal) ? "404 Not Found" : "200 OK";
                    await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 {answer}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"), Token);
                }

                client.Client.Shutdown(SocketShutdown.Both);
            }
        });
        using (var store = _bench.Open(Quick, new Uri($"http://{listener.LocalEndpoint}"), credentials: "none"))
        {
            Assert.Empty(await store.EntriesAsync());
            Assert.True(await store.DeleteAsync(Song, Token));
        }

        Assert.Equal(2, deletes);
        listener.Stop();
        await Assert.ThrowsAnyAsync<Exception>(() => serving);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(999_999)]
    [InlineData(499_999)]
    public async Task BodyThatChangesOnItsWay_IsCorrupt_BeforeItsEnd(int at)
    {
        var bytes = TestContent.Bytes(1_000_000, 2);
        await _store.PutAsync(Song, bytes);
        foreach (var range in (ObjectRange?[])[null, new(0, long.MaxValue)])
        {
            _bench.Server.Inject(new() { ChangesByte = at });
            await using var read = (await _store.OpenReadAsync(Song, range, Token))!;
            var got = new MemoryStream();
            await TestContent.FailsAsync(StoreError.Corrupt, async () => await read.Content.CopyToAsync(got, Token));
            Assert.True(got.Length < bytes.Length);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task BodyThatBreaksOrStands_IsUnavailable(bool stands)
    {
        var bytes = TestContent.Bytes(1_000_000, 2);
        await _store.PutAsync(Song, bytes);
        var store = _bench.Open(Quick with { IdleTimeout = TimeSpan.FromSeconds(1) });
        await store.FindAsync(Song, Token);
        _bench.Server.Inject(stands ? new() { HoldsBodyAfter = 500_000 } : new() { BreaksBodyAfter = 500_000 });
        await using var read = (await store.OpenReadAsync(Song, new ObjectRange(100, 900_000), Token))!;
        var got = new MemoryStream();
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await read.Content.CopyToAsync(got, Token));
        Assert.True(got.ToArray().AsSpan().SequenceEqual(bytes.AsSpan(100, (int)got.Length)));
    }

    [Theory]
    [InlineData("Last-Modified")]
    [InlineData("x-goog-hash")]
    [InlineData("x-goog-stored-content-length")]
    [InlineData("ETag")]
    public async Task MediaAnswerWithoutAHeader_IsDescribedByTheMetadata(string header)
    {
        var bytes = TestContent.Bytes(1000, 2);
        var written = await _store.PutAsync(Song, bytes);
        foreach (var range in (ObjectRange?[])[null, new(10, 20)])
        {
            _bench.Server.Inject(new() { LeavesOut = [header] });
            var (info, read) = (await _store.GetAsync(Song, range))!.Value;
            Assert.Equal(written with { Sha256 = info.Sha256 }, info);
            Assert.Equal(range is null ? bytes : bytes[10..30], read);
        }
    }

    [Fact]
    public async Task AnswerThatIsNotCloudStorages_IsMisconfigured()
    {
        await _store.PutAsync(Song, [1]);
        _bench.Server.Inject(new() { LeavesOut = ["x-goog-generation"] });
        await TestContent.FailsAsync(StoreError.Misconfigured, async () => await _store.OpenReadAsync(Song, null, Token));
    }

    [Fact]
    public async Task CancelledUpload_CancelsItsSession()
    {
        using var cancel = new CancellationTokenSource();
        var content = new ScriptedContent(5 * Quantum, Quantum) { StallsAtEnd = new TaskCompletionSource().Task };
        var writing = _store.WriteAsync(Song, content, new ObjectWrite { ContentType = "audio/ogg" }, cancel.Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);
        Assert.Equal(1, _bench.Server.PendingUploads);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writing);
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Fact]
    public async Task ListingWhosePageFails_GoesOnFromThere()
    {
        await Parallel.ForEachAsync(Enumerable.Range(0, 1500), Token, async (i, token) => await _store.PutAsync(ObjectKey.Parse($"l/{i:D5}"), [1], default, token));
        var pages = 0;
        _bench.Server.Inject(new() { When = r => r.Query.ContainsKey("maxResults") && ++pages == 2, Status = 503 });
        Assert.Equal(Enumerable.Range(0, 1500).Select(i => $"l/{i:D5}"), (await _store.EntriesAsync("l/")).Select(e => e.Key.Value));
    }

    private static bool IsUpload(HttpRequest request, int length) => length <= Quantum ? request.Query["uploadType"] == "multipart" : request.Method == "PUT";
}
