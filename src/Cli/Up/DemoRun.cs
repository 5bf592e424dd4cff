using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Demo;
using Delivery.Cli.Ingest;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Playback;
using Spectre.Console;

namespace Delivery.Cli.Up;

/// <summary>One rendition of the demo, played through the edge.</summary>
internal sealed record DemoLine(
    string Track, string Quality, string Codec, string FileId, long Bytes, int Bitrate, double ColdFirstByteMs, double WarmFirstByteMs, string Url);

internal sealed record DemoEnd(string Demo);

/// <summary>
/// The main job once through, by the same calls that users make: render the album, ingest it, wait for the farm, ask for grants, and play every
/// rendition from the edge, comparing each byte's digest with the file's name.
/// </summary>
internal sealed class DemoRun(LocalStack stack, DataFolder data, CommandContext context)
{
    /// <summary>What open Spotify clients ask first.</summary>
    private const int FirstRangeBytes = 64 * 1024;

    /// <summary>Warm requests per rendition; the median is printed.</summary>
    private const int WarmRequests = 5;

    private readonly Dictionary<string, double> _coldByFile = new(StringComparer.Ordinal);

    /// <returns>The exit code: 0 only if every track is ready and every byte was right.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        await RenderAsync(cancellationToken);
        using var origin = new OriginClient(new Uri(stack.Endpoints.Origin), stack.Endpoints.ApiKey);
        var folder = ReleaseFolder.Read(data.Demo, null);
        // Its lines would mix with the demo's own: what is printed here is the demo's table.
        var ingest = await new FolderIngest(origin, new CommandContext(TextWriter.Null, context.Error, json: false), TimeSpan.Zero).RunAsync(folder, wait: true, cancellationToken);
        if (ingest != ExitCode.Ok)
        {
            var release = await origin.GetReleaseAsync(folder.ReleaseId, cancellationToken);
            foreach (var track in release.Tracks.Where(track => track.Failure is not null))
                context.Warn($"{track.TrackId}: {ApiWord.Of(track.Failure!.Code)}: {track.Failure.Message}");
            return ExitCode.Failed;
        }

        using var http = new HttpClient(new SocketsHttpHandler { UseCookies = false });
        await WarmUpClientAsync(http, cancellationToken);
        var lines = new List<DemoLine>();
        var right = true;
        foreach (var track in folder.Tracks)
        {
            foreach (var quality in (string[])["hires", "preview"])
            {
                var grant = await origin.PlayAsync(new PlaybackRequest { TrackId = track.TrackId, Quality = quality, Tier = "premium" }, cancellationToken);
                foreach (var rendition in grant.Renditions)
                {
                    var line = await PlayAsync(http, track.TrackId, rendition, cancellationToken);
                    lines.Add(line);
                    right &= await IsRightAsync(http, line, cancellationToken);
                    if (context.Json)
                        context.WriteJson(line, CliJson.Default.DemoLine);
                }
            }
        }

