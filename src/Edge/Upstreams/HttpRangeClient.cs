using System.Buffers;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Delivery.Edge.Fills;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>
/// Asks one HTTP server for metadata and byte ranges, and believes nothing that contradicts itself (RFC 9110 §14, §15.3.7). A request carries what this class and its caller put on it and
/// no more: nothing of a listener's request ever goes up. Redirects are not followed, as they lead to hosts that nobody configured.
/// </summary>
internal sealed class HttpRangeClient : IDisposable
{
    /// <summary>
    /// What is thrown away at most to reach the wanted range in a whole body, for a server that knows no ranges: as much as one run. Beyond it the answer is refused.
    /// </summary>
    public const long MaxSkippedBytes = (long)Chunk.MaxRun * Chunk.SizeBytes;

    // 16 KiB: what this edge takes of its own clients.
    private const int MaxResponseHeadersKiB = 16;

    // A rest smaller than this is read so that its connection can be used again; a larger one is cut off.
    private const int MaxDrainedBytes = 64 * 1024;

    // A path holds none of the characters that RFC 3986 §3.3 would make a query or fragment of, so what is not a pchar is escaped and nothing else.
    private static readonly SearchValues<char> PlainPathCharacters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/");

    private readonly string _name;
    private readonly HttpMessageInvoker _client;
    private readonly Version _version;

