using System.Globalization;

namespace Delivery.Bench.Load;

/// <summary>What the edge itself counts: the difference of some of its metrics over a run. A metric that it does not have is not reported.</summary>
internal sealed class EdgeMetrics(string? admin) : IDisposable
{
    private static readonly (string Metric, string Name)[] s_wanted =
    [
        ("delivery_edge_filled_bytes_total", "edgeFilled"), ("delivery_edge_missed_bytes_total", "edgeMissed"), ("delivery_edge_sent_bytes_total", "edgeSent"),
    ];

    private readonly HttpClient? _client = admin is null ? null : new() { BaseAddress = new($"http://{admin}"), Timeout = TimeSpan.FromSeconds(10) };
    private Dictionary<string, double> _before = [];

    public void Start() => _before = Read();

    public void Report(Dictionary<string, object> report)
    {
        var now = Read();
        foreach (var (metric, name) in s_wanted)
        {
            if (now.TryGetValue(metric, out var value))
                report[name] = (long)(value - _before.GetValueOrDefault(metric));
        }
    }

    public void Dispose() => _client?.Dispose();

    // The sum over a metric's series: name{labels} value.
    private Dictionary<string, double> Read()
    {
        var sums = new Dictionary<string, double>();
        if (_client is null)
            return sums;
        using var response = _client.Send(new(HttpMethod.Get, "/metrics"));
        using var reader = new StreamReader(response.Content.ReadAsStream());
        while (reader.ReadLine() is { } line)
        {
            var name = line[..Math.Max(0, line.AsSpan().IndexOfAny('{', ' '))];
            if (name.Length > 0 && double.TryParse(line.AsSpan(line.LastIndexOf(' ') + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
                sums[name] = sums.GetValueOrDefault(name) + value;
        }

        return sums;
    }
}
