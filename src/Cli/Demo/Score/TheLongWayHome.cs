using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo.Score;

/// <summary>
/// A song without words, in F and then a tone up in G. Its motif, a rising fourth and third (C F A), opens every phrase of
/// the A section, turns dark and slow in the bridge, and comes back in octaves at the top.
/// <code>
/// bars   0  intro   4  A   12  A'   20  B   28  A"   36  bridge   44  build   48  climax (G)   60  coda   66
/// </code>
/// </summary>
internal static class TheLongWayHome
{
    private const int Beats = 4;
    private const int A1 = 4, A2 = 12, B = 20, A3 = 28, Bridge = 36, Build = 44, Climax = 48, Coda = 60, End = 66;

    private const string ChordsA = "Fmaj7 | C/E | Dm7 | Am7 | Bbmaj7 | F/A | Gm7 | C7sus4 C7";
    private const string ChordsB = "Dm9 | Bbmaj7 | Fadd9 | C/E | Dm9 | G9 | Gm7 | C7sus4 C7";
    private const string ChordsBridge = "Bbm7 | Eb7 | Abmaj7 | Dbmaj7 | Gm7b5 | C7b9 | Fm9 | D7sus4";
    private const string ChordsBuild = "Cmaj7/D | Bm7/D | Am7/D | D7sus4 D7";
    private const string ChordsClimax = "Gmaj7 | D/F# | Em7 | Bm7 | Cmaj7 | G/B | Am7 | D7sus4 D7 | Em9 | Cmaj7 | Am7 | D9sus4";
    private const string ChordsCoda = "Gmaj9 | D/F# | Em9 | Cm6 | G/D | Gmaj9";

    private const string ThemeA =
        "_:1 C5:.5 F5:.5 A5:1.5 G5:.5 | G5:1.5 E5:.5 C5:2 | _:1 C5:.5 F5:.5 A5:1.5 C6:.5 | C6:1 A5:.5 G5:.5 E5:2 |" +
        "_:1 D5:.5 F5:.5 Bb5:1.5 A5:.5 | A5:1 F5:.5 C5:2.5 | _:.5 Bb4:.5 D5:.5 F5:.5 A5:1 G5:1 | G5:1.5 F5:.5 E5:2";

    private const string ThemeAVaried =
        "_:.5 C5:.5 F5:.5 G5:.5 A5:1.5 Bb5:.5 | G5:1 C6:.5 E5:.5 C5:2 | _:.5 C5:.5 F5:.5 G5:.5 A5:1 C6:1 | D6:.5 C6:.5 A5:.5 G5:.5 E5:2 |" +
        "_:.5 D5:.5 F5:.5 A5:.5 Bb5:1.5 C6:.5 | A5:1 F5:.5 C5:2.5 | _:.5 D5:.5 F5:.5 Bb5:.5 A5:1 G5:1 | F5:1 G5:1 E5:2";

    private const string ThemeB =
        "A5:3 G5:.5 F5:.5 | F5:2 D5:1 F5:1 | A5:3 Bb5:.5 A5:.5 | G5:2 E5:1 G5:1 |" +
        "C6:3 A5:.5 F5:.5 | B5:2 A5:1 G5:1 | Bb5:1.5 A5:.5 G5:1 F5:1 | F5:1 G5:1 E5:2";

    private const string CounterA =
        "A3:2 C4:2 | C4:2 G3:2 | A3:2 F4:2 | E4:2 C4:2 | D4:3 C4:1 | C4:2 A3:2 | Bb3:2 D4:2 | F4:2 E4:2";

    private const string CounterB =
        "F4:2 E4:2 | D4:2 F4:2 | C4:2 F4:2 | E4:2 C4:2 | D4:2 E4:1 F4:1 | F4:2 B3:2 | D4:2 Bb3:2 | C4:2 Bb3:2";

    private const string ThemeBridge =
        "Db5:1 F5:1 Ab5:2 | G5:2 Eb5:2 | C5:1 Eb5:1 G5:2 | F5:2 Db5:2 | Bb4:1 Db5:1 F5:2 | E5:2 Db5:1 C5:1 | C5:1 F5:1 Ab5:2 | A5:2 G5:2";

