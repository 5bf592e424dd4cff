using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Delivery.ObjectStore.Remote;
using Google.Apis.Auth.OAuth2;

namespace Delivery.ObjectStore.Gcs;

/// <summary>One request to the JSON API, which can be sent again.</summary>
/// <param name="method">GET, POST, PUT or DELETE.</param>
/// <param name="target">Below the endpoint; or a session's whole URL.</param>
/// <param name="action">For messages, after "Could not".</param>
internal sealed class GcsRequest(HttpMethod method, string target, string action)
{
    public HttpMethod Method { get; } = method;

    public string Target { get; } = target;

    public string Action { get; } = action;

    /// <summary>Statuses that the caller judges; others than these and 2xx are thrown.</summary>
    public HttpStatusCode[] Passing { get; init; } = [];

    /// <summary>The URL of an upload session: whoever has it may use it, so it gets no token, and an expired one cannot stop an upload (docs/resumable-uploads#session-uris).</summary>
    public bool IsSession { get; init; }

    /// <summary>A status of 412 is the answer to a question of ours.</summary>
    public bool IsConditional { get; init; }

    /// <summary>The first byte wanted and the last; null: up to the end.</summary>
    public (long From, long? To)? Range { get; set; }

    /// <summary>Only for what is stored so: see <see cref="GcsStore"/>.</summary>
    public bool AcceptsGzip { get; init; }

    /// <summary>Of a chunk.</summary>
    public string? ContentRange { get; init; }

    /// <summary>What the service compares the content with before it makes the object.</summary>
    public uint? Crc32C { get; init; }

    public string? ContentType { get; init; }

    /// <summary>The body, in order. It must stay as it is until the answer is there.</summary>
    public ReadOnlyMemory<byte>[] Body { get; init; } = [];
}

/// <summary>Sends requests: token, time-outs, and the one place where a refusal becomes a <see cref="StoreException"/>. It tries nothing twice, but for a token that is good no more.</summary>
internal sealed class GcsClient : IDisposable
{
    public const string DefaultEndpoint = "https://storage.googleapis.com";

    /// <summary>Of Google's client libraries: a test bench.</summary>
    private const string EmulatorVariable = "STORAGE_EMULATOR_HOST";

    /// <summary>Of a refusal, to learn its reason.</summary>
    private const int MaxRefusalBytes = 64 * 1024;

    /// <summary>What tidies up after a failure does not hold its caller up for longer.</summary>
    private static readonly TimeSpan TidyTimeout = TimeSpan.FromSeconds(3);

    private readonly HttpClient _http;
    private readonly GcsCredentials _credentials;
    private readonly StoreUrl _url;
    private readonly StoreClientOptions _options;

    private GcsClient(StoreUrl url, StoreClientOptions options, string endpoint, GcsCredentials credentials) =>
        (_url, _options, Endpoint, _credentials, _http) = (url, options, endpoint, credentials, RemoteHttp.Client(options));

    /// <summary>With a slash at its end.</summary>
    public string Endpoint { get; }

