using System.Buffers;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;

namespace Delivery.Metrics;

/// <summary>
/// Names, labels and lines of the Prometheus text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), named as
/// OpenTelemetry's "Prometheus compatibility" says: dots to underscores, the unit appended, counters ending in <c>_total</c>.
/// </summary>
internal static class PrometheusText
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    public static string MetricName(Instrument instrument, MetricKind kind)
    {
        var name = Identifier(instrument.Name, colons: true);
        var unit = UnitSuffix(instrument.Unit, kind);
        if (unit.Length > 0 && !name.EndsWith("_" + unit, StringComparison.Ordinal))
            name += "_" + unit;
        return kind == MetricKind.Counter && !name.EndsWith("_total", StringComparison.Ordinal) ? name + "_total" : name;
    }

    /// <summary>The labels, sorted by name, without braces. A name that stands twice keeps its last value.</summary>
    public static string Labels(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (tags.IsEmpty)
            return "";
        var sorted = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var tag in tags)
            sorted[Identifier(tag.Key, colons: false)] = LabelValue(tag.Value);
        return string.Join(',', sorted.Select(label => $"{label.Key}=\"{label.Value}\""));
    }

    public static void Write(IBufferWriter<byte> output, MetricFamily family)
    {
        var text = new StringBuilder();
        text.Append("# HELP ").Append(family.Name).Append(' ').Append(Escape(family.Help, quotes: false)).Append('\n');
        text.Append("# TYPE ").Append(family.Name).Append(' ').Append(family.Kind switch
        {
            MetricKind.Counter => "counter",
            MetricKind.Gauge => "gauge",
            _ => "histogram",
        }).Append('\n');
        foreach (var series in family.Series.OrderBy(series => series.Labels, StringComparer.Ordinal))
        {
            if (family.Kind == MetricKind.Histogram)
                AppendHistogram(text, family, series);
            else
                AppendSample(text, family.Name, series.Labels, Number(series.Cell.Value));
        }

        foreach (var chunk in text.GetChunks())
            Encoding.UTF8.GetBytes(chunk.Span, output);
    }

    private static void AppendHistogram(StringBuilder text, MetricFamily family, MetricSeries series)
    {
        var separator = series.Labels.Length == 0 ? "" : ",";
        var sum = Number(series.Cell.Value);
        // The count is the last bucket's, so that the two agree whatever is recorded meanwhile.
        var count = 0L;
        for (var i = 0; i <= family.Bounds.Length; i++)
        {
            count += series.Cell.Bucket(i);
            var bound = i < family.Bounds.Length ? Number(family.Bounds[i]) : "+Inf";
            AppendSample(text, family.Name + "_bucket", $"{series.Labels}{separator}le=\"{bound}\"", count.ToString(CultureInfo.InvariantCulture));
        }

        AppendSample(text, family.Name + "_sum", series.Labels, sum);
        AppendSample(text, family.Name + "_count", series.Labels, count.ToString(CultureInfo.InvariantCulture));
    }

    private static void AppendSample(StringBuilder text, string name, string labels, string value)
    {
        text.Append(name);
        if (labels.Length > 0)
            text.Append('{').Append(labels).Append('}');
        text.Append(' ').Append(value).Append('\n');
    }

    private static string Number(double value) => value switch
    {
        double.PositiveInfinity => "+Inf",
        double.NegativeInfinity => "-Inf",
        _ => value.ToString("R", CultureInfo.InvariantCulture),
    };

    private static string LabelValue(object? value) => Escape(value switch
    {
        null => "",
        bool flag => flag ? "true" : "false",
        IFormattable formattable => formattable.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    }, quotes: true);

    private static string Escape(string text, bool quotes)
    {
        var escaped = text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
        return quotes ? escaped.Replace("\"", "\\\"", StringComparison.Ordinal) : escaped;
    }

    private static string Identifier(string name, bool colons)
    {
        var text = new StringBuilder(name.Length + 1);
        foreach (var c in name)
            text.Append(char.IsAsciiLetterOrDigit(c) || c == '_' || (colons && c == ':') ? c : '_');
        if (text.Length == 0 || char.IsAsciiDigit(text[0]))
            text.Insert(0, '_');
        return text.ToString();
    }

    // UCUM units, as OpenTelemetry writes them. An annotation in braces ("{request}") is no unit.
    private static string UnitSuffix(string? unit, MetricKind kind) => unit switch
    {
        null or "" => "",
        ['{', ..] => "",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "By/s" => "bytes_per_second",
        "bit/s" => "bits_per_second",
        "1" => kind == MetricKind.Gauge ? "ratio" : "",
        "%" => "percent",
        _ => Identifier(unit, colons: false).Trim('_'),
    };
}