    private const string ThemeBuild =
        "E5:1 G5:1 B5:2 | D5:1 F#5:1 A5:2 | E5:1 G5:1 C6:2 | D6:2 C6:1 A5:1";

    private const string ThemeReturn =
        "B5:3 A5:.5 G5:.5 | G5:2 E5:1 G5:1 | C6:1.5 B5:.5 A5:1 E5:1 | E5:1 G5:1 A5:2";

    private const string ThemeCoda =
        "_:1 D5:.5 G5:.5 B5:1.5 A5:.5 | A5:1.5 F#5:.5 D5:2 | _:1 D5:.5 G5:.5 B5:1.5 D6:.5 | C6:1.5 A5:.5 Eb5:2 | D5:4 | _:1 D5:1 G5:1 B5:1";

    private const string DescantClimax =
        "B5:2 D6:2 | F#6:3 D6:1 | E6:2 D6:2 | D6:3 B5:1 | C6:2 E6:2 | D6:3 B5:1 | C6:2 E6:2 | D6:2 C6:2 | B5:2 F#6:2 | E6:4 | C6:2 E6:2 | D6:4";

    private static readonly (double, double)[] Form =
        [(0, 0.84), (A1, 0.86), (A2, 0.92), (B, 0.98), (A3, 1), (Bridge - 0.5, 0.92), (Bridge, 0.78), (Build, 0.8), (Climax - 0.1, 1.08), (Climax, 1.18), (Coda - 1, 1.15), (Coda, 0.9), (End, 0.68)];

    public static Piece Compose()
    {
        var chart = new Harmony(Beats, "Fmaj7 | Bbmaj7 | Fmaj7 | Bbmaj7 C7sus4", ChordsA, ChordsA, ChordsB, ChordsA, ChordsBridge, ChordsBuild, ChordsClimax, ChordsCoda);
        return new Piece("The Long Way Home", new Tempo((0, 92), (Bridge * Beats, 92), (Bridge * Beats + 2, 88), (Climax * Beats, 94), (Coda * Beats, 92), ((End - 3) * Beats, 86), (End * Beats, 60)), Beats,
            [.. Keys(chart), .. Low(chart), .. Tunes(), .. Colours(chart), .. Kit()])
        {
            Duration = TimeSpan.FromSeconds(176.5),
            SampleRateHz = 44_100,
            BitsPerSample = 16,
            MasterGainDb = 2,
            ReverbSeconds = 2.3,
        };
    }

    private static IEnumerable<Part> Keys(Harmony chart)
    {
        (double, double)[] syncopated = [(0, 1.4), (1.5, 1), (2.5, 1.4)];
        int[] rocking = [0, 2, 1, 3, 2, 3, 1, 2];
        yield return new Part("piano", ModalInstrument.Piano,
        [
            .. Accompaniment.Arpeggio(chart.Bars(0, A2), 53, 69, 0.5, rocking, 0.54, 2.5),
            .. Accompaniment.Strike(chart.Bars(A2, B), 53, 69, syncopated, 0.52),
            .. Accompaniment.Arpeggio(chart.Bars(B, A3), 53, 69, 0.5, rocking, 0.56, 2.5),
            .. Accompaniment.Strike(chart.Bars(A3, Bridge), 53, 69, syncopated, 0.55),
            .. Accompaniment.Arpeggio(chart.Bars(Bridge, Climax), 53, 69, 1, [0, 1, 3, 2], 0.5, 3),
            .. Accompaniment.Strike(chart.Bars(Climax, Coda), 55, 71, syncopated, 0.58),
            .. Accompaniment.Arpeggio(chart.Bars(Coda, End - 1), 55, 71, 0.5, rocking, 0.54, 2.5),
            .. Accompaniment.Arpeggio(chart.Bars(End - 1, End), 43, 62, 0.22, [0, 1, 2, 3, 4, 5, 6, 7], 0.56, 30).Take(8),
        ])
        { GainDb = 3.5, Spread = 0.45, Reverb = 0.18, LoosenessSeconds = 0.008, Dynamics = Form };
    }

