using System.Globalization;
using System.Text;

namespace Delivery.Bench.HitRate;

/// <summary>Two rows of panels, one column for each trace: chunk requests above, first chunks below; hit ratio over cache size.</summary>
internal static class Plot
{
    private const int PanelWidth = 300;
    private const int PanelHeight = 230;
    private const int Left = 70;
    private const int Top = 70;
    private const int GapX = 60;
    private const int GapY = 75;

    private static readonly (string Name, string Colour, double Width, string Dash)[] Lines =
    [
        ("FIFO", "#9e9e9e", 1.5, "2 3"),
        ("LRU", "#8d6e63", 1.5, "6 3"),
        ("ARC", "#1976d2", 1.5, ""),
        ("W-TinyLFU", "#7b1fa2", 1.5, ""),
        ("S3-FIFO", "#388e3c", 1.5, ""),
        (Report.RamOnly, "#ff8f00", 1.5, "6 3"),
        (Report.Edge, "#d32f2f", 3, ""),
        (Report.Belady, "#000000", 1.5, "2 3"),
    ];

    public static string Svg(List<ReportRow> rows)
    {
        var svg = new StringBuilder();
        double[] zipfs = [.. rows.Select(r => r.Zipf).Distinct()];
        double[] shares = [.. rows.Select(r => r.Share).Distinct().Order()];
        var width = Left + zipfs.Length * (PanelWidth + GapX);
        var height = Top + 2 * (PanelHeight + GapY) + 20;
        Add($"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">");
        Add($"<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>");
        Legend();
        for (var row = 0; row < 2; row++)
        {
            for (var column = 0; column < zipfs.Length; column++)
                Panel(Left + column * (PanelWidth + GapX), Top + row * (PanelHeight + GapY), zipfs[column], heads: row == 1);
        }

        Add($"</svg>");
        return svg.ToString();

        void Legend()
        {
            var x = Left;
            foreach (var (name, colour, stroke, dash) in Lines)
            {
                Add($"<line x1=\"{x}\" y1=\"22\" x2=\"{x + 26}\" y2=\"22\" stroke=\"{colour}\" stroke-width=\"{stroke}\" stroke-dasharray=\"{dash}\"/>");
                Add($"<text x=\"{x + 31}\" y=\"26\">{name}</text>");
                x += 50 + name.Length * 7;
            }
        }

        void Panel(int x, int y, double zipf, bool heads)
        {
            var of = rows.Where(r => r.Zipf == zipf).ToList();
            var lowest = Math.Floor(of.Min(Value) * 20) / 20;
            var highest = Math.Ceiling(of.Max(Value) * 20) / 20;
            var step = highest - lowest > 0.3 ? 0.1 : 0.05;
            Add($"<text x=\"{x + PanelWidth / 2}\" y=\"{y - 10}\" text-anchor=\"middle\" font-weight=\"bold\">Zipf {zipf:0.0}: {(heads ? "first chunks" : "chunk requests")}</text>");
            for (var value = Math.Max(0, Math.Ceiling(lowest / step - 1e-9) * step); value <= highest + 1e-9; value += step)
            {
                Add($"<line x1=\"{x}\" y1=\"{Y(value):F1}\" x2=\"{x + PanelWidth}\" y2=\"{Y(value):F1}\" stroke=\"#e0e0e0\"/>");
                Add($"<text x=\"{x - 6}\" y=\"{Y(value) + 4:F1}\" text-anchor=\"end\">{value * 100:0} %</text>");
            }

            foreach (var share in shares)
                Add($"<text x=\"{X(share):F1}\" y=\"{y + PanelHeight + 17}\" text-anchor=\"middle\">{share * 100:0.#} %</text>");
            Add($"<text x=\"{x + PanelWidth / 2}\" y=\"{y + PanelHeight + 36}\" text-anchor=\"middle\">cache size, share of all bytes asked for (logarithmic)</text>");
            if (x == Left)
                Add($"<text transform=\"translate({x - 52} {y + PanelHeight / 2}) rotate(-90)\" text-anchor=\"middle\">hit ratio</text>");
            Add($"<rect x=\"{x}\" y=\"{y}\" width=\"{PanelWidth}\" height=\"{PanelHeight}\" fill=\"none\" stroke=\"#757575\"/>");
            foreach (var (name, colour, stroke, dash) in Lines)
            {
                var points = of.Where(r => r.Result.Name == name).OrderBy(r => r.Share).ToList();
                Add($"<polyline points=\"{string.Join(' ', points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{X(p.Share):F1},{Y(Value(p)):F1}")))}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{stroke}\" stroke-dasharray=\"{dash}\"/>");
                foreach (var point in points)
                    Add($"<circle cx=\"{X(point.Share):F1}\" cy=\"{Y(Value(point)):F1}\" r=\"{stroke + 1}\" fill=\"{colour}\"/>");
            }

            double Value(ReportRow r) => heads ? r.Result.Heads : r.Result.Requests;

            double X(double share) => shares.Length == 1 ? x + PanelWidth / 2.0
                : x + 20 + (PanelWidth - 40) * Math.Log(share / shares[0]) / Math.Log(shares[^1] / shares[0]);

            double Y(double value) => y + PanelHeight - PanelHeight * (value - lowest) / (highest - lowest);
        }

        void Add(FormattableString line) => svg.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }
}
