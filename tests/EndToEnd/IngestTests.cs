using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text.Json;

namespace Delivery.EndToEnd.Tests;

/// <summary>Ingest as content ops see it: bad masters judged one by one, and kills that lose nothing.</summary>
public sealed class IngestTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-ingest-");

    private string Data => Path.Combine(_folder.FullName, "data");

    private string Masters => Path.Combine(_folder.FullName, "album");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task BadMasters_AreNamedOneByOne_AndGoodOnesArrive()
    {
        Directory.CreateDirectory(Masters);
        Tone.Write(Path.Combine(Masters, "01 Good.wav"), seconds: 2);
        await File.WriteAllTextAsync(Path.Combine(Masters, "02 Text.flac"), "this is not audio at all\n", TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(Path.Combine(Masters, "03 Nothing.wav"), [], TestContext.Current.CancellationToken);
        Tone.Write(Path.Combine(_folder.FullName, "whole.wav"), seconds: 5);
        await RunToolAsync("ffmpeg", "-v", "error", "-i", Path.Combine(_folder.FullName, "whole.wav"), Path.Combine(_folder.FullName, "whole.flac"));
        var flac = await File.ReadAllBytesAsync(Path.Combine(_folder.FullName, "whole.flac"), TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(Path.Combine(Masters, "04 Truncated.flac"), flac[..(flac.Length / 2)], TestContext.Current.CancellationToken);
        await using var stack = await StartAsync();

        var (code, output, _) = await DeliveryProcess.RunAsync("ingest", Masters, "--release", "odd", "--json", "--data", Data);

        Assert.NotEqual(0, code);
        var tracks = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonSerializer.Deserialize<JsonElement>(line)).ToList();
        Assert.Equal(["ready", "failed", "awaitingMaster", "failed"], tracks.Select(track => track.GetProperty("state").GetString()));
        Assert.Equal("unsupportedFormat", tracks[1].GetProperty("failure").GetString());
        Assert.Equal("refused", tracks[2].GetProperty("failure").GetString());
        Assert.Equal("corruptMaster", tracks[3].GetProperty("failure").GetString());
        Assert.All(tracks.Skip(1), track => Assert.NotEmpty(track.GetProperty("message").GetString()!));
    }

    [Fact]
    public async Task KilledWhileTranscoding_FinishesAfterTheNextStart()
    {
        Directory.CreateDirectory(Masters);
        Tone.Write(Path.Combine(Masters, "01 Long.wav"), seconds: 90);
        string apiKey;
        Uri origin;
        await using (var first = await StartAsync())
        {
            var (code, _, errors) = await DeliveryProcess.RunAsync("ingest", Masters, "--release", "killed", "--no-wait", "--data", Data);
            Assert.True(code == 0, errors);
            (origin, apiKey) = Endpoints();
            using var api = ApiClient(origin, apiKey);
            await WaitAsync(api, "killed-1", track => track.TryGetProperty("job", out var job) && job.GetProperty("phase").GetString() == "encode");
            first.Kill();
            await first.WaitForExitAsync(TimeSpan.FromSeconds(30));
        }

        await using var second = await StartAsync();
        (origin, apiKey) = Endpoints();
        using var again = ApiClient(origin, apiKey);
        await WaitAsync(again, "killed-1", track => track.GetProperty("state").GetString() == "ready");
        // The killed worker's folder is gone; the living one's is there, with nothing of the finished job in it.
        var work = Assert.Single(Directory.EnumerateDirectories(Path.Combine(Data, "work")));
        await UntilAsync(() => !Directory.EnumerateDirectories(work).Any(), $"{work} is not empty");
    }

    [Fact]
    public async Task FfmpegKilledInTheMiddle_IsTriedAgain()
    {
        Directory.CreateDirectory(Masters);
        Tone.Write(Path.Combine(Masters, "01 Long.wav"), seconds: 60);
        await using var stack = await StartAsync();
        var ingest = DeliveryProcess.RunAsync("ingest", Masters, "--release", "shot", "--json", "--data", Data);
        var (origin, apiKey) = Endpoints();
        using var api = ApiClient(origin, apiKey);
        await WaitAsync(api, "shot-1", track => track.TryGetProperty("job", out var job) && job.GetProperty("phase").GetString() == "encode");
        // The ffmpeg that works below this test's own data folder: its arguments name no folder, its working folder does.
        await UntilAsync(KillFfmpeg, "no ffmpeg works below the data folder");
        // Only a running job tells its attempt.
        await WaitAsync(api, "shot-1", track => track.GetProperty("job").TryGetProperty("attempt", out var attempt) && attempt.GetInt32() == 2);

        var (code, output, errors) = await ingest;

        Assert.True(code == 0, errors + output);
    }

    private bool KillFfmpeg()
    {
        var killed = false;
        foreach (var process in Process.GetProcessesByName("ffmpeg"))
        {
            using (process)
            {
                if (new FileInfo($"/proc/{process.Id}/cwd").LinkTarget?.StartsWith(Data, StringComparison.Ordinal) != true)
                    continue;
                process.Kill();
                killed = true;
            }
        }

        return killed;
    }

    private static HttpClient ApiClient(Uri origin, string apiKey) => new() { BaseAddress = origin, DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", apiKey) } };

    private static async Task WaitAsync(HttpClient api, string trackId, Func<JsonElement, bool> reached)
    {
        string last = "";
        await UntilAsync(
            async () =>
            {
                using var answer = await api.GetAsync($"/v1/tracks/{trackId}", TestContext.Current.CancellationToken);
                last = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
                // Before the ingest that runs beside this has named the track, it is unknown.
                if (answer.StatusCode == System.Net.HttpStatusCode.NotFound)
                    return false;
                var track = JsonSerializer.Deserialize<JsonElement>(last);
                Assert.True(track.GetProperty("state").GetString() != "failed", last);
                return reached(track);
            },
            () => last);
    }

    private static Task UntilAsync(Func<bool> reached, string otherwise) => UntilAsync(() => Task.FromResult(reached()), () => otherwise);

    private static async Task UntilAsync(Func<Task<bool>> reached, Func<string> otherwise)
    {
        var deadline = DateTime.UtcNow.AddMinutes(3);
        while (!await reached())
        {
            Assert.True(DateTime.UtcNow < deadline, otherwise());
            await Task.Delay(TimeSpan.FromMilliseconds(50), TestContext.Current.CancellationToken);
        }
    }

    private static async Task RunToolAsync(string tool, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(tool, arguments) { RedirectStandardInput = true, RedirectStandardError = true })!;
        process.StandardInput.Close();
        var error = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{tool}: {error}");
    }

    private async Task<DeliveryProcess> StartAsync()
    {
        var stack = DeliveryProcess.Start("up", "--json", "--data", Data, "--edge-port", "0", "--origin-port", "0");
        await stack.ReadJsonAsync(TimeSpan.FromSeconds(60));
        return stack;
    }

    private (Uri Origin, string ApiKey) Endpoints()
    {
        var up = JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(Path.Combine(Data, "up.json")));
        return (new Uri(up.GetProperty("origin").GetString()!), up.GetProperty("apiKey").GetString()!);
    }
}