    private static IEnumerable<Part> Low(Harmony chart)
    {
        (double, double, int)[] easy = [(0, 2.4, 0), (2.5, 0.5, 7), (3, 1, 0)];
        (double, double, int)[] moving = [(0, 1.4, 0), (1.5, 0.5, 0), (2, 1, 7), (3, 0.5, 12), (3.5, 0.5, 7)];
        (double, double, int)[] held = [(0, 4, 0)];
        yield return new Part("bass", Subtractive.Bass,
        [
            .. Accompaniment.Bass(chart.Bars(A1 + 4, A2), 29, held, 0.6), .. Accompaniment.Bass(chart.Bars(A2, B), 29, easy, 0.7), .. Accompaniment.Bass(chart.Bars(B, Bridge), 29, moving, 0.7),
            .. Accompaniment.Bass(chart.Bars(Bridge, Climax), 29, held, 0.6), .. Accompaniment.Bass(chart.Bars(Climax, Coda), 29, moving, 0.76), .. Accompaniment.Bass(chart.Bars(Coda, End), 31, held, 0.66),
        ])
        { GainDb = -1.5, Reverb = 0.03, Dynamics = Form };
    }

    private static IEnumerable<Part> Tunes()
    {
        IEnumerable<Note> Sing(string line, int bar, double velocity, int transpose = 0) => Melody.Sing(line, bar * Beats, Beats, velocity, transpose);
        yield return new Part("tine piano", new ElectricPiano(), [.. Sing(ThemeA, A1, 0.74), .. Sing(ThemeBuild, Build, 0.7)])
        { GainDb = 1.5, Pan = -0.08, Reverb = 0.26, Echo = 0.14, Chorus = true, LoosenessSeconds = 0.012, Dynamics = Form };
        yield return new Part("flute", new Flute(), [.. Sing(ThemeAVaried, A2, 0.7), .. Sing(ThemeAVaried, A3, 0.74), .. Sing(ThemeA, Climax, 0.8, 2), .. Sing(ThemeReturn, Climax + 8, 0.78), .. Sing(ThemeCoda, Coda, 0.66)])
        { GainDb = 0, Pan = 0.1, Reverb = 0.32, Echo = 0.12, LoosenessSeconds = 0.014, Dynamics = Form };
        yield return new Part("violins", Subtractive.Strings, [.. Sing(ThemeB, B, 0.72), .. Sing(ThemeA, Climax, 0.78, 2), .. Sing(ThemeReturn, Climax + 8, 0.78)])
        { GainDb = 0, Pan = -0.28, Reverb = 0.38, LoosenessSeconds = 0.015, Dynamics = Form };
        yield return new Part("descant", Subtractive.Strings, [.. Sing(DescantClimax, Climax, 0.6)])
        { GainDb = -4.5, Pan = -0.5, Reverb = 0.45, LoosenessSeconds = 0.018, Dynamics = Form };
        yield return new Part("cellos", Subtractive.Strings with { CutoffHz = 600, OpenHz = 1800 }, [.. Sing(CounterA, A2, 0.55), .. Sing(CounterB, B, 0.66), .. Sing(CounterA, A3, 0.62), .. Sing(CounterA, Climax, 0.7, 2)])
        { GainDb = 0, Pan = 0.38, Reverb = 0.34, LoosenessSeconds = 0.015, Dynamics = Form };
        yield return new Part("bells", ModalInstrument.Vibraphone, [.. Sing(ThemeBridge, Bridge, 0.7), .. Sing(ThemeBuild, Build, 0.6, 12), .. Sing("D6:4", End - 1, 0.5)])
        { GainDb = 1, Pan = 0.2, Reverb = 0.42, Echo = 0.25, LoosenessSeconds = 0.01, Dynamics = [(Bridge, 0.86), (Build, 0.9), (Climax, 1)] };
    }

