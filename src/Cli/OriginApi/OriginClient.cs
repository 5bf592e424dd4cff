using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using Delivery.Cli.CommandLine;
using Delivery.Origin.Api;
using Delivery.Origin.Playback;

namespace Delivery.Cli.OriginApi;

/// <summary>The origin's HTTP API (docs/api.md) as the commands use it. Every failure becomes a <see cref="CliException"/> in words.</summary>
internal sealed class OriginClient : IDisposable
{
    /// <summary>The origin answers everything but uploads within its own 30 s bound.</summary>
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(60);

    private readonly HttpClient _http;

    public OriginClient(Uri address, string apiKey)
    {
        // Uploads take as long as they take: they are bounded by the origin's least data rate, not by a clock here.
        _http = new HttpClient(new SocketsHttpHandler { UseCookies = false, AllowAutoRedirect = false }) { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);
    }

    public Task<ReleaseStatus> PutReleaseAsync(string releaseId, JsonObject document, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Put, $"/v1/releases/{Escape(releaseId)}", JsonContent.Create(document), ApiJson.Default.ReleaseStatus, cancellationToken);

    public Task<ReleaseStatus> GetReleaseAsync(string releaseId, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, $"/v1/releases/{Escape(releaseId)}", null, ApiJson.Default.ReleaseStatus, cancellationToken);

    public Task<TrackStatus> GetTrackAsync(string trackId, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, $"/v1/tracks/{Escape(trackId)}", null, ApiJson.Default.TrackStatus, cancellationToken);

    public Task<PlaybackAnswer> PlayAsync(PlaybackRequest request, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Post, "/v1/playback", JsonContent.Create(request, ApiJson.Default.PlaybackRequest), ApiJson.Default.PlaybackAnswer, cancellationToken);

    /// <summary>All releases, page by page.</summary>
    public IAsyncEnumerable<ReleaseSummary> ListReleasesAsync(CancellationToken cancellationToken) =>
        ListAsync("/v1/releases", ApiJson.Default.ReleasePage, page => (page.Releases, page.Next), cancellationToken);

    /// <summary>Uploads a master; the origin checks the digest before it accepts.</summary>
    public async Task<TrackStatus> PutMasterAsync(
        string releaseId, string trackId, string filename, string contentType, Stream content, byte[] sha256, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(
            HttpMethod.Put, $"/v1/releases/{Escape(releaseId)}/tracks/{Escape(trackId)}/master?filename={Escape(filename)}")
        {
            Content = new StreamContent(content, 128 * 1024),
        };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue(contentType);
        request.Content.Headers.ContentLength = content.Length;
        // RFC 9530: a structured-field dictionary of byte sequences.
        request.Content.Headers.TryAddWithoutValidation("Repr-Digest", $"sha-256=:{Convert.ToBase64String(sha256)}:");
        // So that a refusal (unknown track, full disk) arrives before the body has been sent in vain.
        request.Headers.ExpectContinue = true;
        return await SendAsync(request, ApiJson.Default.TrackStatus, cancellationToken);
    }

    /// <summary>Queues a failed job again.</summary>
    public Task<JobStatus> RetryJobAsync(string jobId, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Post, $"/v1/jobs/{Escape(jobId)}:retry", null, ApiJson.Default.JobStatus, cancellationToken);

    public Task<LadderList> ListLaddersAsync(CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, "/v1/ladders", null, ApiJson.Default.LadderList, cancellationToken);

    /// <summary>A ladder as the origin has it.</summary>
    public Task<JsonElement> GetLadderAsync(string name, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, $"/v1/ladders/{Escape(name)}", null, CliJson.Default.JsonElement, cancellationToken);

    /// <summary>Adds a ladder for good.</summary>
    public Task<JsonElement> PutLadderAsync(string name, byte[] json, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Put, $"/v1/ladders/{Escape(name)}", JsonOf(json), CliJson.Default.JsonElement, cancellationToken);

    /// <summary>Orders a backfill, or joins the one that runs.</summary>
    public Task<BackfillStatus> StartBackfillAsync(string ladder, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Post, "/v1/backfills", JsonContent.Create(new JsonObject { ["ladder"] = ladder }), ApiJson.Default.BackfillStatus, cancellationToken);

    public Task<BackfillStatus> GetBackfillAsync(string id, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, $"/v1/backfills/{Escape(id)}", null, ApiJson.Default.BackfillStatus, cancellationToken);

    public Task<BackfillStatus> CancelBackfillAsync(string id, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Delete, $"/v1/backfills/{Escape(id)}", null, ApiJson.Default.BackfillStatus, cancellationToken);

    public Task<BackfillList> ListBackfillsAsync(CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Get, "/v1/backfills", null, ApiJson.Default.BackfillList, cancellationToken);

