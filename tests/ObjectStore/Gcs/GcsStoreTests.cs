using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Delivery.ObjectStore.Files;
using Delivery.Tests;
using Google.Apis.Auth.OAuth2;

namespace Delivery.ObjectStore.Gcs;

/// <summary>What the driver makes of options, credentials, names and the service's refusals. What every store does is in <see cref="GcsStoreConformance"/>.</summary>
public sealed class GcsStoreTests : IAsyncLifetime
{
    private static readonly ObjectKey Song = ObjectKey.Parse("audio/song.ogg");
    private static readonly StoreClientOptions Once = new() { Retries = 0 };
    private GcsBench _bench = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _bench = await GcsBench.StartAsync();

    public ValueTask DisposeAsync() => _bench.DisposeAsync();

    [Fact]
    public async Task EachCall_IsOneRequest_AndOneTokenServesThemAll()
    {
        var store = _bench.Open();
        await store.PutAsync(Song, [1, 2, 3]);
        await store.FindAsync(Song, Token);
        await store.GetAsync(Song);
        await store.GetAsync(Song, new ObjectRange(1, 1));
        Assert.Single(await store.EntriesAsync());
        Assert.True(await store.DeleteAsync(Song, Token));
        string[] expected =
        [
            "POST /token", $"POST /upload/storage/v1/b/{GcsBench.Bucket}/o?uploadType=multipart", $"GET /storage/v1/b/{GcsBench.Bucket}/o/audio%2Fsong.ogg?fields=",
            $"GET /download/storage/v1/b/{GcsBench.Bucket}/o/audio%2Fsong.ogg?alt=media", $"GET /download/storage/v1/b/{GcsBench.Bucket}/o/audio%2Fsong.ogg?alt=media",
            $"GET /storage/v1/b/{GcsBench.Bucket}/o?maxResults=1000", $"DELETE /storage/v1/b/{GcsBench.Bucket}/o/audio%2Fsong.ogg",
        ];
        Assert.Equal(expected.Length, _bench.Server.Requests.Count);
        Assert.All(expected.Zip(_bench.Server.Requests), pair => Assert.StartsWith(pair.First, pair.Second, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Digest_IsKept_OfWhatIsSmallOrPromised()
    {
        var store = _bench.Open(chunkSize: GcsStore.ChunkQuantumBytes);
        var (small, large) = (TestContent.Bytes(GcsStore.ChunkQuantumBytes, 1), TestContent.Bytes(GcsStore.ChunkQuantumBytes + 1, 2));
        Assert.Equal(TestContent.Sha256(small), (await store.PutAsync(Song, small)).Sha256);
        Assert.Null((await store.PutAsync(Song, large)).Sha256);
        Assert.Null((await store.FindAsync(Song, Token))!.Sha256);
        await store.WriteAsync(Song, new MemoryStream(large), new ObjectWrite { ContentType = "audio/ogg", ExpectedSha256 = TestContent.Sha256(large) }, Token);
        Assert.Equal(TestContent.Sha256(large), (await store.FindAsync(Song, Token))!.Sha256);
        Assert.Equal(large, (await store.GetAsync(Song))!.Value.Bytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(262_143)]
    [InlineData(262_144)]
    [InlineData(262_145)]
    [InlineData(524_288)]
    [InlineData(524_289)]
    [InlineData(1_000_000)]
    public async Task ContentAroundChunks_GoesInAsManyRequestsAsItTakes(int length)
    {
        var store = _bench.Open(chunkSize: GcsStore.ChunkQuantumBytes);
        var expected = new byte[length];
        ScriptedContent.Fill(expected, 0);
        foreach (var knows in (bool[])[true, false])
        {
            var before = _bench.Server.Requests.Count(r => r.StartsWith("PUT", StringComparison.Ordinal));
            await store.WriteAsync(Song, new ScriptedContent(length, 100_000), new ObjectWrite { ContentType = "audio/ogg", ExpectedLength = knows ? length : null }, Token);
            Assert.Equal(expected, (await store.GetAsync(Song))!.Value.Bytes);
            var chunks = length <= GcsStore.ChunkQuantumBytes ? 0 : (length + GcsStore.ChunkQuantumBytes - 1) / GcsStore.ChunkQuantumBytes;
            Assert.Equal(chunks, _bench.Server.Requests.Count(r => r.StartsWith("PUT", StringComparison.Ordinal)) - before);
        }
    }

    [Fact]
    public async Task Prefix_IsAStoreOfItsOwn()
    {
        var (whole, part) = (_bench.Open(), _bench.Open(prefix: "eu/music"));
        await whole.PutAsync(ObjectKey.Parse("eu/musicals"), [1]);
        await whole.PutAsync(ObjectKey.Parse("eu/music/a/1"), [2]);
        await part.PutAsync(ObjectKey.Parse("a/2"), [3]);
        await part.PutAsync(ObjectKey.Parse("b"), [4]);
        Assert.Equal(["a/1", "a/2", "b"], (await part.EntriesAsync()).Select(e => e.Key.Value));
        Assert.Equal(["a/2"], (await part.EntriesAsync("a/", "a/1")).Select(e => e.Key.Value));
        Assert.Equal(["eu/music/a/1", "eu/music/a/2", "eu/music/b", "eu/musicals"], (await whole.EntriesAsync()).Select(e => e.Key.Value));
        Assert.True(await part.DeleteAsync(ObjectKey.Parse("a/1"), Token));
        Assert.Null(await whole.FindAsync(ObjectKey.Parse("eu/music/a/1"), Token));
    }

    [Fact]
    public async Task NameThatCloudStorageRefuses_IsRefusedHere_AndAbsent()
    {
        var store = _bench.Open(prefix: new string('p', 200));
        foreach (var key in (ObjectKey[])[ObjectKey.Parse(string.Join('/', Enumerable.Repeat(new string('k', 250), 4)))])
        {
            Assert.Null(await store.FindAsync(key, Token));
            Assert.Null(await store.OpenReadAsync(key, null, Token));
            Assert.False(await store.DeleteAsync(key, Token));
            await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(key, [1]));
        }

        await TestContent.FailsAsync(StoreError.KeyRefused, async () => await _bench.Open().PutAsync(ObjectKey.Parse(".well-known/acme-challenge/x"), [1]));
        Assert.Empty(_bench.Server.Requests);
    }

    [Fact]
    public async Task WhatOthersPutThere_IsReadAndListed_UnlessItsNameIsNoKey()
    {
        foreach (var name in (string[])["folder/", "a//b", "good", "back\\slash"])
            await InsertAsync(new JsonObject { ["name"] = name }, [1, 2]);
        var store = _bench.Open();
        Assert.Equal("good", Assert.Single(await store.EntriesAsync()).Key.Value);
        Assert.Equal([1, 2], (await store.GetAsync(ObjectKey.Parse("good")))!.Value.Bytes);
    }

    [Fact]
    public async Task StoredGzip_GivesItsStoredBytes_AndRangesOfThem()
    {
        var packed = new MemoryStream();
        await using (var zip = new GZipStream(packed, CompressionMode.Compress, leaveOpen: true))
            await zip.WriteAsync(TestContent.Bytes(5000, 3), Token);
        await InsertAsync(new JsonObject { ["name"] = Song.Value, ["contentEncoding"] = "gzip" }, packed.ToArray());
        var store = _bench.Open();
        var (info, bytes) = (await store.GetAsync(Song))!.Value;
        Assert.Equal(packed.ToArray(), bytes);
        Assert.Equal(packed.Length, info.Length);
        Assert.Equal(packed.ToArray()[10..20], (await store.GetAsync(Song, new ObjectRange(10, 10)))!.Value.Bytes);
    }

    [Theory]
    [InlineData("no-such-version")]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("+1")]
    [InlineData("007")]
    [InlineData("99999999999999999999")]
    [InlineData("1&ifGenerationMatch=0")]
    public async Task VersionThatIsNoGeneration_FailsThePrecondition_WithoutARequest(string version)
    {
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await _bench.Open().PutAsync(Song, [1], WritePrecondition.Version(version)));
        Assert.Empty(_bench.Server.Requests);
    }

    public static TheoryData<int, string, StoreError> Refusals => new()
    {
        { 400, "invalid", StoreError.Misconfigured }, { 401, "authError", StoreError.Denied },
        { 403, "forbidden", StoreError.Denied }, { 403, "rateLimitExceeded", StoreError.Unavailable },
        { 403, "userRateLimitExceeded", StoreError.Unavailable }, { 403, "quotaExceeded", StoreError.Full },
        { 403, "accountDisabled", StoreError.Misconfigured }, { 403, "sslRequired", StoreError.Misconfigured },
        { 403, "retentionPolicyNotMet", StoreError.Denied }, { 405, "methodNotAllowed", StoreError.Misconfigured },
        { 408, "requestTimeout", StoreError.Unavailable }, { 409, "conflict", StoreError.Unavailable },
        { 412, "orgPolicyConstraintFailed", StoreError.Denied }, { 413, "uploadTooLarge", StoreError.Full },
        { 429, "rateLimitExceeded", StoreError.Unavailable }, { 500, "internalError", StoreError.Unavailable },
        { 502, "backendError", StoreError.Unavailable }, { 503, "backendError", StoreError.Unavailable },
        { 504, "gatewayTimeout", StoreError.Unavailable }, { 302, "found", StoreError.Misconfigured },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task Refusal_IsTypedByStatusAndReason_AndNamesBucketKeyAndReason(int status, string reason, StoreError expected)
    {
        var store = _bench.Open(Once, chunkSize: GcsStore.ChunkQuantumBytes);
        await store.PutAsync(Song, [1]);
        _bench.Server.Inject(new() { When = r => !r.Path.StartsWithSegments("/token"), Times = int.MaxValue, Status = status, Reason = reason, Message = "Said the server." });
        foreach (var call in (Func<ValueTask>[])
                 [
                     async () => await store.FindAsync(Song, Token), async () => await store.PutAsync(Song, [1]), async () => await store.PutAsync(Song, [1], WritePrecondition.Absent),
                     async () => await store.PutAsync(Song, TestContent.Bytes(300_000, 1)), async () => await store.DeleteAsync(Song, Token),
                 ])
        {
            var e = await TestContent.FailsAsync(expected, call);
            Assert.All((string[])[GcsBench.Bucket, Song.Value, $"{status}", reason, "Said the server."], part => Assert.Contains(part, e.Message, StringComparison.Ordinal));
            Assert.DoesNotContain("ya29.", e.ToString(), StringComparison.Ordinal);
        }

        // Media answers carry the bare message.
        var media = await Assert.ThrowsAsync<StoreException>(async () => await store.OpenReadAsync(Song, null, Token));
        Assert.Contains("Said the server.", media.Message, StringComparison.Ordinal);
        Assert.Equal(0, _bench.Server.PendingUploads);
    }

    [Theory]
    [InlineData("""{"error":{"code":403,"message":"No.","errors":[{"message":"No.","domain":"global","reason":"forbidden"}]}}""", "forbidden", "No.")]
    [InlineData("""{"error":{"code":403,"message":"No."}}""", null, "No.")]
    [InlineData("""{"code":403,"message":"{\"error\": {\"errors\": [{\"message\": \"No.\"}]}}"}""", null, """{"code":403,"message":"{\"error\": {\"errors\": [{\"message\": \"No.\"}]}}"}""")]
    [InlineData("""{"error":"No."}""", null, """{"error":"No."}""")]
    [InlineData("""{"error":{"errors":[],"message":7}}""", null, """{"error":{"errors":[],"message":7}}""")]
    [InlineData("{ broken", null, "{ broken")]
    [InlineData("<html>\r\nNo.</html>", null, "<html>  No.</html>")]
    [InlineData("", null, "")]
    public void RefusalsOfAnyForm_KeepTheirMessage(string body, string? reason, string message)
    {
        var refusal = GcsRefusal.Of(HttpStatusCode.Forbidden, body);
        Assert.Equal((reason, message), (refusal.Reason, refusal.Message));
    }

    [Fact]
    public async Task ExpiredToken_IsReplaced_BeforeItIsSent()
    {
        _bench.Server.Tokens.Lifetime = TimeSpan.FromSeconds(1);
        var store = _bench.Open();
        await store.PutAsync(Song, [1]);
        // The library asks anew some minutes before the end, so one of a second is never kept.
        await store.FindAsync(Song, Token);
        Assert.Equal(2, _bench.Server.Tokens.Granted);
    }

    [Fact]
    public async Task RevokedToken_IsReplacedOnce_ForAllCallsTogether()
    {
        var store = _bench.Open();
        await store.PutAsync(Song, [1]);
        _bench.Server.Tokens.Revoke();
        await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => store.FindAsync(Song, Token).AsTask()));
        Assert.Equal(2, _bench.Server.Tokens.Granted);
        _bench.Server.Tokens.Revoke();
        await store.PutAsync(Song, TestContent.Bytes(9_000_000, 1));
        Assert.Equal(3, _bench.Server.Tokens.Granted);
    }