    private static IEnumerable<Part> Colours(Harmony chart)
    {
        yield return new Part("pad", Subtractive.Pad, [.. Accompaniment.Hold(chart.Bars(2, End), 55, 72, 0.62)]) { GainDb = -4, Spread = 0.9, Reverb = 0.3, Chorus = true, Dynamics = Form };
        yield return new Part("guitar", new PluckedString(2.6, 0.62),
            [.. Accompaniment.Arpeggio(chart.Bars(A2 + 4, Bridge), 57, 72, 0.25, [0, 2, 3, 1, 4, 2, 3, 1], 0.5, 3), .. Accompaniment.Arpeggio(chart.Bars(Build + 2, Coda), 57, 72, 0.25, [0, 2, 3, 1, 4, 2, 3, 1], 0.56, 3)])
        { GainDb = -6, Pan = 0.45, Spread = 0.2, Reverb = 0.2, Echo = 0.18, LoosenessSeconds = 0.007, Dynamics = Form };
    }

    private static IEnumerable<Part> Kit()
    {
        IEnumerable<Note> Bars(int from, int to, string grid) => Accompaniment.Grid(from, to, Beats, grid);
        yield return new Part("kick", Drum.Kick, [.. Bars(A2, B, "x.......o.o....."), .. Bars(B, Bridge - 1, "x.....o.x.o....."), .. Bars(Bridge - 1, Bridge, "x.....o.x......."), .. Bars(Build + 2, Climax, "x...x...x...x..."), .. Bars(Climax, Coda - 1, "X.....x.x.x....g"), .. Bars(Coda, Coda + 1, "X...............")])
        { GainDb = -2, Reverb = 0.04, LoosenessSeconds = 0.003, Dynamics = Form };
        yield return new Part("brushes", Drum.Brush, [.. Bars(A2, B, "g...x..gg...x.g."), .. Bars(Bridge - 1, Bridge, "....x...........")])
        { GainDb = -1, Pan = 0.06, Reverb = 0.2, Dynamics = Form };
        yield return new Part("snare", Drum.Snare, [.. Bars(B, Bridge - 1, "....x..g.g..x..."), .. Bars(Build + 3, Climax, "g.g.g.g.o.o.oxxX"), .. Bars(Climax, Coda - 1, "....X..g.g..X..o"), .. Bars(Coda - 1, Coda, "....X...o.o.oxxX")])
        { GainDb = -5, Pan = 0.06, Reverb = 0.24, LoosenessSeconds = 0.004, Dynamics = Form };
        yield return new Part("hat", Drum.Hat, [.. Bars(A2, B, "o.g.o.g.o.g.o.gg"), .. Bars(B, Bridge - 1, "x.g.o.g.x.g.o.gg"), .. Bars(Climax, Coda - 1, "x.ogx.ogx.ogx.og")])
        { GainDb = -7, Pan = -0.3, Reverb = 0.1, LoosenessSeconds = 0.004, Dynamics = Form };
        yield return new Part("ride", Drum.Ride, [.. Bars(A3, Bridge - 1, "x...o.o.x...o.o."), .. Bars(Climax, Coda, "x.o.x.o.x.o.x.o.")])
        { GainDb = -8, Pan = 0.42, Reverb = 0.16, Dynamics = Form };
        yield return new Part("cymbals", Drum.Crash, [new Note(B * Beats, 4, 60, 0.55), new Note(A3 * Beats, 4, 60, 0.45), new Note(Climax * Beats, 4, 60, 0.8), new Note((Climax + 8) * Beats, 4, 60, 0.65), new Note(Coda * Beats, 4, 60, 0.5)])
        { GainDb = -7, Pan = 0.25, Reverb = 0.3 };
        yield return new Part("swells", Drum.Swell, [new Note(B * Beats - 6.9, 4, 60, 0.5), new Note(Climax * Beats - 6.8, 4, 60, 0.85)])
        { GainDb = -7, Pan = -0.25, Reverb = 0.35 };
    }
}
