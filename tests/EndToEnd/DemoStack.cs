using System.Text.Json;

namespace Delivery.EndToEnd.Tests;

/// <summary>One rendition of the demo as <c>up --demo --json</c> prints it.</summary>
public sealed record DemoRendition(string Track, string Quality, string Codec, string FileId, long Bytes, int Bitrate, double ColdFirstByteMs, double WarmFirstByteMs, Uri Url);

/// <summary>
/// <c>delivery up --demo --json</c> as a newcomer runs it, on free ports and a fresh folder: real process, real ffmpeg, real edge. Started once
/// for all tests that only look at it.
/// </summary>
public sealed class DemoStack : IAsyncLifetime
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-e2e-");
    private DeliveryProcess? _process;

    public string Data => Path.Combine(_folder.FullName, "data");

    public Uri Edge { get; private set; } = null!;

    public Uri Origin { get; private set; } = null!;

    public string ApiKey { get; private set; } = "";

    public IReadOnlyList<DemoRendition> Renditions { get; private set; } = [];

    public string? End { get; private set; }

    public async ValueTask InitializeAsync()
    {
        _process = DeliveryProcess.Start("up", "--demo", "--json", "--data", Data, "--edge-port", "0", "--origin-port", "0");
        var ready = await _process.ReadJsonAsync(TimeSpan.FromSeconds(60));
        Edge = new Uri(ready.GetProperty("edge").GetString()!);
        Origin = new Uri(ready.GetProperty("origin").GetString()!);
        ApiKey = ready.GetProperty("apiKey").GetString()!;
        var renditions = new List<DemoRendition>();
        while (true)
        {
            // Rendering and encoding four minutes of music on two busy cores.
            var line = await _process.ReadJsonAsync(TimeSpan.FromMinutes(5));
            if (line.TryGetProperty("demo", out var end))
            {
                End = end.GetString();
                break;
            }

            renditions.Add(line.Deserialize<DemoRendition>(JsonSerializerOptions.Web)!);
        }

        Renditions = renditions;
    }

    /// <summary>A command against this stack, with a fresh process.</summary>
    public Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments) => DeliveryProcess.RunAsync([.. arguments, "--data", Data]);

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
            await _process.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}

[CollectionDefinition(nameof(DemoStack))]
public sealed class DemoCollection : ICollectionFixture<DemoStack>;
