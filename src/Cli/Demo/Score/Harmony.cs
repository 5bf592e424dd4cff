namespace Delivery.Cli.Demo.Score;

/// <summary>One chord and where it lasts, in beats.</summary>
internal readonly record struct ChordSpan(double Beat, double Beats, Chord Chord);

/// <summary>A chord chart: bars between <c>|</c>, the chords of a bar share it equally.</summary>
internal sealed class Harmony
{
    private readonly List<ChordSpan> _spans = [];

    public Harmony(int beatsPerBar, params string[] sections)
    {
        BeatsPerBar = beatsPerBar;
        var bars = sections.SelectMany(section => section.Split('|')).ToArray();
        for (var bar = 0; bar < bars.Length; bar++)
        {
            var symbols = bars[bar].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var beats = (double)beatsPerBar / symbols.Length;
            for (var i = 0; i < symbols.Length; i++)
                _spans.Add(new ChordSpan(bar * beatsPerBar + i * beats, beats, Chord.Parse(symbols[i])));
        }
        BarCount = bars.Length;
    }

    public int BeatsPerBar { get; }
    public int BarCount { get; }

    /// <summary>The chords of bars <paramref name="from"/> (counted from 0) up to, not with, <paramref name="to"/>.</summary>
    public IEnumerable<ChordSpan> Bars(int from, int to) =>
        _spans.Where(span => span.Beat >= from * BeatsPerBar && span.Beat < to * BeatsPerBar);
}
