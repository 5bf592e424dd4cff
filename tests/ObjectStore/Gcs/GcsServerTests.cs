using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Delivery.Tests;

namespace Delivery.ObjectStore.Gcs;

/// <summary>The test server refuses what the service refuses: without this, the driver's tests would say little. Spoken to by plain HTTP, so that nothing here rests on the driver.</summary>
public sealed class GcsServerTests : IAsyncLifetime
{
    private const int Quantum = 256 * 1024;
    private const string Upload = "upload/storage/v1/b/bucket/o";
    private const string Objects = "storage/v1/b/bucket/o";
    private GcsServer _server = null!;
    private HttpClient _http = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _server = await GcsServer.StartAsync(asksForTokens: false);
        _server.CreateBucket("bucket");
        _http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = _server.Address };
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.DisposeAsync();
    }

    [Theory]
    [InlineData("", "required")]
    [InlineData("?uploadType=chunked&name=a", "invalidParameter")]
    [InlineData("?uploadType=MEDIA&name=a", "invalidParameter")]
    [InlineData("?uploadType=media", "required")]
    [InlineData("?uploadType=media&name=a&ifGenerationMatch=x", "invalidParameter")]
    public async Task InsertThatIsNone_IsRefused(string query, string reason)
    {
        using var answer = await _http.PostAsync(Upload + query, Bytes(10), Token);
        await RefusedAsync(answer, 400, reason);
        Assert.Empty(await NamesAsync());
    }

    [Fact]
    public async Task Insert_AtAnotherPathThanUploads_IsRefused()
    {
        using var answer = await _http.PostAsync($"{Objects}?uploadType=media&name=a", Bytes(10), Token);
        await RefusedAsync(answer, 400, "wrongUrlForUpload");
    }

    [Fact]
    public async Task MediaUpload_WithoutContentType_IsRefused()
    {
        using var answer = await _http.PostAsync($"{Upload}?uploadType=media&name=a", new ByteArrayContent([1, 2]), Token);
        await RefusedAsync(answer, 400, "badContent");
        var made = await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=media&name=a", Bytes(2), Token));
        Assert.Equal(("a", "2", "audio/ogg"), ((string?)made["name"], (string?)made["size"], (string?)made["contentType"]));
    }

    public static TheoryData<string, string> Names => new()
    {
        { new string('n', 1025), "invalid" }, { ".", "invalid" }, { "..", "invalid" }, { "a\nb", "invalid" }, { "a\rb", "invalid" }, { ".well-known/acme-challenge/x", "invalid" },
    };

    [Theory]
    [MemberData(nameof(Names))]
    public async Task NameThatIsNotAllowed_IsRefused(string name, string reason)
    {
        using var answer = await _http.PostAsync($"{Upload}?uploadType=media&name={Uri.EscapeDataString(name)}", Bytes(2), Token);
        await RefusedAsync(answer, 400, reason);
    }

    [Theory]
    [InlineData("crc32c", "AAAAAA==")]
    [InlineData("md5Hash", "1B2M2Y8AsgTpgAmY7PhCfg==")]
    public async Task MultipartUpload_WithAnotherHash_MakesNothing(string field, string hash)
    {
        using var answer = await _http.PostAsync($"{Upload}?uploadType=multipart", Multipart(new JsonObject { ["name"] = "a", [field] = hash }, [1, 2, 3]), Token);
        await RefusedAsync(answer, 400, "invalid");
        Assert.Empty(await NamesAsync());
    }

    [Fact]
    public async Task MultipartUpload_KeepsMetadata_AndComparesRightHashes()
    {
        byte[] content = [1, 2, 3];
        var resource = new JsonObject
        {
            ["name"] = "a/b",
            ["contentType"] = "audio/flac",
            ["metadata"] = new JsonObject { ["sha256"] = "x" },
            ["crc32c"] = Crc(content),
            ["md5Hash"] = "Uonfc331cyb83SJZevsfrA==",
        };
        var made = await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=multipart", Multipart(resource, content, "audio/flac"), Token));
        Assert.Equal(
            ("a/b", "3", "audio/flac", "x", Crc(content)),
            ((string?)made["name"], (string?)made["size"], (string?)made["contentType"], (string?)made["metadata"]!["sha256"], (string?)made["crc32c"]));
    }

    [Fact]
    public async Task MultipartUpload_ThatIsMalformed_IsRefused()
    {
        var name = new JsonObject { ["name"] = "a" };
        foreach (var content in (HttpContent[])
                 [
                     Bytes(10), Multipart(name, [1], mediaType: null), Multipart(name, [1], metadataType: "text/plain"), Multipart(name, [1], parts: 1), Multipart(name, [1], parts: 3),
                     Multipart(new JsonObject { ["name"] = "a", ["contentType"] = "audio/flac" }, [1]),
                 ])
        {
            using var answer = await _http.PostAsync($"{Upload}?uploadType=multipart", content, Token);
            Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        }

        Assert.Empty(await NamesAsync());
    }

    [Fact]
    public async Task Preconditions_AreJudgedByGeneration_AndZeroIsThatOfNoObject()
    {
        var insert = $"{Upload}?uploadType=media&name=a&ifGenerationMatch=";
        await RefusedAsync(await _http.PostAsync(insert + 5, Bytes(1), Token), 412, "conditionNotMet");
        var first = (string)(await MadeAsync(await _http.PostAsync(insert + 0, Bytes(1), Token)))["generation"]!;
        await RefusedAsync(await _http.PostAsync(insert + 0, Bytes(1), Token), 412, "conditionNotMet");
        var second = (string)(await MadeAsync(await _http.PostAsync(insert + first, Bytes(1), Token)))["generation"]!;
        Assert.True(long.Parse(second, CultureInfo.InvariantCulture) > long.Parse(first, CultureInfo.InvariantCulture));
        await RefusedAsync(await _http.PostAsync(insert + first, Bytes(1), Token), 412, "conditionNotMet");

        Assert.Equal(HttpStatusCode.OK, (await _http.GetAsync($"{Objects}/a?ifGenerationMatch={second}", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await _http.GetAsync($"{Objects}/a?ifGenerationMatch={first}", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.NotModified, (await _http.GetAsync($"{Objects}/a?ifGenerationNotMatch={second}", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await _http.GetAsync($"{Objects}/a?ifMetagenerationMatch=1", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await _http.GetAsync($"{Objects}/a?ifMetagenerationMatch=2", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await _http.GetAsync($"{Objects}/a?generation={first}", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, (await _http.DeleteAsync($"{Objects}/a?ifGenerationMatch={first}", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, (await _http.DeleteAsync($"{Objects}/a?ifGenerationMatch={second}", Token)).StatusCode);
        await RefusedAsync(await _http.DeleteAsync($"{Objects}/a", Token), 404, "notFound");
    }

    [Fact]
    public async Task ResumableUpload_TakesWholeQuanta_AndTellsWhatItHas()
    {
        var content = TestContent.Bytes(2 * Quantum + 100, 1);
        var session = await StartAsync("name=a");
        await HasAsync(await PutAsync(session, "bytes */*", []), 0);
        await HasAsync(await PutAsync(session, $"bytes 0-{Quantum - 1}/*", content[..Quantum]), Quantum);

        // Not the last, and no multiple: refused, and nothing of it is kept.
        await RefusedAsync(await PutAsync(session, $"bytes {Quantum}-{Quantum + 99}/*", content[Quantum..(Quantum + 100)]), 400, "invalid");
        await HasAsync(await PutAsync(session, "bytes */*", []), Quantum);

        // Beyond what it has: 503, and as text.
        var gap = await PutAsync(session, $"bytes {2 * Quantum}-{3 * Quantum - 1}/*", content[..Quantum]);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "text/plain"), (gap.StatusCode, gap.Content.Headers.ContentType?.MediaType));
        Assert.StartsWith("Invalid request.  According to the Content-Range header", await gap.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);

        // What it has already is ignored.
        await HasAsync(await PutAsync(session, $"bytes 0-{2 * Quantum - 1}/*", content[..(2 * Quantum)]), 2 * Quantum);
        await HasAsync(await PutAsync(session, $"bytes */{content.Length}", []), 2 * Quantum);
        Assert.Empty(await NamesAsync());
        Assert.Equal(1, _server.PendingUploads);

        var made = await MadeAsync(await PutAsync(session, $"bytes {2 * Quantum}-{content.Length - 1}/{content.Length}", content[(2 * Quantum)..]));
        Assert.Equal(Crc(content), (string?)made["crc32c"]);
        Assert.Equal((string?)made["generation"], (string?)(await MadeAsync(await PutAsync(session, "bytes */*", [])))["generation"]);
        Assert.Equal(content, await _http.GetByteArrayAsync($"{Objects}/a?alt=media", Token));
        Assert.Equal(0, _server.PendingUploads);
    }

    [Fact]
    public async Task ResumableUpload_InOneRequestWithoutRange_IsTheWhole()
    {
        var made = await MadeAsync(await PutAsync(await StartAsync("name=a"), null, TestContent.Bytes(1000, 1)));
        Assert.Equal("1000", (string?)made["size"]);
        made = await MadeAsync(await PutAsync(await StartAsync("name=empty"), "bytes */0", []));
        Assert.Equal("0", (string?)made["size"]);
    }

    [Theory]
    [InlineData("bytes 0-99/50")]
    [InlineData("bytes 5-3/100")]
    [InlineData("bytes 0-98/99")]
    [InlineData("bytes 0-100/101")]
    [InlineData("bytes zero-99/100")]
    [InlineData("octets 0-99/100")]
    [InlineData("bytes */100")]
    public async Task ContentRange_ThatContradictsTheContent_IsRefused(string range)
    {
        using var answer = await PutAsync(await StartAsync("name=a"), range, TestContent.Bytes(100, 1));
        await RefusedAsync(answer, 400, "invalid");
        Assert.Empty(await NamesAsync());
    }

    [Fact]
    public async Task ResumableUpload_JudgesPreconditions_AtItsStartAndAtItsEnd()
    {
        await RefusedAsync(await _http.PostAsync($"{Upload}?uploadType=resumable&name=a&ifGenerationMatch=7", null, Token), 412, "conditionNotMet");
        var session = await StartAsync("name=a&ifGenerationMatch=0");
        await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=media&name=a", Bytes(1), Token));
        await RefusedAsync(await PutAsync(session, "bytes 0-9/10", TestContent.Bytes(10, 1)), 412, "conditionNotMet");
        Assert.Equal("1", (string?)(await MadeAsync(await _http.GetAsync($"{Objects}/a", Token)))["size"]);
        Assert.Equal(0, _server.PendingUploads);
    }

    [Fact]
    public async Task ResumableUpload_WithAnotherHash_MakesNothing()
    {
        using var answer = await PutAsync(await StartAsync("name=a"), "bytes 0-9/10", TestContent.Bytes(10, 1), "crc32c=AAAAAA==");
        await RefusedAsync(answer, 400, "invalid");
        Assert.Empty(await NamesAsync());
        await MadeAsync(await PutAsync(await StartAsync("name=a"), "bytes 0-9/10", TestContent.Bytes(10, 1), $"crc32c={Crc(TestContent.Bytes(10, 1))}"));
    }

    [Fact]
    public async Task Session_ThatIsCancelledExpiredOrUnknown_IsNoMore()
    {
        var session = await StartAsync("name=a");
        using var cancelled = await _http.DeleteAsync(session, Token);
        Assert.Equal(499, (int)cancelled.StatusCode);
        await RefusedAsync(await PutAsync(session, "bytes */*", []), 410, "gone");
        session = await StartAsync("name=a");
        _server.ExpireUploads();
        await RefusedAsync(await PutAsync(session, "bytes 0-0/1", [1]), 410, "gone");
        await RefusedAsync(await PutAsync(session + "x", "bytes 0-0/1", [1]), 404, "notFound");
        Assert.Equal(0, _server.PendingUploads);
    }

    [Fact]
    public async Task ResumableUpload_OfAnotherSizeThanDeclared_IsRefused()
    {
        using var start = new HttpRequestMessage(HttpMethod.Post, $"{Upload}?uploadType=resumable&name=a")
        {
            Headers = { { "X-Upload-Content-Length", "20" }, { "X-Upload-Content-Type", "audio/flac" } },
        };
        using var started = await _http.SendAsync(start, Token);
        var session = started.Headers.Location!.OriginalString;
        await RefusedAsync(await PutAsync(session, "bytes 0-9/10", TestContent.Bytes(10, 1)), 400, "invalid");
        Assert.Equal("audio/flac", (string?)(await MadeAsync(await PutAsync(session, "bytes 0-19/20", TestContent.Bytes(20, 1))))["contentType"]);
    }

    [Theory]
    [InlineData(null, 200, 0, 1000)]
    [InlineData("bytes=0-99", 206, 0, 100)]
    [InlineData("bytes=990-2000", 206, 990, 10)]
    [InlineData("bytes=999-", 206, 999, 1)]
    [InlineData("bytes=-10", 206, 990, 10)]
    [InlineData("bytes=-5000", 206, 0, 1000)]
    [InlineData("bytes=5-2", 200, 0, 1000)]
    [InlineData("bytes=a-b", 200, 0, 1000)]
    [InlineData("bytes=1000-", 416, 0, 0)]
    [InlineData("bytes=-0", 416, 0, 0)]
    public async Task Media_ComesWithItsGenerationHashAndRange(string? range, int status, int offset, int length)
    {
        var content = TestContent.Bytes(1000, 3);
        var resource = new JsonObject { ["name"] = "a", ["metadata"] = new JsonObject { ["mine"] = "x" } };
        var made = await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=multipart", Multipart(resource, content), Token));
        using var request = new HttpRequestMessage(HttpMethod.Get, $"download/{Objects}/a?alt=media");
        if (range is not null)
            request.Headers.TryAddWithoutValidation("Range", range);
        using var answer = await _http.SendAsync(request, Token);
        Assert.Equal(status, (int)answer.StatusCode);
        if (status == 416)
        {
            Assert.Equal("bytes */1000", answer.Content.Headers.ContentRange?.ToString());
            return;
        }

        Assert.Equal(content[offset..(offset + length)], await answer.Content.ReadAsByteArrayAsync(Token));
        Assert.Equal(status == 206 ? $"bytes {offset}-{offset + length - 1}/1000" : null, answer.Content.Headers.ContentRange?.ToString());
        Assert.Equal(((string?)made["generation"], $"crc32c={Crc(content)}", "1000"), (Header("x-goog-generation"), Header("x-goog-hash"), Header("x-goog-stored-content-length")));
        Assert.DoesNotContain(answer.Headers, h => h.Value.Contains("x"));

        string? Header(string name) => answer.Headers.TryGetValues(name, out var values) ? string.Join(',', values) : null;
    }

    [Fact]
    public async Task StoredGzip_IsUnpackedForWhoDoesNotAcceptIt()
    {
        var plain = TestContent.Bytes(5000, 3);
        var packed = new MemoryStream();
        await using (var zip = new GZipStream(packed, CompressionMode.Compress, leaveOpen: true))
            await zip.WriteAsync(plain, Token);
        await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=multipart", Multipart(new JsonObject { ["name"] = "a", ["contentEncoding"] = "gzip" }, packed.ToArray()), Token));
        Assert.Equal(plain, await _http.GetByteArrayAsync($"{Objects}/a?alt=media", Token));
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Objects}/a?alt=media") { Headers = { Range = new(0, 9) } };
        using var whole = await _http.SendAsync(request, Token);
        Assert.Equal((HttpStatusCode.OK, "gzip"), (whole.StatusCode, whole.Headers.GetValues("x-goog-stored-content-encoding").Single()));
        using var stored = new HttpRequestMessage(HttpMethod.Get, $"{Objects}/a?alt=media") { Headers = { Range = new(0, 9), AcceptEncoding = { new StringWithQualityHeaderValue("gzip") } } };
        using var part = await _http.SendAsync(stored, Token);
        Assert.Equal((HttpStatusCode.PartialContent, "gzip"), (part.StatusCode, part.Content.Headers.ContentEncoding.Single()));
        Assert.Equal(packed.ToArray()[..10], await part.Content.ReadAsByteArrayAsync(Token));
    }

    [Fact]
    public async Task Names_AreOneSegmentOfThePath()
    {
        await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=media&name=a/b", Bytes(3), Token));
        Assert.Equal(HttpStatusCode.NotFound, (await _http.GetAsync($"{Objects}/a/b", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await _http.GetAsync($"{Objects}/a%2Fb", Token)).StatusCode);
    }

    [Fact]
    public async Task Refusals_SayWhatIsMissing_AsJson_OrAsTextWithMedia()
    {
        await RefusedAsync(await _http.GetAsync($"{Objects}/a", Token), 404, "notFound");
        await RefusedAsync(await _http.GetAsync("storage/v1/b/other/o/a", Token), 404, "notFound");
        await RefusedAsync(await _http.GetAsync("storage/v1/b/other", Token), 404, "notFound");
        await RefusedAsync(await _http.GetAsync($"{Objects}/a?alt=xml", Token), 404, "notFound");
        using var media = await _http.GetAsync($"{Objects}/a?alt=media", Token);
        Assert.Equal((HttpStatusCode.NotFound, "No such object: bucket/a"), (media.StatusCode, await media.Content.ReadAsStringAsync(Token)));
        Assert.Equal("bucket", (string?)(await MadeAsync(await _http.GetAsync("storage/v1/b/bucket", Token)))["name"]);
    }

    [Fact]
    public async Task Listing_StartsAtItsOffset_AndComesInPages()
    {
        foreach (var name in (string[])["b", "a/2", "a/1", "a0", "\ue000", "😀"])
            await MadeAsync(await _http.PostAsync($"{Upload}?uploadType=media&name={Uri.EscapeDataString(name)}", Bytes(1), Token));
        Assert.Equal(["a/1", "a/2", "a0", "b", "\ue000", "😀"], await NamesAsync());
        Assert.Equal(["a/1", "a/2"], await NamesAsync("prefix=a/"));
        Assert.Equal(["a/2", "a0", "b", "\ue000", "😀"], await NamesAsync("startOffset=a/2"));
        Assert.Equal(["a/2"], await NamesAsync("startOffset=a/2&prefix=a/"));
        Assert.Equal(["a/1", "a/2"], await NamesAsync("endOffset=a0"));

        var page = await MadeAsync(await _http.GetAsync($"{Objects}?maxResults=4", Token));
        Assert.Equal(4, page["items"]!.AsArray().Count);
        Assert.Equal(["\ue000", "😀"], await NamesAsync($"maxResults=4&pageToken={Uri.EscapeDataString((string)page["nextPageToken"]!)}"));
        var trimmed = await MadeAsync(await _http.GetAsync($"{Objects}?maxResults=1&fields=items(name,size),nextPageToken", Token));
        Assert.Equal(["items", "nextPageToken"], trimmed.Select(f => f.Key).Order());
        Assert.Equal("""[{"name":"a/1","size":"1"}]""", trimmed["items"]!.ToJsonString());
        await RefusedAsync(await _http.GetAsync($"{Objects}?fields=items(nonsense)", Token), 400, "invalidParameter");
        await RefusedAsync(await _http.GetAsync($"{Objects}?pageToken=nonsense!", Token), 400, "invalid");
    }

    [Fact]
    public async Task Requests_NeedATokenThatIsGood_AndAPermission()
    {
        await using var bench = await GcsBench.StartAsync();
        var objects = new Uri(bench.Server.Address, $"storage/v1/b/{GcsBench.Bucket}/o/a");
        await RefusedAsync(await _http.GetAsync(objects, Token), 401, "required");
        await RefusedAsync(await GetAsync("wrong"), 401, "authError");
        var token = await GrantedAsync(bench, bench.User);
        Assert.Equal(HttpStatusCode.NotFound, (await GetAsync(token)).StatusCode);
        bench.Server.ClockAhead = TimeSpan.FromMinutes(61);
        await RefusedAsync(await GetAsync(token), 401, "authError");
        bench.Server.ClockAhead = default;
        bench.Server.Tokens.Revoke();
        await RefusedAsync(await GetAsync(token), 401, "authError");
        await RefusedAsync(await GetAsync(await GrantedAsync(bench, bench.Server.Tokens.CreateAccount("stranger", GcsAccount.Nothing))), 403, "forbidden");
        // Who may not list is not told what is absent.
        await RefusedAsync(await GetAsync(await GrantedAsync(bench, bench.Server.Tokens.CreateAccount("reader", new HashSet<string> { "objects.get" }))), 403, "forbidden");

        async Task<HttpResponseMessage> GetAsync(string bearer)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, objects) { Headers = { Authorization = new("Bearer", bearer) } };
            return await _http.SendAsync(request, Token);
        }
    }

    [Fact]
    public async Task Assertions_AreRefused_ForTheKeyTheClockTheAudienceAndTheScope()
    {
        await using var bench = await GcsBench.StartAsync();
        using var other = RSA.Create(2048);
        Assert.Contains("Invalid JWT Signature", await RefusalAsync(bench, bench.User, key: other), StringComparison.Ordinal);
        Assert.Contains("reasonable timeframe", await RefusalAsync(bench, bench.User, skew: TimeSpan.FromHours(-1)), StringComparison.Ordinal);
        Assert.Contains("reasonable timeframe", await RefusalAsync(bench, bench.User, skew: TimeSpan.FromHours(1)), StringComparison.Ordinal);
        Assert.Contains("reasonable timeframe", await RefusalAsync(bench, bench.User, lifetime: TimeSpan.FromHours(2)), StringComparison.Ordinal);
        Assert.Contains("audience", await RefusalAsync(bench, bench.User, audience: "https://example.com"), StringComparison.Ordinal);
        Assert.Contains("scope", await RefusalAsync(bench, bench.User, scope: "email"), StringComparison.Ordinal);
        Assert.Contains("account not found", await RefusalAsync(bench, new GcsAccount("nobody@example.com", GcsAccount.ObjectUser)), StringComparison.Ordinal);
        Assert.Equal(0, bench.Server.Tokens.Granted);

        static async Task<string> RefusalAsync(
            GcsBench bench, GcsAccount account, RSA? key = null, TimeSpan skew = default, TimeSpan? lifetime = null,
            string audience = "https://oauth2.googleapis.com/token", string scope = "https://www.googleapis.com/auth/devstorage.read_write")
        {
            using var answer = await AskAsync(bench, account, key, skew, lifetime, audience, scope);
            Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
            var json = JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!;
            Assert.Equal(scope == "email" ? "invalid_scope" : "invalid_grant", (string?)json["error"]);
            return (string)json["error_description"]!;
        }
    }

    private static async Task<string> GrantedAsync(GcsBench bench, GcsAccount account)
    {
        using var answer = await AskAsync(bench, account, null, default, null, "https://oauth2.googleapis.com/token", "https://www.googleapis.com/auth/devstorage.read_write");
        return (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!["access_token"]!;
    }

    private static async Task<HttpResponseMessage> AskAsync(GcsBench bench, GcsAccount account, RSA? key, TimeSpan skew, TimeSpan? lifetime, string audience, string scope)
    {
        var now = DateTimeOffset.UtcNow + skew;
        var claims = new JsonObject
        {
            ["iss"] = account.Email,
            ["scope"] = scope,
            ["aud"] = audience,
            ["iat"] = now.ToUnixTimeSeconds(),
            ["exp"] = (now + (lifetime ?? TimeSpan.FromHours(1))).ToUnixTimeSeconds(),
        };
        var text = $"{Encode(Encoding.UTF8.GetBytes("""{"alg":"RS256","typ":"JWT"}"""))}.{Encode(Encoding.UTF8.GetBytes(claims.ToJsonString()))}";
        using var right = RSA.Create();
        right.ImportFromPem((string)JsonNode.Parse(account.KeyFile(bench.Server.Address))!["private_key"]!);
        var signature = (key ?? right).SignData(Encoding.ASCII.GetBytes(text), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using var http = new HttpClient();
        return await http.PostAsync(
            new Uri(bench.Server.Address, "token"),
            new FormUrlEncodedContent([new("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), new("assertion", $"{text}.{Encode(signature)}")]), Token);

        static string Encode(byte[] bytes) => System.Buffers.Text.Base64Url.EncodeToString(bytes);
    }

    private static async Task RefusedAsync(HttpResponseMessage answer, int status, string reason)
    {
        var text = await answer.Content.ReadAsStringAsync(Token);
        Assert.Equal((status, reason), ((int)answer.StatusCode, (string?)JsonNode.Parse(text)!["error"]!["errors"]![0]!["reason"]));
    }

    private static async Task<JsonObject> MadeAsync(HttpResponseMessage answer)
    {
        using (answer)
        {
            var text = await answer.Content.ReadAsStringAsync(Token);
            Assert.True(answer.IsSuccessStatusCode, text);
            return JsonNode.Parse(text)!.AsObject();
        }
    }

    private static Task HasAsync(HttpResponseMessage answer, long bytes)
    {
        Assert.Equal(308, (int)answer.StatusCode);
        Assert.Equal(bytes == 0 ? null : $"bytes=0-{bytes - 1}", answer.Headers.TryGetValues("Range", out var range) ? range.Single() : null);
        return Task.CompletedTask;
    }

    private async Task<string> StartAsync(string query)
    {
        using var answer = await _http.PostAsync($"{Upload}?uploadType=resumable&{query}", null, Token);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        return answer.Headers.Location!.OriginalString;
    }

    private async Task<HttpResponseMessage> PutAsync(string session, string? range, byte[] content, string? hash = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Put, session) { Content = new ByteArrayContent(content) };
        if (range is not null)
            request.Content.Headers.TryAddWithoutValidation("Content-Range", range);
        if (hash is not null)
            request.Headers.Add("x-goog-hash", hash);
        return await _http.SendAsync(request, Token);
    }

    private async Task<string[]> NamesAsync(string query = "") =>
        (await MadeAsync(await _http.GetAsync($"{Objects}?{query}", Token)))["items"]?.AsArray().Select(i => (string)i!["name"]!).ToArray() ?? [];

    private static ByteArrayContent Bytes(int length) => new(TestContent.Bytes(length, 1)) { Headers = { ContentType = new("audio/ogg") } };

    private static ByteArrayContent Multipart(JsonObject resource, byte[] content, string? mediaType = "audio/ogg", string metadataType = "application/json; charset=UTF-8", int parts = 2)
    {
        var body = new MemoryStream();
        body.Write(Encoding.UTF8.GetBytes($"--xyz\r\nContent-Type: {metadataType}\r\n\r\n{resource.ToJsonString()}\r\n"));
        for (var i = 1; i < parts; i++)
        {
            body.Write(Encoding.UTF8.GetBytes(mediaType is null ? "--xyz\r\n\r\n" : $"--xyz\r\nContent-Type: {mediaType}\r\n\r\n"));
            body.Write(content);
            body.Write("\r\n"u8);
        }

        body.Write("--xyz--\r\n"u8);
        return new(body.ToArray()) { Headers = { ContentType = MediaTypeHeaderValue.Parse("multipart/related; boundary=xyz") } };
    }

    private static string Crc(byte[] content)
    {
        var bytes = BitConverter.GetBytes(Crc32C.Of(content));
        Array.Reverse(bytes);
        return Convert.ToBase64String(bytes);
    }
}