        if (context.Json)
            context.WriteJson(new DemoEnd(right ? "done" : "failed"), CliJson.Default.DemoEnd);
        else
            Print(folder, lines);
        return right ? ExitCode.Ok : ExitCode.Failed;
    }

    private async Task RenderAsync(CancellationToken cancellationToken)
    {
        await context.Progress.Progress().AutoClear(true)
            .StartAsync(async progress =>
            {
                var bar = progress.AddTask("rendering the demo album", maxValue: 1);
                await Task.Run(() => DemoAlbum.Write(data.Demo, new Progress<double>(done => bar.Value = done), cancellationToken), cancellationToken);
            });
    }

    /// <summary>The first request of a process pays for its compilation and its connection, which no listener pays; a refused one costs the cache nothing.</summary>
    private async Task WarmUpClientAsync(HttpClient http, CancellationToken cancellationToken)
    {
        for (var i = 0; i < 20; i++)
        {
            using var refused = await http.GetAsync(new Uri($"{stack.Endpoints.Edge}/audio/unsigned.ogg"), cancellationToken);
            if (refused.StatusCode != HttpStatusCode.Forbidden)
                context.Warn($"the edge answered {(int)refused.StatusCode} to an unsigned request");
        }
    }

    private async Task<DemoLine> PlayAsync(HttpClient http, string trackId, GrantedRendition rendition, CancellationToken cancellationToken)
    {
        var url = rendition.Urls[0];
        var fileId = Path.GetFileNameWithoutExtension(new Uri(url).AbsolutePath);
        // A short track's preview is the very file of its normal rendition: it is cold only once.
        if (!_coldByFile.TryGetValue(fileId, out var cold))
            _coldByFile[fileId] = cold = await FirstByteAsync(http, url, cancellationToken);
        var warm = new double[WarmRequests];
        for (var i = 0; i < warm.Length; i++)
            warm[i] = await FirstByteAsync(http, url, cancellationToken);
        Array.Sort(warm);
        return new DemoLine(trackId, rendition.Quality, rendition.Codec, fileId, rendition.Bytes, rendition.Bitrate, cold, warm[WarmRequests / 2], url);
    }

    /// <summary>Milliseconds from sending the request to the body's first byte.</summary>
    private static async Task<double> FirstByteAsync(HttpClient http, string url, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, url) { Headers = { Range = new RangeHeaderValue(0, FirstRangeBytes - 1) } };
        var buffer = new byte[FirstRangeBytes];
        var started = Stopwatch.GetTimestamp();
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        await using var body = await response.Content.ReadAsStreamAsync(cancellationToken);
        var read = await body.ReadAsync(buffer, cancellationToken);
        var elapsed = Stopwatch.GetElapsedTime(started);
        if (response.StatusCode != HttpStatusCode.PartialContent || read == 0)
            throw new CliException(ExitCode.Failed, $"the edge answered {(int)response.StatusCode} to {url}");
        while (await body.ReadAsync(buffer, cancellationToken) > 0)
        {
            // To the end, so that the connection serves the next request.
        }

        return Math.Round(elapsed.TotalMilliseconds, 3);
    }

    private async Task<bool> IsRightAsync(HttpClient http, DemoLine line, CancellationToken cancellationToken)
    {
        using var response = await http.GetAsync(new Uri(line.Url), HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        await using var body = await response.Content.ReadAsStreamAsync(cancellationToken);
        var digest = Convert.ToHexStringLower(await SHA256.HashDataAsync(body, cancellationToken));
        if (response.StatusCode == HttpStatusCode.OK && response.Content.Headers.ContentLength == line.Bytes && digest.StartsWith(line.FileId, StringComparison.Ordinal))
            return true;
        context.Warn($"{line.Track} {line.Quality} {line.Codec}: wrong bytes from the edge ({(int)response.StatusCode}, {response.Content.Headers.ContentLength} bytes, SHA-256 {digest})");
        return false;
    }

    private void Print(ReleaseFolder folder, List<DemoLine> lines)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("track", "quality", "codec")
            .AddColumn(new TableColumn("size").RightAligned())
            .AddColumn(new TableColumn("kbit/s").RightAligned())
            .AddColumn(new TableColumn("first byte cold").RightAligned())
            .AddColumn(new TableColumn("warm").RightAligned());
        foreach (var line in lines)
        {
            table.AddRow(
                Markup.Escape(folder.Tracks.First(track => track.TrackId == line.Track).Title), line.Quality, line.Codec,
                string.Create(CultureInfo.InvariantCulture, $"{line.Bytes / 1000.0:N0} kB"),
                string.Create(CultureInfo.InvariantCulture, $"{line.Bitrate / 1000.0:N0}"),
                string.Create(CultureInfo.InvariantCulture, $"{line.ColdFirstByteMs:0.00} ms"),
                string.Create(CultureInfo.InvariantCulture, $"{line.WarmFirstByteMs:0.00} ms"));
        }

        context.Console.Write(table);
        context.Output.WriteLine("Play one (the URLs are signed and expire):");
        foreach (var line in lines.Where(line => line is { Quality: "veryhigh", Codec: "vorbis" }))
            context.Output.WriteLine($"  ffplay '{line.Url}'");
        context.Output.Flush();
    }
}
