using System.Globalization;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Analysis;

/// <summary>
/// Reads ffmpeg's log line by line for what ebur128, astats and silencedetect found. Tags of the master stand in the same log, before
/// <c>Stream mapping:</c>; whatever they imitate is forgotten there.
/// </summary>
internal sealed class MeasurementLog
{
    /// <summary>Of more, the last takes the place of the one before: the end of a track must be known.</summary>
    public const int MaxSilences = 100;

    /// <summary>Shortest master whose loudness range is told (EBU Tech 3342 §2: "not suitable for less than one minute").</summary>
    public static readonly TimeSpan MinRangeDuration = TimeSpan.FromMinutes(1);

    /// <summary>EBU R128's absolute gate, and what ebur128 prints when nothing passed it.</summary>
    public const double GateLufs = -70;

    private const string StatsPrefix = $"[astats@{FfmpegArguments.MasterStats} ";
    private const string SilencePrefix = "[silencedetect";

    private readonly LoudnessLog _loudness = new();
    private readonly Dictionary<string, string> _overall = [];
    private readonly List<Dictionary<string, string>> _channels = [];
    private readonly List<Silence> _silences = [];
    private Dictionary<string, string>? _stats;

    public void Add(string line)
    {
        if (line.StartsWith("[info] Stream mapping:", StringComparison.Ordinal))
        {
            _loudness.Clear();
            _overall.Clear();
            _channels.Clear();
            _silences.Clear();
            _stats = null;
            return;
        }

        _loudness.Add(line);
        if (line.StartsWith(StatsPrefix, StringComparison.Ordinal))
            AddStat(line);
        else if (line.StartsWith(SilencePrefix, StringComparison.Ordinal) || line.StartsWith("[Parsed_silencedetect", StringComparison.Ordinal))
            AddSilence(line);
    }

    /// <summary>Null when the log lacks a measurement: ffmpeg did not run to its end.</summary>
    public MasterMeasurement? Result(MasterProbe master)
    {
        if (Number(_overall, "Number of samples") is not { } samples || _loudness.Value(FfmpegArguments.MasterStats, "I") is not { } integrated
            || _loudness.Value(FfmpegArguments.MasterStats, "LRA") is not { } range || _loudness.Value(FfmpegArguments.MasterStats, "True peak") is not { } truePeak
            || _channels.Count != master.Channels)
        {
            return null;
        }

        var channels = _channels.Select(c => new ChannelReport(
            Decibels(c, "Peak level dB"),
            Decibels(c, "RMS level dB"),
            Rounded(Number(c, "DC offset") ?? 0, 5),
            (long)(Number(c, "Peak count") ?? 0),
            Decibels(c, "Flat factor") ?? 0)).ToList();
        return new MasterMeasurement(
            (long)samples,
            (Number(_overall, "Number of NaNs") ?? 0) + (Number(_overall, "Number of Infs") ?? 0),
            // Silence has no loudness: its peak is -inf, and JSON has no such number.
            integrated > GateLufs && double.IsFinite(range) && double.IsFinite(truePeak)
                ? new Loudness(integrated, master.Duration < MinRangeDuration ? null : range, truePeak)
                : null,
            new QualityReport
            {
                SamplePeakDbfs = channels.Max(c => c.PeakDbfs),
                UsedBits = !master.IsFloat && _overall.TryGetValue("Bit depth", out var depth) && int.TryParse(depth.Split('/')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var bits) ? bits : null,
                Channels = channels,
                IdenticalChannels = _channels is [var left, var right] ? left.Count == right.Count && !left.Except(right).Any() : null,
                Silences = [.. _silences],
            },
            _loudness.Lufs);
    }

    private static double? Number(Dictionary<string, string> stats, string name) =>
        stats.TryGetValue(name, out var text) && LogNumbers.TryParse(text, out var value) ? value : null;

    private static double? Decibels(Dictionary<string, string> stats, string name) =>
        Number(stats, name) is { } value && double.IsFinite(value) ? Rounded(value, 2) : null;

    /// <summary>What differs in later digits is the rounding of sums, and no news. Adding zero makes -0 one.</summary>
    private static double Rounded(double value, int digits) => Math.Round(value, digits) + 0.0;

    private void AddStat(string line)
    {
        var text = line.AsSpan(line.LastIndexOf(']') + 1).Trim();
        if (text.StartsWith("Channel:"))
            _channels.Add(_stats = []);
        else if (text is "Overall")
            _stats = _overall;
        else if (_stats is not null && text.IndexOf(':') is > 0 and var colon)
            _stats[text[..colon].Trim().ToString()] = text[(colon + 1)..].Trim().ToString();
    }

    private void AddSilence(string line)
    {
        if (Value("silence_start:") is { } start)
        {
            if (_silences.Count == MaxSilences)
                _silences.RemoveAt(MaxSilences - 1);
            _silences.Add(new Silence(Math.Max(0, start), null));
        }
        else if (Value("silence_end:") is { } end && _silences is [.., { End: null } last])
        {
            _silences[^1] = last with { End = end };
        }

        double? Value(string name)
        {
            var at = line.IndexOf(name, StringComparison.Ordinal);
            return at >= 0 && LogNumbers.TryParse(line[(at + name.Length)..].Trim().Split(' ')[0], out var value) ? Math.Round(value, 3) : null;
        }
    }
}
