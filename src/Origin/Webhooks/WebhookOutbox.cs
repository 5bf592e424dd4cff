using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Http.Headers;
using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Microsoft.Extensions.Logging;

namespace Delivery.Origin.Webhooks;

/// <summary>
/// Tells every receiver of every finished track, at least once, in no promised order. What is to be told stands in the track's manifest from the write
/// that ends the job until all receivers have taken it (2xx), so no crash loses it:
/// <code>
/// 1 track manifest: ready or failed, and the announcement
/// 2 sent to each receiver until it takes it, or patience ends
/// 3 track manifest: without the announcement
/// </code>
/// What another origin left behind is taken up at start, and later once it is old enough to be nobody's.
/// </summary>
internal sealed partial class WebhookOutbox : IDisposable
{
    /// <summary>Announcements of one track that wait; at the bound the oldest is dropped: its receiver is away, and the track has changed many times since.</summary>
    public const int MaxPerTrack = 16;

    /// <summary>Longest wait between two tries.</summary>
    private static readonly TimeSpan LongestDelay = TimeSpan.FromHours(1);

    /// <summary>Announcements in work; further ones wait in their manifests for a later round.</summary>
    private const int MaxPending = 10_000;

    /// <summary>Requests at once, over all receivers.</summary>
    private const int Concurrency = 8;

    private static readonly TimeSpan RoundInterval = TimeSpan.FromMinutes(1);

    /// <summary>An announcement this old that this origin does not send was left behind by another.</summary>
    private static readonly TimeSpan Abandoned = TimeSpan.FromMinutes(5);

    private readonly IReadOnlyList<WebhookTarget> _targets;
    private readonly CatalogStore _catalog;
    private readonly CatalogWatch _watch;
    private readonly ReadModel _model;
    private readonly OriginOptions _options;
    private readonly OriginMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<WebhookOutbox> _logger;
    private readonly SemaphoreSlim _sends = new(Concurrency);
    private readonly CancellationTokenSource _stopping = new();
    private readonly ConcurrentDictionary<string, Task> _pending = new(StringComparer.Ordinal);
    private readonly HttpClient _http;