    [Fact]
    public async Task TokenThatIsNeverGood_IsDenied_AfterOneMore()
    {
        var store = _bench.Open();
        await store.PutAsync(Song, [1]);
        _bench.Server.Inject(new() { When = r => !r.Path.StartsWithSegments("/token"), Times = int.MaxValue, Status = 401, Reason = "authError", Message = "Invalid Credentials" });
        var before = _bench.Server.Requests.Count;
        await TestContent.FailsAsync(StoreError.Denied, async () => await store.FindAsync(Song, Token));
        Assert.Equal(3, _bench.Server.Requests.Count - before); // Refused, a token, refused.
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task SkewedClock_IsSaidSo(int hours)
    {
        _bench.Server.ClockAhead = TimeSpan.FromHours(hours);
        var e = await TestContent.FailsAsync(StoreError.ClockSkewed, async () => await _bench.Open().FindAsync(Song, Token));
        Assert.Contains("clock", e.Message, StringComparison.Ordinal);
        _bench.Server.ClockAhead = default;
    }

    [Fact]
    public async Task TokenEndpointThatFails_IsUnavailable()
    {
        _bench.Server.Inject(new() { When = r => r.Path.StartsWithSegments("/token"), Times = int.MaxValue, Holds = true });
        var impatient = new StoreClientOptions { ConnectTimeout = TimeSpan.FromSeconds(1), FirstByteTimeout = TimeSpan.FromSeconds(1), Retries = 0 };
        await TestContent.FailsAsync(StoreError.Unavailable, async () => await _bench.Open(impatient).FindAsync(Song, Token));
    }

    [Fact]
    public async Task WhoMayNotList_CanRead_AndIsDeniedWhatIsAbsent()
    {
        await _bench.Open().PutAsync(Song, [1]);
        var reader = _bench.Open(credentials: _bench.KeyFile(_bench.Server.Tokens.CreateAccount("reader", new HashSet<string> { "objects.get" })));
        Assert.Equal([1], (await reader.GetAsync(Song))!.Value.Bytes);
        await TestContent.FailsAsync(StoreError.Denied, async () => await reader.FindAsync(ObjectKey.Parse("absent"), Token));
        await TestContent.FailsAsync(StoreError.Denied, async () => await reader.EntriesAsync());
        await TestContent.FailsAsync(StoreError.Denied, async () => await reader.PutAsync(Song, [1]));
    }

    [Fact]
    public async Task MissingBucket_IsLookedForOnce()
    {
        var store = _bench.Open();
        Assert.Null(await store.FindAsync(Song, Token));
        Assert.Null(await store.FindAsync(Song, Token));
        Assert.False(await store.DeleteAsync(Song, Token));
        Assert.Single(_bench.Server.Requests, r => r.Contains("maxResults=1&", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("chunkSize=1000", "chunkSize")]
    [InlineData("chunkSize=262143", "chunkSize")]
    [InlineData("chunkSize=0", "chunkSize")]
    [InlineData("chunkSize=134217728", "chunkSize")]
    [InlineData("endpoint=localhost:90&credentials=none", "endpoint")]
    [InlineData("endpoint=ftp://x&credentials=none", "endpoint")]
    [InlineData("endpoint=http://storage.example.com", "tokens")]
    [InlineData("credentials=/no/such/file.json", "/no/such/file.json")]
    public void OptionThatCannotBe_IsSaidAtTheStart(string query, string part)
    {
        var e = Assert.Throws<StoreException>(() => ObjectStores.Open(StoreUrl.Parse($"gs://bucket?{query}")));
        Assert.Equal(StoreError.Misconfigured, e.Error);
        Assert.Contains(part, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no json, but a secret")]
    [InlineData("""{"type":"service_account","client_email":"a@b","private_key":"a secret"}""")]
    [InlineData("""{"type":"unheard_of","private_key":"a secret"}""")]
    [InlineData("""["a secret"]""")]
    public void FileThatHoldsNoCredentials_IsSaidAtTheStart_WithoutItsContent(string content)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["key.json"], content);
        var e = Assert.Throws<StoreException>(() => ObjectStores.Open(StoreUrl.Parse($"gs://bucket?credentials={Uri.EscapeDataString(folder["key.json"])}")));
        Assert.Equal(StoreError.Misconfigured, e.Error);
        Assert.Contains("key.json", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", e.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task DefaultCredentials_AreTheNamedFile_OrGcloudsFile_OrTheMachines()
    {
        using var home = new TempFolder();
        using var environment = new EnvironmentFor(home);
        var url = StoreUrl.Parse($"gs://{GcsBench.Bucket}?endpoint={Uri.EscapeDataString(_bench.Server.Address.AbsoluteUri)}");

        // The metadata server is away when the store is opened and at its first call, and comes back: it is asked again.
        var host = _bench.Server.Address.Authority;
        Environment.SetEnvironmentVariable("GCE_METADATA_HOST", host);
        using (var machine = ObjectStores.Open(url, new() { ConnectTimeout = TimeSpan.FromSeconds(1), FirstByteTimeout = TimeSpan.FromSeconds(1), Retries = 0 }))
        {
            _bench.Server.Inject(new() { When = r => r.Path.StartsWithSegments("/computeMetadata"), Holds = true });
            await TestContent.FailsAsync(StoreError.Unavailable, async () => await machine.FindAsync(Song, Token));
            var e = await TestContent.FailsAsync(StoreError.Denied, async () => await machine.FindAsync(Song, Token)); // A machine without an account.
            Assert.Contains("404", e.Message, StringComparison.Ordinal);
            _bench.Server.Tokens.Machine = _bench.User;
            await machine.PutAsync(Song, [1]);
        }

        Assert.Contains(_bench.Server.Requests, r => r.Contains("computeMetadata/v1/instance/service-accounts/default/token", StringComparison.Ordinal));

        var folder = Directory.CreateDirectory(Path.Combine(home.Path, ".config", "gcloud")).FullName;
        File.Copy(_bench.KeyFile(_bench.User), Path.Combine(folder, "application_default_credentials.json"));
        using (var gcloud = ObjectStores.Open(url))
            await gcloud.FindAsync(Song, Token);
        Assert.Single(_bench.Server.Requests, "POST /token");

        Environment.SetEnvironmentVariable("GOOGLE_APPLICATION_CREDENTIALS", _bench.KeyFile(_bench.Server.Tokens.CreateAccount("stranger", GcsAccount.Nothing)));
        using (var named = ObjectStores.Open(url))
            await TestContent.FailsAsync(StoreError.Denied, async () => await named.FindAsync(Song, Token));

        Environment.SetEnvironmentVariable("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json");
        using var absent = ObjectStores.Open(url);
        Assert.Contains("/no/such/file.json", (await TestContent.FailsAsync(StoreError.Denied, async () => await absent.FindAsync(Song, Token))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task NoCredentialsAtAll_AreDenied_WithWhatToDo()
    {
        using var home = new TempFolder();
        using var environment = new EnvironmentFor(home);
        using var store = ObjectStores.Open(StoreUrl.Parse($"gs://{GcsBench.Bucket}?endpoint={Uri.EscapeDataString(_bench.Server.Address.AbsoluteUri)}"));
        var e = await TestContent.FailsAsync(StoreError.Denied, async () => await store.FindAsync(Song, Token));
        // A machine of Google's has credentials, which this server does not know.
        if (await ComputeCredential.IsRunningOnComputeEngine())
            return;
        Assert.Contains("GOOGLE_APPLICATION_CREDENTIALS", e.Message, StringComparison.Ordinal);
        Assert.Empty(_bench.Server.Requests);
    }

    [Fact]
    public async Task EmulatorHost_IsATestBenchWithoutCredentials()
    {
        await using var emulator = await GcsServer.StartAsync(asksForTokens: false);
        emulator.CreateBucket(GcsBench.Bucket);
        using var home = new TempFolder();
        using var environment = new EnvironmentFor(home);
        foreach (var host in (string[])[emulator.Address.AbsoluteUri, emulator.Address.Authority])
        {
            Environment.SetEnvironmentVariable("STORAGE_EMULATOR_HOST", host);
            using var store = ObjectStores.Open(StoreUrl.Parse($"gs://{GcsBench.Bucket}"));
            await store.PutAsync(Song, [1]);
        }

        Assert.Equal(2, emulator.Requests.Count);
    }

    private async Task InsertAsync(JsonObject resource, byte[] content)
    {
        using var http = new HttpClient();
        using var body = new MultipartContent("related")
        {
            new StringContent(resource.ToJsonString(), MediaTypeHeaderValue.Parse("application/json")), new ByteArrayContent(content) { Headers = { ContentType = new("audio/ogg") } },
        };
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(_bench.Server.Address, $"upload/storage/v1/b/{GcsBench.Bucket}/o?uploadType=multipart")) { Content = body };
        request.Headers.Authorization = new("Bearer", _bench.Server.Tokens.Grant(_bench.User));
        using var answer = await http.SendAsync(request, Token);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
    }

    /// <summary>Nothing of this machine's own credentials, for as long as it lives; no other test runs meanwhile.</summary>
    private sealed class EnvironmentFor : IDisposable
    {
        private static readonly string[] Names = ["HOME", "CLOUDSDK_CONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "STORAGE_EMULATOR_HOST"];
        private readonly string?[] _before = [.. Names.Select(Environment.GetEnvironmentVariable)];

        public EnvironmentFor(TempFolder home)
        {
            foreach (var name in Names)
                Environment.SetEnvironmentVariable(name, name == "HOME" ? home.Path : null);
        }

        public void Dispose()
        {
            for (var i = 0; i < Names.Length; i++)
                Environment.SetEnvironmentVariable(Names[i], _before[i]);
        }
    }
}
