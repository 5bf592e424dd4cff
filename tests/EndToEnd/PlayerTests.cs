using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Delivery.EndToEnd.Tests.Players;

namespace Delivery.EndToEnd.Tests;

/// <summary>Real players on demo renditions, through the edge, by signed URL.</summary>
[Collection(nameof(DemoStack))]
public sealed class PlayerTests(DemoStack stack)
{
    /// <summary>Every codec, container and the hi-res rendition; of the longest track, so that a seek has somewhere to go.</summary>
    private IEnumerable<DemoRendition> Played =>
        stack.Renditions.Where(rendition => rendition.Track == Longest && rendition.Quality is "low" or "normal" or "veryhigh" or "lossless")
            .Concat(stack.Renditions.Where(rendition => rendition.Quality is "hires"));

    private string Longest => stack.Renditions.MaxBy(rendition => rendition.Bytes)!.Track;

    [Fact]
    public async Task FfmpegPlaysWhole_EverySampleIsThere()
    {
        foreach (var rendition in stack.Renditions)
        {
            var probe = JsonSerializer.Deserialize<JsonElement>(await RunAsync(
                "ffprobe", "-v", "error", "-show_entries", "format=duration,format_name:stream=codec_name,sample_rate", "-of", "json", rendition.Url.ToString()));
            var codec = probe.GetProperty("streams")[0].GetProperty("codec_name").GetString();
            Assert.Equal(rendition.Codec, codec);
            var duration = double.Parse(probe.GetProperty("format").GetProperty("duration").GetString()!, CultureInfo.InvariantCulture);
            var rate = int.Parse(probe.GetProperty("streams")[0].GetProperty("sample_rate").GetString()!, CultureInfo.InvariantCulture);

            var samples = await DecodedSamplesAsync(rendition.Url, rate);

            // ffmpeg 5.1 does not apply the edit list of a fragmented file: up to one frame of delay and one of padding remain.
            var slack = rendition.Codec == "aac" ? 2.0 * 1024 / rate : 0.001;
            Assert.InRange((double)samples / rate, duration - slack - 0.03, duration + slack + 0.03);
        }
    }

    [Fact]
    public async Task FfmpegSeeks_AndPlaysOn()
    {
        foreach (var rendition in Played)
        {
            var duration = double.Parse(
                (await RunAsync("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", rendition.Url.ToString())).Trim(), CultureInfo.InvariantCulture);
            var position = (duration * 0.8).ToString("0.000", CultureInfo.InvariantCulture);

            var samples = await DecodedSamplesAsync(rendition.Url, 8000, "-ss", position);

            // A fifth of the track is left; seeking lands on a page, fragment or frame, at most 4 s away (low's fragments).
            Assert.InRange(samples / 8000.0, (duration * 0.2) - 0.1, (duration * 0.2) + 4.1);
        }
    }

    [Fact]
    public async Task ChromiumPlays_AndSeeksTo80Percent()
    {
        await using var page = await AudioPage.OpenAsync();
        foreach (var rendition in Played.Where(rendition => rendition.Quality != "hires"))
        {
            var result = await page.PlayAsync(rendition.Url, TimeSpan.FromSeconds(30));

            Assert.True(result.Error is null, $"{rendition.Quality} {rendition.Codec}: {result.Error}");
            Assert.True(result.PlayedBeforeSeek > 0, $"{rendition.Quality} {rendition.Codec} did not start");
            Assert.True(result.PositionAfterSeek > result.Duration * 0.8, $"{rendition.Quality} {rendition.Codec}: {result.PositionAfterSeek} of {result.Duration}");
        }
    }

    private static async Task<long> DecodedSamplesAsync(Uri url, int rate, params string[] before)
    {
        using var process = Start("ffmpeg", ["-v", "error", .. before, "-i", url.ToString(), "-f", "s16le", "-ac", "1", "-ar", rate.ToString(CultureInfo.InvariantCulture), "-"]);
        var errors = process.StandardError.ReadToEndAsync();
        long bytes = 0;
        var buffer = new byte[256 * 1024];
        while (await process.StandardOutput.BaseStream.ReadAsync(buffer) is > 0 and var read)
            bytes += read;
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, await errors);
        return bytes / 2;
    }

    private static async Task<string> RunAsync(string tool, params string[] arguments)
    {
        using var process = Start(tool, arguments);
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{tool} {string.Join(' ', arguments)}: {await errors}");
        return output;
    }

    private static Process Start(string tool, params string[] arguments)
    {
        var process = Process.Start(new ProcessStartInfo(tool, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        process.StandardInput.Close();
        return process;
    }
}