    public TimeSpan IdleTimeout => _options.IdleTimeout;

    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>; the message says why.</exception>
    public static GcsClient Open(StoreUrl url, StoreClientOptions options)
    {
        var emulator = Environment.GetEnvironmentVariable(EmulatorVariable);
        var (endpoint, credentials) = (url.Option("endpoint"), url.Option("credentials"));
        if (endpoint is null && !string.IsNullOrWhiteSpace(emulator))
        {
            endpoint = emulator.Contains("://", StringComparison.Ordinal) ? emulator : $"http://{emulator}";
            credentials ??= GcsCredentials.NoneName;
        }

        endpoint ??= DefaultEndpoint;
        if (!Uri.TryCreate(endpoint, UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https")
            || address.UserInfo.Length + address.Query.Length + address.Fragment.Length > 0)
            throw new StoreException(StoreError.Misconfigured, $"The endpoint '{endpoint}' of '{url}' is no http or https address.");
        if (address.Scheme == "http" && !address.IsLoopback && credentials != GcsCredentials.NoneName)
            throw new StoreException(StoreError.Misconfigured, $"The endpoint '{endpoint}' of '{url}' would get tokens over a connection that others can read: https, or credentials=none.");
        return new(url, options, address.AbsoluteUri.TrimEnd('/') + "/", GcsCredentials.Open(credentials, options));
    }

    public void Dispose()
    {
        _http.Dispose();
        _credentials.Dispose();
    }

    /// <summary>Sends it and waits for the headers of the answer, which the caller disposes.</summary>
    public async ValueTask<GcsAnswer> SendAsync(GcsRequest request, CancellationToken cancellationToken)
    {
        var token = request.IsSession ? null : await _credentials.TokenAsync(request.Action, cancellationToken);
        var answer = await SendOnceAsync(request, token, cancellationToken);
        if (answer.Status == HttpStatusCode.Unauthorized && token is not null)
        {
            // The clock says that it is good; the service says that it is not (revoked, or a key that was changed). Once.
            answer.Dispose();
            answer = await SendOnceAsync(request, await _credentials.RefreshAsync(token, request.Action, cancellationToken), cancellationToken);
        }

        if (answer.IsSuccess)
            return answer;
        try
        {
            answer.Refusal = await ReadRefusalAsync(answer, cancellationToken);
            return request.Passing.Contains(answer.Status) ? answer : throw answer.Refusal.Exception(request, _url);
        }
        catch
        {
            answer.Dispose();
            throw;
        }
    }

    /// <summary>Deletes what a failed write has left, an object or a session; whether it succeeds or not, in a bounded time, and also when the caller has left.</summary>
    public async ValueTask RemoveQuietlyAsync(string target, bool isSession = false)
    {
        using var time = new CancellationTokenSource(TidyTimeout);
        try
        {
            using var answer = await SendAsync(new(HttpMethod.Delete, target, "tidy up") { IsSession = isSession }, time.Token);
        }
        catch (Exception e) when (e is StoreException or OperationCanceledException)
        {
            // 499 is the answer to a cancelled session. What could not be cancelled the service forgets after a week.
        }
    }

    private async ValueTask<GcsAnswer> SendOnceAsync(GcsRequest request, AccessTokenWithHeaders? token, CancellationToken cancellationToken)
    {
        using var timer = new CallTimer(cancellationToken);
        // As it stands: Uri would decode what it need not encode, and a name's dots and slashes are not a path's.
        using var message = new HttpRequestMessage(
            request.Method, new Uri(request.IsSession ? request.Target : Endpoint + request.Target, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }));
        if (token is not null)
        {
            message.Headers.Authorization = new("Bearer", token.AccessToken);
            token.AddHeaders(message); // The project that is billed, when the credentials name one.
        }

        if (request.Range is { } range)
            message.Headers.Range = new(range.From, range.To);
        if (request.AcceptsGzip)
            message.Headers.AcceptEncoding.Add(new("gzip"));
        if (request.Crc32C is { } crc)
            message.Headers.Add("x-goog-hash", $"crc32c={GcsObject.FormatCrc32C(crc)}");
        // An empty body is a body: HttpClient sends what has none again by itself when a connection ends before an answer, and a DELETE must not be sent twice without us knowing.
        if (request.Method != HttpMethod.Get)
            message.Content = new TimedBody(request, timer, _options);
        try
        {
            timer.Allow(_options.ConnectTimeout + (message.Content is null ? _options.FirstByteTimeout : _options.IdleTimeout));
            return new GcsAnswer(await _http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, timer.Token), request.Action, _options.IdleTimeout);
        }
        catch (Exception e) when (timer.Failure($"{request.Action} in '{_url.Bucket}'", e) is { } failure)
        {
            throw failure;
        }
    }

    private static async ValueTask<GcsRefusal> ReadRefusalAsync(GcsAnswer answer, CancellationToken cancellationToken)
    {
        try
        {
            return GcsRefusal.Of(answer.Status, await answer.TextAsync(MaxRefusalBytes, cancellationToken));
        }
        catch (StoreException)
        {
            return new GcsRefusal(answer.Status, null, "The reason was lost with the connection.");
        }
    }

    /// <summary>A request's body that tells the timer of each piece that went out, so that an upload may last as long as it moves.</summary>
    private sealed class TimedBody : HttpContent
    {
        /// <summary>Small enough that a slow line moves one within the idle time-out.</summary>
        private const int PieceBytes = 64 * 1024;

        private readonly GcsRequest _request;
        private readonly CallTimer _timer;
        private readonly StoreClientOptions _options;

        public TimedBody(GcsRequest request, CallTimer timer, StoreClientOptions options)
        {
            (_request, _timer, _options) = (request, timer, options);
            if (request.ContentType is { } type)
                Headers.TryAddWithoutValidation("Content-Type", type);
            if (request.ContentRange is { } range)
                Headers.TryAddWithoutValidation("Content-Range", range);
        }

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            foreach (var part in _request.Body)
            {
                for (var sent = 0; sent < part.Length; sent += PieceBytes)
                {
                    _timer.Allow(_options.IdleTimeout);
                    await stream.WriteAsync(part[sent..Math.Min(part.Length, sent + PieceBytes)], cancellationToken);
                }
            }

            await stream.FlushAsync(cancellationToken);
            _timer.Allow(_options.FirstByteTimeout);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = _request.Body.Sum(part => (long)part.Length);
            return true;
        }
    }
}

