using System.Diagnostics;
using System.Text.Json;

namespace Delivery.HttpCache.Tests;

/// <summary>
/// The npm package <c>http-cache-tests</c>, as its lock file pins it, installed below the build's output: its origin server, its client, and its list of tests.
/// </summary>
internal sealed class CacheSuite : IAsyncDisposable
{
    private static readonly JsonSerializerOptions Reading = new() { PropertyNameCaseInsensitive = true };
    private static readonly TimeSpan Bound = TimeSpan.FromMinutes(4);

    private readonly string _package;
    private readonly Process _server;

    private CacheSuite(string package, IReadOnlyList<SuiteTest> tests, Process server, Uri origin) => (_package, Tests, _server, Origin) = (package, tests, server, origin);

    public IReadOnlyList<SuiteTest> Tests { get; }

    /// <summary>Where the suite's server listens.</summary>
    public Uri Origin { get; }

    public static async Task<CacheSuite> StartAsync()
    {
        var folder = Path.Combine(AppContext.BaseDirectory, "suite");
        var installed = Path.Combine(folder, "node_modules", ".package-lock.json");
        if (!File.Exists(installed) || File.GetLastWriteTimeUtc(installed) < File.GetLastWriteTimeUtc(Path.Combine(folder, "package-lock.json")))
            await RunAsync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, []);
        var tests = JsonSerializer.Deserialize<List<SuiteTest>>(await RunAsync("node", ["describe.mjs"], folder, []), Reading)!;
        var package = Path.Combine(folder, "node_modules", "http-cache-tests");
        var server = Start("node", ["server/server.mjs"], package, new() { ["npm_config_protocol"] = "http", ["npm_config_port"] = "0", ["npm_config_pidfile"] = "server.pid" });
        try
        {
            // "Listening on http://[::]:43215/"
            var line = await server.StandardOutput.ReadLineAsync().WaitAsync(Bound) ?? throw new InvalidOperationException("The suite's server ended: " + await server.StandardError.ReadToEndAsync());
            var port = new Uri(line[(line.LastIndexOf(' ') + 1)..]).Port;
            // It tells of every odd request; a full pipe would stop it.
            _ = server.StandardOutput.ReadToEndAsync();
            _ = server.StandardError.ReadToEndAsync();
            return new(package, tests, server, new($"http://127.0.0.1:{port}"));
        }
        catch
        {
            server.Kill();
            throw;
        }
    }

    /// <summary>Runs every test against a cache; what each came to, by id: <c>true</c>, or what went wrong.</summary>
    public async Task<IReadOnlyDictionary<string, JsonElement>> RunAsync(Uri cache)
    {
        var output = await RunAsync(
            "node", ["--no-warnings", "cli.mjs"], _package, new() { ["npm_config_base"] = cache.GetLeftPart(UriPartial.Authority), ["npm_package_config_id"] = "" });
        // Before the results, the client may complain of a response.
        return JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(output[(output.StartsWith('{') ? 0 : output.IndexOf("\n{", StringComparison.Ordinal) + 1)..])!;
    }

    public async ValueTask DisposeAsync()
    {
        _server.Kill();
        await _server.WaitForExitAsync();
        _server.Dispose();
    }

    private static Process Start(string program, string[] arguments, string folder, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(program) { WorkingDirectory = folder, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return Process.Start(start)!;
    }

    private static async Task<string> RunAsync(string program, string[] arguments, string folder, Dictionary<string, string> environment)
    {
        using var process = Start(program, arguments, folder, environment);
        using var bound = new CancellationTokenSource(Bound);
        try
        {
            var error = process.StandardError.ReadToEndAsync(bound.Token);
            var output = await process.StandardOutput.ReadToEndAsync(bound.Token);
            await process.WaitForExitAsync(bound.Token);
            return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {await error}");
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} {string.Join(' ', arguments)} did not end within {Bound}.");
        }
    }
}

/// <summary>One test of the suite.</summary>
/// <param name="Kind"><c>required</c>, <c>optimal</c> or <c>check</c>.</param>
/// <param name="DependsOn">Tests without whose success this one says nothing.</param>
/// <param name="BrowserOnly">Not run against a proxy.</param>
internal sealed record SuiteTest(string Id, string Suite, string Kind, IReadOnlyList<string> DependsOn, bool BrowserOnly);