    /// <summary>Ends a job that waits or runs.</summary>
    public Task<JobStatus> CancelJobAsync(string jobId, CancellationToken cancellationToken) =>
        AnswerAsync(HttpMethod.Post, $"/v1/jobs/{Escape(jobId)}:cancel", null, ApiJson.Default.JobStatus, cancellationToken);

    /// <summary>All jobs, page by page.</summary>
    /// <param name="phase">As the API writes it; null: all.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public IAsyncEnumerable<JobStatus> ListJobsAsync(string? phase, CancellationToken cancellationToken) =>
        ListAsync(phase is null ? "/v1/jobs" : $"/v1/jobs?phase={Escape(phase)}", ApiJson.Default.JobPage, page => (page.Jobs, page.Next), cancellationToken);

    /// <summary>The public path of a track's rendition.</summary>
    public async Task<string> FindRenditionPathAsync(string trackId, string quality, string? codec, CancellationToken cancellationToken)
    {
        var track = await GetTrackAsync(trackId, cancellationToken);
        if (track.Published is not { } published)
            throw new CliException(ExitCode.Failed, $"track {trackId} has no renditions yet; it is {ApiWord.Of(track.State)}");
        return published.Renditions.FirstOrDefault(rendition => rendition.Quality == quality && (codec is null || rendition.Codec == codec))?.Path
            ?? throw new CliException(
                ExitCode.Failed,
                $"track {trackId} has no such rendition; it has {string.Join(", ", published.Renditions.Select(rendition => $"{rendition.Quality} {rendition.Codec}"))}");
    }

    public void Dispose() => _http.Dispose();

    private static ByteArrayContent JsonOf(byte[] json) => new(json) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };

    private async IAsyncEnumerable<TItem> ListAsync<TPage, TItem>(
        string path, JsonTypeInfo<TPage> type, Func<TPage, (IReadOnlyList<TItem> Items, string? Next)> read, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (string? next = path; next is not null;)
        {
            (var items, next) = read(await AnswerAsync(HttpMethod.Get, next, null, type, cancellationToken));
            foreach (var item in items)
                yield return item;
        }
    }

    private static string Escape(string text) => Uri.EscapeDataString(text);

    private async Task<T> AnswerAsync<T>(HttpMethod method, string path, HttpContent? content, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, path) { Content = content };
        using var bounded = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        bounded.CancelAfter(AnswerTimeout);
        try
        {
            return await SendAsync(request, type, bounded.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new OriginAwayException($"the origin {_http.BaseAddress} did not answer within {AnswerTimeout.TotalSeconds} s", inner: e);
        }
    }

    private async Task<T> SendAsync<T>(HttpRequestMessage request, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        try
        {
            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
            if (!response.IsSuccessStatusCode)
                throw await RefusalAsync(response, cancellationToken);
            return await response.Content.ReadFromJsonAsync(type, cancellationToken)
                ?? throw new CliException(ExitCode.Unreachable, $"the origin {_http.BaseAddress} gave an empty answer");
        }
        catch (Exception e) when (e is HttpRequestException or HttpIOException)
        {
            // HttpIOException: the connection broke in the middle of the answer, as when the origin is killed.
            throw new OriginAwayException($"the origin {_http.BaseAddress} cannot be reached: {e.Message}", inner: e);
        }
        catch (JsonException e)
        {
            throw new CliException(ExitCode.Unreachable, $"{_http.BaseAddress} does not answer as an origin does: {e.Message}", e);
        }
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response) =>
        response.Headers.RetryAfter is { Delta: { } seconds } ? seconds : response.Headers.RetryAfter is { Date: { } date } && date > DateTimeOffset.UtcNow ? date - DateTimeOffset.UtcNow : null;

    private static async Task<CliException> RefusalAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        try
        {
            if (await response.Content.ReadFromJsonAsync(ApiJson.Default.ProblemDocument, cancellationToken) is { } problem)
            {
                var lines = problem.Errors is { } errors ? string.Concat(errors.Select(error => $"\n  - {error.Pointer}: {error.Detail}")) : "";
                return Of($"the origin says: {problem.Detail}{lines}");
            }
        }
        catch (Exception e) when (e is JsonException or HttpRequestException or IOException)
        {
            // Not a problem document (a proxy's page, a broken connection): the status has to do.
        }

        return Of($"the origin answered {(int)response.StatusCode} {response.ReasonPhrase}");

        CliException Of(string message) => response.StatusCode switch
        {
            // What says of itself that it passes. A full or refusing store does not, until somebody does something about it.
            HttpStatusCode.TooManyRequests or HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout => new OriginAwayException(message, RetryAfter(response)),
            >= HttpStatusCode.InternalServerError => new CliException(ExitCode.Unreachable, message),
            _ => new CliException(ExitCode.Refused, message),
        };
    }
}