/// <summary>The headers of an answer, and its body as it is wanted.</summary>
internal sealed class GcsAnswer(HttpResponseMessage message, string action, TimeSpan idleTimeout) : IDisposable
{
    public HttpStatusCode Status => message.StatusCode;

    public bool IsSuccess => message.IsSuccessStatusCode;

    /// <summary>Of a status other than 2xx.</summary>
    public GcsRefusal Refusal { get; set; } = null!;

    public long? Length => message.Content.Headers.ContentLength;

    public string ContentType => message.Content.Headers.NonValidated.TryGetValues("Content-Type", out var type) ? type.ToString() : "application/octet-stream";

    /// <summary>Whole seconds.</summary>
    public DateTimeOffset? LastModified => message.Content.Headers.LastModified;

    public long? PartOffset => message.Content.Headers.ContentRange?.From;

    public long? PartEnd => message.Content.Headers.ContentRange?.To + 1;

    public long? PartTotal => message.Content.Headers.ContentRange?.Length;

    public Uri? Location => message.Headers.Location;

    /// <summary>Of the whole object, out of <c>x-goog-hash: crc32c=…,md5=…</c>, which may also be two headers.</summary>
    public uint? Crc32C
    {
        get
        {
            if (!message.Headers.NonValidated.TryGetValues("x-goog-hash", out var values))
                return null;
            foreach (var value in values)
            {
                foreach (var hash in value.Split(',', StringSplitOptions.TrimEntries))
                {
                    if (hash.StartsWith("crc32c=", StringComparison.Ordinal))
                        return GcsObject.ParseCrc32C(hash["crc32c=".Length..]);
                }
            }

            return null;
        }
    }

    public string? Header(string name) => message.Headers.NonValidated.TryGetValues(name, out var values) ? values.ToString() : null;

    public async ValueTask<Stream> BodyAsync(CancellationToken cancellationToken) => await message.Content.ReadAsStreamAsync(cancellationToken);

    public async ValueTask<JsonDocument> JsonAsync(int maxBytes, CancellationToken cancellationToken)
    {
        var (bytes, isWhole) = await ReadAsync(maxBytes, cancellationToken);
        try
        {
            return isWhole ? JsonDocument.Parse(bytes)
                : throw new StoreException(StoreError.Misconfigured, $"Could not {action}: the answer is longer than the {maxBytes} bytes that it may have.");
        }
        catch (JsonException e)
        {
            throw new StoreException(StoreError.Misconfigured, $"Could not {action}: the answer is not JSON, so it is not Cloud Storage that answers.", e);
        }
    }

    /// <summary>The beginning of it.</summary>
    public async ValueTask<string> TextAsync(int maxBytes, CancellationToken cancellationToken) => Encoding.UTF8.GetString((await ReadAsync(maxBytes, cancellationToken)).Bytes.Span);

    public void Dispose() => message.Dispose();