    public WebhookOutbox(
        IReadOnlyList<WebhookTarget> targets, CatalogStore catalog, CatalogWatch watch, ReadModel model, OriginOptions options, OriginMetrics metrics, TimeProvider time, ILogger<WebhookOutbox> logger)
    {
        (_targets, _catalog, _watch, _model, _options, _metrics, _time, _logger) = (targets, catalog, watch, model, options, metrics, time, logger);
        var handler = new SocketsHttpHandler
        {
            // A redirect would carry the event to whom nobody configured.
            AllowAutoRedirect = false,
            UseCookies = false,
            MaxConnectionsPerServer = Concurrency,
            MaxResponseHeadersLength = 16,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        };
        _http = new HttpClient(handler) { Timeout = options.WebhookTimeout };
        _http.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("delivery-origin", null));
        metrics.WatchWebhooks(() => _pending.Count);
    }

    /// <summary>Adds to a track what its receivers must be told, for the write that makes it ready or failed.</summary>
    public TrackManifest Announce(TrackManifest ended)
    {
        var announcement = WebhookEvents.Of(ended);
        return _targets.Any(t => t.Wants(announcement.Type))
            ? ended with { Announcements = [.. (ended.Announcements ?? []).TakeLast(MaxPerTrack - 1), announcement] }
            : ended;
    }

    /// <summary>Sends what the track, as it was written, has to tell. Returns at once.</summary>
    public void Send(TrackManifest track)
    {
        foreach (var announcement in track.Announcements ?? [])
        {
            if (_targets.Count == 0 || _pending.Count >= MaxPending || _stopping.IsCancellationRequested)
                return;
            // Started under the dictionary's word alone: an announcement is sent by one task of this process.
            var start = new TaskCompletionSource();
            var sending = SendAsync(start.Task, track, announcement);
            if (_pending.TryAdd(announcement.Id, sending))
                start.SetResult();
            else
                start.SetCanceled();
        }
    }

    /// <summary>Takes up what other origins, or an earlier life of this one, left behind.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (_targets.Count == 0)
            return;
        using var stop = cancellationToken.Register(_stopping.Cancel);
        try
        {
            await _model.Built.WaitAsync(cancellationToken);
            await TakeUpAsync(DateTimeOffset.MaxValue, cancellationToken);
            using var timer = new PeriodicTimer(RoundInterval, _time);
            while (await timer.WaitForNextTickAsync(cancellationToken))
                await TakeUpAsync(_time.GetUtcNow() - Abandoned, cancellationToken);
        }
        finally
        {
            await Task.WhenAll(_pending.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public void Dispose()
    {
        _http.Dispose();
        _sends.Dispose();
        _stopping.Dispose();
    }

    private async Task TakeUpAsync(DateTimeOffset before, CancellationToken cancellationToken)
    {
        foreach (var track in _model.Tracks.Values)
        {
            if (track.AnnouncesSince is not { } since || since > before)
                continue;
            try
            {
                if (await _catalog.ReadTrackAsync(track.TrackId, cancellationToken) is { } manifest)
                    Send(manifest);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                LogNotTakenUp(_logger, e, track.TrackId); // The next round tries again.
            }
        }
    }

    private async Task SendAsync(Task start, TrackManifest track, Announcement announcement)
    {
        await start;
        try
        {
            var body = WebhookEvents.Body(track, announcement);
            await Task.WhenAll(_targets.Where(t => t.Wants(announcement.Type)).Select(target => SendAsync(target, announcement, body)));
            await ForgetAsync(track.TrackId, announcement.Id);
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            // It stands in the manifest still.
        }
        finally
        {
            _pending.TryRemove(announcement.Id, out _);
        }
    }

    /// <summary>Until the receiver has taken it, or patience ends.</summary>
    private async Task SendAsync(WebhookTarget target, Announcement announcement, byte[] body)
    {
        for (var tries = 0; ; tries++)
        {
            var failure = await TryAsync(target, announcement.Id, body);
            _metrics.CountWebhook(failure is null ? "delivered" : "refused");
            if (failure is null)
                return;
            if (_time.GetUtcNow() - announcement.At > _options.WebhookPatience)
            {
                _metrics.CountWebhook("gaveUp");
                LogGaveUp(_logger, announcement.Id, announcement.Type, target.Name, failure);
                return;
            }

            if (tries == 0)
                LogRefused(_logger, announcement.Id, announcement.Type, target.Name, failure);
            var delay = _options.WebhookRetryDelay * Math.Pow(2, Math.Min(tries, 20));
            // Spread, so that a receiver that comes back is not met by everything at once.
            await Task.Delay((delay < LongestDelay ? delay : LongestDelay) * (0.75 + (Random.Shared.NextDouble() / 2)), _time, _stopping.Token);
        }
    }

    /// <summary>Why it was not taken; null: it was.</summary>
    private async Task<string?> TryAsync(WebhookTarget target, string id, byte[] body)
    {
        await _sends.WaitAsync(_stopping.Token);
        try
        {
            var timestamp = _time.GetUtcNow().ToUnixTimeSeconds();
            using var request = new HttpRequestMessage(HttpMethod.Post, target.Url)
            {
                Content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } },
            };
            request.Headers.TryAddWithoutValidation("webhook-id", id);
            request.Headers.TryAddWithoutValidation("webhook-timestamp", timestamp.ToString(CultureInfo.InvariantCulture));
            request.Headers.TryAddWithoutValidation("webhook-signature", target.Sign(id, timestamp, body));
            // The status is all that counts: the answer's body is not read.
            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, _stopping.Token);
            return response.IsSuccessStatusCode ? null : $"it answered {(int)response.StatusCode}";
        }
        catch (Exception e) when (e is HttpRequestException or TaskCanceledException && !_stopping.IsCancellationRequested)
        {
            return e is HttpRequestException ? e.Message : $"it did not answer within {_options.WebhookTimeout.TotalSeconds} s";
        }
        finally
        {
            _sends.Release();
        }
    }

    private async Task ForgetAsync(string trackId, string id)
    {
        for (var backoff = new Backoff(_time); ;)
        {
            try
            {
                var track = await _catalog.UpdateTrackAsync(trackId, before =>
                {
                    if (before?.Announcements is not { } waiting || waiting.All(a => a.Id != id))
                        return before;
                    var left = waiting.Where(a => a.Id != id).ToList();
                    return before.Next(_time.GetUtcNow()) with { Announcements = left.Count > 0 ? left : null };
                }, _stopping.Token);
                if (track is not null)
                    _watch.Saw(track);
                return;
            }
            catch (CatalogCorruptException e)
            {
                LogNotTakenUp(_logger, e, trackId);
                return;
            }
            catch (Exception e) when (!_stopping.IsCancellationRequested)
            {
                LogNotTakenUp(_logger, e, trackId);
                await backoff.WaitAsync(_stopping.Token);
            }
        }
    }

    [LoggerMessage(2360, LogLevel.Warning, "Event {Id} ({Type}) was not taken by {Receiver}: {Reason}; it will be tried again")]
    private static partial void LogRefused(ILogger logger, string id, string type, string receiver, string reason);

    [LoggerMessage(2361, LogLevel.Error, "Event {Id} ({Type}) is given up: {Receiver} has not taken it: {Reason}")]
    private static partial void LogGaveUp(ILogger logger, string id, string type, string receiver, string reason);

    [LoggerMessage(2362, LogLevel.Warning, "What track {TrackId} has to tell cannot be read or cleared now; it will be tried again")]
    private static partial void LogNotTakenUp(ILogger logger, Exception exception, string trackId);
}
