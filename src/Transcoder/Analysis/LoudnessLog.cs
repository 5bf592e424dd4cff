namespace Delivery.Transcoder.Analysis;

/// <summary>Reads the summaries of named ebur128 filters (<c>ebur128@name</c>) from ffmpeg's log, line by line.</summary>
internal sealed class LoudnessLog
{
    private const string Prefix = "[ebur128@";

    private readonly Dictionary<string, Dictionary<string, double>> _summaries = [];
    private Dictionary<string, double>? _summary;
    private string _section = "";

    /// <summary>Integrated loudness of each filter in LUFS.</summary>
    public IReadOnlyDictionary<string, double> Lufs => _summaries.Where(s => s.Value.ContainsKey("I")).ToDictionary(s => s.Key, s => s.Value["I"]);

    /// <summary>One value of one filter: <c>I</c>, <c>LRA</c>, <c>Sample peak</c> or <c>True peak</c>; null when it was not printed.</summary>
    public double? Value(string filter, string name) => _summaries.TryGetValue(filter, out var summary) && summary.TryGetValue(name, out var value) ? value : null;

    public void Clear()
    {
        _summaries.Clear();
        _summary = null;
    }

    public void Add(string line)
    {
        if (line.StartsWith(Prefix, StringComparison.Ordinal))
        {
            // Two summaries are printed; the first, of a filter that never ran, is empty. The last counts.
            var end = line.IndexOf(' ', StringComparison.Ordinal);
            _summary = end > 0 && line.EndsWith("Summary:", StringComparison.Ordinal) ? _summaries[line[Prefix.Length..end]] = [] : null;
        }
        else if (line.StartsWith('['))
        {
            _summary = null;
        }
        else if (_summary is not null)
        {
            AddValue(_summary, line.Trim());
        }
    }

    private void AddValue(Dictionary<string, double> summary, string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon == text.Length - 1)
        {
            _section = text[..colon];
            return;
        }

        if (colon <= 0)
            return;
        var name = text[..colon];
        var value = text[(colon + 1)..].Trim().Split(' ')[0];
        // "Peak" stands in two sections, "Threshold" as well.
        if (name is "I" or "LRA" && LogNumbers.TryParse(value, out var number))
            summary[name] = number;
        else if (name is "Peak" && LogNumbers.TryParse(value, out var peak))
            summary[_section] = peak;
    }
}