    private async ValueTask<(ReadOnlyMemory<byte> Bytes, bool IsWhole)> ReadAsync(int maxBytes, CancellationToken cancellationToken)
    {
        using var timer = new CallTimer(cancellationToken);
        try
        {
            var body = await message.Content.ReadAsStreamAsync(timer.Token);
            var bytes = new byte[Math.Min(maxBytes, Math.Max(4096, (Length ?? 0) + 1))];
            var filled = 0;
            while (true)
            {
                timer.Allow(idleTimeout);
                var count = await body.ReadAsync(bytes.AsMemory(filled), timer.Token);
                filled += count;
                if (count == 0)
                    return (bytes.AsMemory(0, filled), true);
                if (filled == maxBytes)
                    return (bytes, false);
                if (filled == bytes.Length)
                    Array.Resize(ref bytes, Math.Min(maxBytes, 2 * bytes.Length));
            }
        }
        catch (Exception e) when (timer.Failure(action, e) is { } failure)
        {
            throw failure;
        }
    }
}

/// <summary>Why the service did not do what it was asked (docs/json_api/v1/status-codes).</summary>
/// <param name="Status">What decides.</param>
/// <param name="Reason">The first error's <c>reason</c>; null where there is only a text, as media answers and test benches have it.</param>
/// <param name="Message">For the operator.</param>
internal sealed record GcsRefusal(HttpStatusCode Status, string? Reason, string Message)
{
    private const int MaxMessageLength = 500;

    public static GcsRefusal Of(HttpStatusCode status, string body)
    {
        try
        {
            if (body.StartsWith('{'))
            {
                using var json = JsonDocument.Parse(body);
                if (json.RootElement.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.Object)
                {
                    var errors = error.TryGetProperty("errors", out var list) && list is { ValueKind: JsonValueKind.Array } ? list.GetArrayLength() : 0;
                    var reason = errors > 0 && list[0].TryGetProperty("reason", out var first) ? first.GetString() : null;
                    return new(status, reason, Shorten(error.TryGetProperty("message", out var message) && message.ValueKind == JsonValueKind.String ? message.GetString()! : body));
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // A text then.
        }

        return new(status, null, Shorten(body));
    }

    public StoreException NoBucket(StoreUrl url) => new(StoreError.Misconfigured, $"There is no bucket '{url.Bucket}' (404: {Message}).");

    /// <summary>The table of errors.</summary>
    public StoreException Exception(GcsRequest request, StoreUrl url)
    {
        var code = (int)Status;
        var error = (code, Reason) switch
        {
            // What it was sent is not what it got: nothing was made.
            (400, _) when Message.Contains("CRC32C", StringComparison.OrdinalIgnoreCase) || Message.Contains("MD5", StringComparison.OrdinalIgnoreCase) => StoreError.Corrupt,
            (401, _) => StoreError.Denied,
            (403, "rateLimitExceeded" or "userRateLimitExceeded" or "usageLimits.rateLimitExceeded") => StoreError.Unavailable,
            (403, "quotaExceeded") => StoreError.Full,
            // Billing is off, the API is not enabled, or plain http was used: no grant helps.
            (403, "accountDisabled" or "usageLimits.accessNotConfigured" or "accessNotConfigured" or "userProjectAccountProblem" or "sslRequired") => StoreError.Misconfigured,
            (403, _) => StoreError.Denied,
            // A bucket's: objects' are values, and judged before.
            (404, _) => StoreError.Misconfigured,
            (412, "orgPolicyConstraintFailed") => StoreError.Denied,
            (412, _) when request.IsConditional => StoreError.PreconditionFailed,
            // Google's test bench says so of checksums.
            (412, _) => StoreError.Corrupt,
            (413, _) => StoreError.Full,
            (416, _) => StoreError.RangeNotSatisfiable,
            // docs/retry-strategy; and an upload session that is lost, or another writer at the same time.
            (408 or 409 or 410 or 429 or >= 500, _) => StoreError.Unavailable,
            _ => StoreError.Misconfigured,
        };
        return code == 404 ? NoBucket(url)
            : new(error, $"Could not {request.Action} in '{url.Bucket}': Cloud Storage says {code.ToString(CultureInfo.InvariantCulture)}{(Reason is null ? "" : $" {Reason}")}: {Message}");
    }

    private static string Shorten(string text)
    {
        var line = string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c)).Trim();
        return line.Length <= MaxMessageLength ? line : line[..MaxMessageLength] + "…";
    }
}
