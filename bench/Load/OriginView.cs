using System.Globalization;
using System.Net;
using System.Text.Json;

namespace Delivery.Bench.Load;

/// <summary>The origin's counts, asked over its own paths. With no address it is silent: a contender that fills from elsewhere.</summary>
internal sealed class OriginView(string? address) : IDisposable
{
    private readonly HttpClient? _client = address is null ? null : new() { BaseAddress = new($"http://{address}"), Timeout = TimeSpan.FromSeconds(30) };

    public void Reset() => Ask("/_bench/reset");

    /// <summary>Counts, once the origin has answered all it was asked and for 300 ms nothing more came.</summary>
    public void Report(Dictionary<string, object> report)
    {
        if (_client is null)
            return;
        var last = "";
        for (var (same, tries) = (0, 0); same < 6 && tries < 600; tries++)
        {
            var now = Ask("/_bench/stats");
            same = now == last && now.Contains("\"active\":0", StringComparison.Ordinal) ? same + 1 : 0;
            last = now;
            Thread.Sleep(50);
        }

        foreach (var property in JsonDocument.Parse(last).RootElement.EnumerateObject())
            report[$"origin{char.ToUpperInvariant(property.Name[0])}{property.Name[1..]}"] = property.Value.GetInt64();
    }

    /// <summary>Per path: requests, and how long the first one waited between its arrival and the sending of its first byte (ticks of the monotonic clock, which all processes share).</summary>
    public Dictionary<string, (int Requests, long FirstWaited)> Waits()
    {
        var waits = new Dictionary<string, (int, long)>();
        foreach (var line in Ask("/_bench/log").Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var fields = line.Split(' ');
            waits[fields[0]] = waits.TryGetValue(fields[0], out var known) ? (known.Item1 + 1, known.Item2) : (1, Number(fields[4]) - Number(fields[3]));
        }

        return waits;
    }

    public void Dispose() => _client?.Dispose();

    private string Ask(string path)
    {
        if (_client is null)
            return "";
        using var response = _client.Send(new(HttpMethod.Get, path));
        if (response.StatusCode != HttpStatusCode.OK)
            throw new InvalidOperationException($"the origin answers {response.StatusCode} to {path}");
        using var reader = new StreamReader(response.Content.ReadAsStream());
        return reader.ReadToEnd();
    }

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
