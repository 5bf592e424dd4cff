using System.Globalization;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>
/// Reads ffmpeg's log line by line for what ebur128, astats and silencedetect found. Tags of the master stand in the same log, before
/// <c>Stream mapping:</c>; whatever they imitate is forgotten there.
/// </summary>
internal sealed class MeasurementLog
{
    /// <summary>Later silences are not looked at; a track with more is noticed by its first.</summary>
    public const int MaxSilences = 1_000;

    private const string StatsPrefix = $"[astats@{FfmpegArguments.MasterStats} ";
    private const string LoudnessPrefix = $"[ebur128@{FfmpegArguments.MasterStats} ";
    private const string SilencePrefix = "[silencedetect";

    private readonly Dictionary<string, string> _stats = [];
    private readonly Dictionary<string, double> _loudness = [];
    private readonly List<Silence> _silences = [];
    private bool _inSummary;
    private string _section = "";

    public void Add(string line)
    {
        if (line.StartsWith("[info] Stream mapping:", StringComparison.Ordinal))
        {
            _stats.Clear();
            _loudness.Clear();
            _silences.Clear();
            _inSummary = false;
        }
        else if (line.StartsWith(LoudnessPrefix, StringComparison.Ordinal))
        {
            // Two summaries are printed; the first, of a filter that never ran, is empty. The last counts.
            _inSummary = line.EndsWith("Summary:", StringComparison.Ordinal);
            _loudness.Clear();
        }
        else if (line.StartsWith('['))
        {
            _inSummary = false;
            if (line.StartsWith(StatsPrefix, StringComparison.Ordinal))
                AddStat(line);
            else if (line.StartsWith(SilencePrefix, StringComparison.Ordinal) || line.StartsWith("[Parsed_silencedetect", StringComparison.Ordinal))
                AddSilence(line);
        }
        else if (_inSummary)
        {
            AddLoudness(line);
        }
    }

    /// <summary>Null when the log lacks a measurement: ffmpeg did not run to its end.</summary>
    public MasterMeasurement? Result()
    {
        if (Stat("Number of samples") is not { } samples || !_loudness.TryGetValue("I", out var integrated)
            || !_loudness.TryGetValue("LRA", out var range) || !_loudness.TryGetValue("True peak", out var truePeak))
        {
            return null;
        }

        return new MasterMeasurement
        {
            // Silence has no loudness: its peak is -inf, and JSON has no such number.
            Loudness = double.IsFinite(integrated) && double.IsFinite(range) && double.IsFinite(truePeak) ? new Loudness(integrated, range, truePeak) : null,
            Samples = (long)samples,
            PeakCount = Stat("Peak count") ?? 0,
            FlatFactor = Stat("Flat factor") ?? 0,
            DcOffset = Stat("DC offset") ?? 0,
            UsedBits = _stats.TryGetValue("Bit depth", out var depth) && int.TryParse(depth.Split('/')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var bits) ? bits : 0,
            NotNumbers = (Stat("Number of NaNs") ?? 0) + (Stat("Number of Infs") ?? 0),
            Silences = [.. _silences],
        };
    }

    private double? Stat(string name) => _stats.TryGetValue(name, out var text) && TryParse(text, out var value) ? value : null;

    private void AddStat(string line)
    {
        var text = line.AsSpan(line.LastIndexOf(']') + 1);
        var colon = text.IndexOf(':');
        if (colon > 0)
            _stats[text[..colon].Trim().ToString()] = text[(colon + 1)..].Trim().ToString();
    }

    private void AddLoudness(string line)
    {
        var text = line.Trim();
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
        if (name is "I" or "LRA" && TryParse(value, out var number))
            _loudness[name] = number;
        else if (name is "Peak" && TryParse(value, out var peak))
            _loudness[_section] = peak;
    }

    private void AddSilence(string line)
    {
        if (Value("silence_start:") is { } start && _silences.Count < MaxSilences)
            _silences.Add(new Silence(Math.Max(0, start), null));
        else if (Value("silence_end:") is { } end && _silences is [.., { End: null } last])
            _silences[^1] = last with { End = end };

        double? Value(string name)
        {
            var at = line.IndexOf(name, StringComparison.Ordinal);
            return at >= 0 && TryParse(line[(at + name.Length)..].Trim().Split(' ')[0], out var value) ? value : null;
        }
    }

    /// <summary>ffmpeg prints C's <c>-inf</c>, <c>inf</c>, <c>nan</c> and <c>-nan</c>, which .NET does not read.</summary>
    private static bool TryParse(string text, out double value)
    {
        switch (text)
        {
            case "inf":
                value = double.PositiveInfinity;
                return true;
            case "-inf":
                value = double.NegativeInfinity;
                return true;
            case "nan" or "-nan":
                value = double.NaN;
                return true;
            default:
                return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
        }
    }
}
