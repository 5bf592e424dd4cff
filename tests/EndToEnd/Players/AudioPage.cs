using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Playwright;

namespace Delivery.EndToEnd.Tests.Players;

/// <summary>What a browser's <c>audio</c> element did with a URL.</summary>
/// <param name="Error">Null when all went well; else the element's error and the last state seen.</param>
/// <param name="Duration">Seconds, by the element.</param>
/// <param name="PlayedBeforeSeek">Position reached from the start.</param>
/// <param name="PositionAfterSeek">Position reached after the seek to 80 %, while playing on.</param>
public sealed record PlaybackResult(string? Error, double Duration, double PlayedBeforeSeek, double PositionAfterSeek);

/// <summary>
/// Headless Chromium (Debian's) with a page that plays one URL at a time. The page has its own origin, and asks with
/// <c>crossorigin="anonymous"</c>, so the edge's CORS headers are used as a web player uses them.
/// </summary>
public sealed class AudioPage : IAsyncDisposable
{
    private const string Page = """
        <!doctype html><meta charset="utf-8"><title>player</title>
        <audio id="player" crossorigin="anonymous" preload="auto"></audio>
        """;

    private readonly IPlaywright _playwright;
    private readonly IBrowser _browser;
    private readonly IPage _page;
    private readonly WebApplication _site;

    private AudioPage(IPlaywright playwright, IBrowser browser, IPage page, WebApplication site) =>
        (_playwright, _browser, _page, _site) = (playwright, browser, page, site);

    public static async Task<AudioPage> OpenAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var site = builder.Build();
        site.MapGet("/", () => Results.Content(Page, "text/html"));
        await site.StartAsync();

        var playwright = await Playwright.CreateAsync();
        var browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = "/usr/bin/chromium",
            Headless = true,
            // Root needs no-sandbox; the rest keeps the browser from calling home and lets sound start without a click.
            Args =
            [
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--autoplay-policy=no-user-gesture-required",
            ],
        });
        var page = await browser.NewPageAsync();
        await page.GotoAsync(site.Urls.First());
        return new AudioPage(playwright, browser, page, site);
    }

    /// <summary>Plays from the start for a moment, seeks to 80 %, and plays on.</summary>
    public async Task<PlaybackResult> PlayAsync(Uri url, TimeSpan bound)
    {
        var started = Stopwatch.GetTimestamp();
        // A missing sound device is no fault of the file: a muted element keeps the same clock.
        await _page.EvaluateAsync("url => { const p = document.getElementById('player'); p.muted = true; p.src = url; p.load(); p.play().catch(e => p.dataset.refused = String(e)); }", url.ToString());
        var (error, played) = await WaitAsync("p => p.currentTime > 0.3 && p.duration > 0", started, bound);
        if (error is not null)
            return new PlaybackResult(error, 0, played, 0);
        var duration = await _page.EvaluateAsync<double>("() => document.getElementById('player').duration");

        await _page.EvaluateAsync("() => { const p = document.getElementById('player'); p.currentTime = p.duration * 0.8; }");
        (error, var position) = await WaitAsync("p => !p.seeking && p.currentTime > p.duration * 0.8 + 0.2", started, bound);
        return new PlaybackResult(error, duration, played, position);
    }

    public async ValueTask DisposeAsync()
    {
        await _browser.CloseAsync();
        _playwright.Dispose();
        await _site.DisposeAsync();
    }

    /// <summary>Waits for a condition on the element, or its error, or the bound; gives the position reached.</summary>
    private async Task<(string? Error, double Position)> WaitAsync(string condition, long started, TimeSpan bound)
    {
        var left = bound - Stopwatch.GetElapsedTime(started);
        string? error = null;
        try
        {
            await _page.WaitForFunctionAsync(
                $"() => {{ const p = document.getElementById('player'); return p.error !== null || ({condition})(p); }}",
                options: new PageWaitForFunctionOptions { Timeout = (float)Math.Max(1, left.TotalMilliseconds) });
        }
        catch (TimeoutException)
        {
            error = "not reached in time";
        }

        var state = await _page.EvaluateAsync<string>(
            "() => { const p = document.getElementById('player'); return p.error ? `error ${p.error.code} ${p.error.message}` : ''; }");
        if (state.Length > 0)
            error = state;
        if (error is not null)
            error += await _page.EvaluateAsync<string>(
                "() => { const p = document.getElementById('player'); return ` at ${p.currentTime} of ${p.duration}, readyState ${p.readyState}, networkState ${p.networkState} ${p.dataset.refused ?? ''}`; }");
        return (error, await _page.EvaluateAsync<double>("() => document.getElementById('player').currentTime"));
    }
}