    /// <param name="name">The upstream's name, for errors.</param>
    /// <param name="address"><c>http(s)://host[:port][/prefix]</c>.</param>
    /// <param name="caPath">As <see cref="UpstreamOptions.CaPath"/>.</param>
    /// <param name="options">Time-outs and bounds.</param>
    /// <exception cref="EdgeStartException">The file of authorities cannot be used.</exception>
    public HttpRangeClient(string name, string address, string? caPath, EdgeOptions options)
    {
        _name = name;
        Base = address.TrimEnd('/');
        _version = Base.StartsWith("https:", StringComparison.OrdinalIgnoreCase) ? HttpVersion.Version20 : HttpVersion.Version11;
        _client = new(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            ActivityHeadersPropagator = null,
            ConnectTimeout = options.UpstreamConnectTimeout,
            MaxConnectionsPerServer = options.UpstreamMaxConnections,
            EnableMultipleHttp2Connections = true,
            MaxResponseHeadersLength = MaxResponseHeadersKiB,
            MaxResponseDrainSize = MaxDrainedBytes,
            // Names are looked up again at least this often; idle connections end before a common server's 60 s would end them under a request.
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(50),
            SslOptions = { CertificateChainPolicy = caPath is null ? null : TrustOnly(caPath) },
        });
    }

    /// <summary>The address without a slash at its end.</summary>
    public string Base { get; }

    /// <summary>A decoded path as it goes into a request line.</summary>
    public static string Escape(string path)
    {
        if (!path.AsSpan().ContainsAnyExcept(PlainPathCharacters))
            return path;
        var escaped = new StringBuilder(path.Length + 16);
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in path.EnumerateRunes())
        {
            if (rune.IsAscii && PlainPathCharacters.Contains((char)rune.Value))
            {
                escaped.Append((char)rune.Value);
                continue;
            }

            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)])
                escaped.Append(CultureInfo.InvariantCulture, $"%{value:X2}");
        }

        return escaped.ToString();
    }

    /// <summary>Asks for an object's metadata; null when there is no such object.</summary>
    /// <exception cref="UpstreamException">It fails, refuses, or contradicts itself.</exception>
    public async ValueTask<HttpPart?> HeadAsync(HttpQuestion question, CancellationToken cancellationToken)
    {
        var response = await SendAsync(HttpMethod.Head, question, null, cancellationToken);
        var kept = false;
        try
        {
            // RFC 9110 §9.3.2: a server may leave out what it would have to work out; what is needed is then in the answer to a range.
            if (response.StatusCode is HttpStatusCode.MethodNotAllowed or HttpStatusCode.NotImplemented
                || (response.StatusCode == HttpStatusCode.OK && !response.Content.Headers.NonValidated.Contains("Content-Length")))
                return await OpenAsync(question with { IfRange = null, IsExpected = null }, new(0, 1), cancellationToken);

            if (!IsThere(question, response, null))
                return null;
            if (response.StatusCode != HttpStatusCode.OK)
                throw Contradictory($"It answered a HEAD with {(int)response.StatusCode}.");
            var length = ContentLength(response)!.Value;
            kept = true;
            return new(response, length, 0, 0, Stream.Null);
        }
        finally
        {
            if (!kept)
                response.Dispose();
        }
    }

    /// <summary>Opens a part of an object; null when there is no such object.</summary>
    /// <exception cref="UpstreamException">It fails, refuses, or contradicts itself.</exception>
    public async ValueTask<HttpPart?> OpenAsync(HttpQuestion question, ObjectRange range, CancellationToken cancellationToken)
    {
        var response = await SendAsync(HttpMethod.Get, question, range, cancellationToken);
        var kept = false;
        try
        {
            if (!IsThere(question, response, range))
                return null;
            if (response.Content.Headers.NonValidated.TryGetValues("Content-Type", out var type) && type.ToString().StartsWith("multipart/byteranges", StringComparison.OrdinalIgnoreCase))
                throw Contradictory("It sent several ranges where one was asked for.");
            var (total, offset, length) = response.StatusCode switch
            {
                HttpStatusCode.PartialContent => Part(response, range),
                HttpStatusCode.OK => Whole(question, response, range),
                _ => throw Contradictory($"It answered a range with {(int)response.StatusCode}."),
            };
            // The time for the head is over; what the body may take is for the reader to say.
            var content = await response.Content.ReadAsStreamAsync(CancellationToken.None);
            kept = true;
            var body = new HttpBody(_name, content, response.StatusCode == HttpStatusCode.OK ? offset : 0, response.StatusCode == HttpStatusCode.OK ? length : null);
            return new(response, total, offset, length, body);
        }
        finally
        {
            if (!kept)
                response.Dispose();
        }
    }

    public UpstreamException Contradictory(string message) => new(FillOutcome.Contradictory, _name, message);

    public void Dispose() => _client.Dispose();

    private async ValueTask<HttpResponseMessage> SendAsync(HttpMethod method, HttpQuestion question, ObjectRange? range, CancellationToken cancellationToken)
    {
        // As it was built, so that two readers of the same address cannot mean two objects.
        var uri = new Uri(Base + question.Target, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
        using var request = new HttpRequestMessage(method, uri) { Version = _version, VersionPolicy = HttpVersionPolicy.RequestVersionOrLower };
        request.Headers.TryAddWithoutValidation("Accept-Encoding", "identity");
        if (range is { } wanted)
        {
            var last = wanted.Length > long.MaxValue - wanted.Offset ? "" : (wanted.Offset + wanted.Length - 1).ToString(CultureInfo.InvariantCulture);
            request.Headers.TryAddWithoutValidation("Range", string.Create(CultureInfo.InvariantCulture, $"bytes={wanted.Offset}-{last}"));
            if (question.IfRange is not null)
                request.Headers.TryAddWithoutValidation("If-Range", question.IfRange);
        }

        foreach (var (name, value) in question.Fields)
            request.Headers.TryAddWithoutValidation(name, value);
        try
        {
            return await _client.SendAsync(request, cancellationToken);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && exception is HttpRequestException or OperationCanceledException)
        {
            throw BrokenBeforeHead(exception);
        }
    }

    private UpstreamException BrokenBeforeHead(Exception exception)
    {
        var error = (exception as HttpRequestException)?.HttpRequestError;
        return error switch
        {
            // A head that is no head, or has no end: asking again brings the same.
            HttpRequestError.InvalidResponse or HttpRequestError.ConfigurationLimitExceeded or HttpRequestError.HttpProtocolError =>
                new(FillOutcome.Contradictory, _name, $"Its answer cannot be read: {exception.Message}", exception),
            HttpRequestError.SecureConnectionError => new(FillOutcome.Denied, _name, $"There is no trusted connection to it: {exception.Message}", exception),
            _ => new(FillOutcome.Unavailable, _name, exception is OperationCanceledException ? "No connection came about in time." : exception.Message, exception) { CanRetry = true },
        };
    }

    private static X509ChainPolicy TrustOnly(string caPath)
    {
        // A private authority publishes no revocations as a rule, and a handshake must not wait for a third party.
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        try
        {
            policy.CustomTrustStore.ImportFromPemFile(caPath);
        }
        catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new EdgeStartException($"CaPath '{caPath}' is not a PEM file of certificates: {exception.Message}", exception);
        }

        return policy.CustomTrustStore.Count > 0 ? policy : throw new EdgeStartException($"CaPath '{caPath}' holds no certificate.");
    }

    // False: no such object. What is neither that nor an answer to the question is thrown.
    private bool IsThere(HttpQuestion question, HttpResponseMessage response, ObjectRange? range)
    {
        var status = (int)response.StatusCode;
        if (question.Judge?.Invoke(response) is { } refusal)
            throw refusal;
        switch (status)
        {
            case 404 or 410:
                return false;
            case 416 when range is { } wanted:
                // RFC 9110 §15.5.17. An end behind the wanted start would have been no reason to refuse.
                if (UnsatisfiedLength(response) is { } end && end <= wanted.Offset)
                    throw new UpstreamException(FillOutcome.PastEnd, _name, $"The object has {end} bytes, and byte {wanted.Offset} was asked for.");
                throw Contradictory("It refused a range and did not say why in a way that can be believed.");
            case 408 or 429 or >= 500:
                // RFC 9110 §10.2.3: who says when to come back is not asked again before; so is who asks for less.
                var comeBack = response.Headers.NonValidated.Contains("Retry-After");
                throw new UpstreamException(FillOutcome.Unavailable, _name, $"It answered {status}.") { CanRetry = !comeBack && status is not (429 or 501 or 505) };
            case >= 400:
                throw new UpstreamException(FillOutcome.Denied, _name, $"It answered {status}.");
            case >= 300:
                throw Contradictory($"It answered {status}; redirects are not followed.");
            default:
                CheckCoding(response);
                return true;
        }
    }

    // RFC 9110 §8.4: ranges of a coded representation are ranges of other bytes.
    private void CheckCoding(HttpResponseMessage response)
    {
        if (response.Content.Headers.NonValidated.TryGetValues("Content-Encoding", out var codings) && codings.Any(c => !c.Trim().Equals("identity", StringComparison.OrdinalIgnoreCase)))
            throw Contradictory($"It sent the content coded ({codings}), which was not accepted.");
    }

    private (long Total, long Offset, long Length) Part(HttpResponseMessage response, ObjectRange range)
    {
        if (!response.Content.Headers.NonValidated.TryGetValues("Content-Range", out var values) || values.Count != 1)
            throw Contradictory("It sent a part without saying, or saying more than once, which one.");
        if (!ContentRangeField.TryParse(values.ToString(), out var first, out var last, out var total))
            throw Contradictory($"It sent a part with the unreadable Content-Range '{Shown(values.ToString())}'.");
        var length = last - first + 1;
        if (first != range.Offset || length != Math.Min(range.Length, total - first))
            throw Contradictory($"It sent bytes {first}-{last} of {total} where {range.Length} bytes from {range.Offset} were asked for.");
        if (ContentLength(response) is { } body && body != length)
            throw Contradictory($"It sent bytes {first}-{last} in a body of {body}.");
        return (total, first, length);
    }

    // RFC 9110 §14.2: a server may ignore Range.
    private (long Total, long Offset, long Length) Whole(HttpQuestion question, HttpResponseMessage response, ObjectRange range)
    {
        if (ContentLength(response) is not { } total)
            throw Contradictory("It sent the whole object where a part was asked for, and did not say how long that is.");
        if (range.Offset >= total)
            throw new UpstreamException(FillOutcome.PastEnd, _name, $"The object has {total} bytes, and byte {range.Offset} was asked for.");
        // Of another version than the expected one nobody reads the body: that it is there is the answer.
        if (range.Offset > MaxSkippedBytes && question.IsExpected?.Invoke(response, total) != false)
            throw Contradictory($"It sent the whole object where a part from byte {range.Offset} was asked for; at most {MaxSkippedBytes} bytes are skipped.");
        return (total, range.Offset, Math.Min(range.Length, total - range.Offset));
    }

    private long? ContentLength(HttpResponseMessage response)
    {
        if (!response.Content.Headers.NonValidated.TryGetValues("Content-Length", out var values))
            return null;
        // RFC 9112 §6.3: more than one value, or one that is no number, cannot be recovered from.
        return values.Count == 1 && ContentRangeField.TryParseNumber(values.ToString(), out var length) ? length : throw Contradictory($"It sent the Content-Length '{Shown(values.ToString())}'.");
    }

    private static long? UnsatisfiedLength(HttpResponseMessage response) =>
        response.Content.Headers.NonValidated.TryGetValues("Content-Range", out var values) && values.Count == 1 && ContentRangeField.TryParseUnsatisfied(values.ToString(), out var total)
            ? total
            : null;

    // What a stranger sent goes into the log in bounds.
    private static string Shown(string text) => text.Length <= 64 ? text : text[..64] + "…";
}

/// <summary>What is asked of an HTTP server.</summary>
/// <param name="Target">Path, and query if any, behind <see cref="HttpRangeClient.Base"/>.</param>
internal sealed record HttpQuestion(string Target)
{
    /// <summary>The asker's own fields.</summary>
    public IReadOnlyList<(string Name, string Value)> Fields { get; init; } = [];

    /// <summary>The strong entity-tag of the version that is expected; of another version the whole is sent, and its head says which (RFC 9110 §13.1.5).</summary>
    public string? IfRange { get; init; }

    /// <summary>Whether an answer of so many bytes is of the version that is expected; null when none is.</summary>
    public Func<HttpResponseMessage, long, bool>? IsExpected { get; init; }

    /// <summary>What an answer means beyond HTTP, before anything else is made of it; gives the failure that it stands for, or null.</summary>
    public Func<HttpResponseMessage, UpstreamException?>? Judge { get; init; }
}

/// <summary>A part of an object as an HTTP server gave it.</summary>
internal sealed record HttpPart(HttpResponseMessage Response, long Total, long Offset, long Length, Stream Content) : IAsyncDisposable
{
    /// <summary>A header's only value; null when there is none or more than one.</summary>
    public string? Header(string name) => Field(Response, name);

    public static string? Field(HttpResponseMessage response, string name) =>
        (response.Headers.NonValidated.TryGetValues(name, out var values) || response.Content.Headers.NonValidated.TryGetValues(name, out values)) && values.Count == 1 ? values.ToString() : null;

    public async ValueTask DisposeAsync()
    {
        await Content.DisposeAsync();
        Response.Dispose();
    }
}
