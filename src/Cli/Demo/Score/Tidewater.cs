using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo.Score;

/// <summary>
/// A minute by the sea in D: plucked arpeggios come in alone, a bass and a flute join them, the tide rises to bar 15 and
/// goes out again.
/// </summary>
internal static class Tidewater
{
    public static Piece Compose()
    {
        const int Beats = 4;
        var chart = new Harmony(Beats,
            "Dmaj9 | Bm9 | Gmaj9 | A7sus4",
            "Dmaj9 | F#m7 | Bm9 | Gmaj9 | Em9 | D/F# | Gmaj7 | A7sus4 A7",
            "Bm9 | Gmaj9 | D/F# | A/C# | Bm9 | Em9",
            "Gmaj9 | Gm6 | Dmaj9");
        (double, double, int)[] walking = [(0, 1.5, 0), (1.5, 0.5, 12), (2, 1.5, 7), (3.5, 0.5, 12)];
        (double, double, int)[] held = [(0, 4, 0)];
        var flute = Melody.Sing(
            "_:1 A4:.5 D5:.5 F#5:1.5 E5:.5 | E5:1 C#5:.5 A4:2.5 | _:1 D5:.5 F#5:.5 A5:1.5 G5:.5 | F#5:1.5 D5:2.5 |" +
            "_:1 G5:.5 F#5:.5 E5:1 B4:1 | D5:1 F#5:.5 A5:2.5 | B5:1.5 A5:.5 F#5:1 D5:1 | E5:2 C#5:2",
            4 * Beats, Beats, 0.66);
        var crest = Melody.Sing(
            "F#5:.5 B5:.5 D6:2 C#6:1 | B5:1 A5:.5 F#5:2.5 | F#5:.5 A5:.5 D6:2 E6:1 | C#6:2 A5:2 | D6:1.5 C#6:.5 B5:1 F#5:1 | G5:1.5 F#5:.5 E5:2 |" +
            "D5:3 B4:1 | Bb4:2 D5:2 | A4:4",
            12 * Beats, Beats, 0.74);
        var reply = Melody.Sing(
            "D4:2 F#4:2 | B4:3 A4:1 | F#4:2 A4:2 | E4:4 | F#4:2 D4:2 | B3:2 E4:2 | D4:4 | D4:2 Bb3:2 | A3:4",
            12 * Beats, Beats, 0.6);
        (double, double)[] tide = [(0, 0.72), (4, 0.85), (11, 0.95), (12, 1.1), (15, 1.2), (18, 0.85), (20, 0.6)];
        return new Piece("Tidewater", new Tempo((0, 88), (72, 88), (80, 66)), Beats,
        [
            new Part("harp", new PluckedString(),
                [.. Accompaniment.Arpeggio(chart.Bars(0, 12), 52, 66, 0.5, [0, 2, 1, 3, 5, 3, 4, 2], 0.62, 3), .. Accompaniment.Arpeggio(chart.Bars(12, 19), 52, 66, 0.5, [0, 3, 2, 4, 6, 4, 5, 3], 0.62, 3),
                    .. Accompaniment.Arpeggio(chart.Bars(20, 21), 50, 66, 0.25, [0, 1, 2, 3, 4, 5, 6, 7, 8], 0.5, 20).Take(9)])
                { GainDb = 1, Pan = -0.1, Spread = 0.45, Reverb = 0.24, Echo = 0.22, Dynamics = tide },
            new Part("glints", ModalInstrument.Glass, [.. Accompaniment.Arpeggio(chart.Bars(2, 20), 74, 88, 2, [3, 1, 2, 0], 0.4, 1).Select(note => note with { Beat = note.Beat + 1.5 })])
                { GainDb = -9, Pan = 0.4, Spread = 0.1, Reverb = 0.5, Echo = 0.4, Dynamics = tide },
            new Part("pad", Subtractive.Pad, [.. Accompaniment.Hold(chart.Bars(0, 21), 54, 70, 0.7)]) { GainDb = -2, Spread = 0.9, Reverb = 0.35, Chorus = true, Dynamics = tide },
            new Part("bass", Subtractive.Bass, [.. Accompaniment.Bass(chart.Bars(4, 12), 35, walking, 0.6), .. Accompaniment.Bass(chart.Bars(12, 18), 35, walking, 0.68), .. Accompaniment.Bass(chart.Bars(18, 21), 35, held, 0.6)])
                { GainDb = -1, Reverb = 0.05, Dynamics = tide },
            new Part("flute", new Flute(), [.. flute, .. crest]) { GainDb = -1, Pan = 0.12, Reverb = 0.36, Echo = 0.16, LoosenessSeconds = 0.012, Dynamics = tide },
            new Part("cellos", Subtractive.Strings, [.. reply]) { GainDb = -1, Pan = -0.35, Reverb = 0.4, LoosenessSeconds = 0.015, Dynamics = tide },
            new Part("kick", Drum.Kick, [.. Accompaniment.Grid(8, 12, Beats, "x.......o......."), .. Accompaniment.Grid(12, 18, Beats, "x.....o.x.......")]) { GainDb = -3, Reverb = 0.04 },
            new Part("shaker", Drum.Shaker, [.. Accompaniment.Grid(6, 18, Beats, "g.o.g.o.g.o.g.og", 0.6)]) { GainDb = -5, Pan = 0.35, Reverb = 0.15, Dynamics = tide },
            new Part("brush", Drum.Brush, [.. Accompaniment.Grid(12, 18, Beats, "....x.......x..g", 0.6)]) { GainDb = -3, Pan = -0.12, Reverb = 0.25 },
            new Part("wave", Drum.Swell, [new Note(5.5, 4, 60, 0.4), new Note(41.3, 4, 60, 0.75), new Note(65, 4, 60, 0.4)]) { GainDb = -8, Pan = 0.2, Reverb = 0.5 },
        ])
        {
            Duration = TimeSpan.FromSeconds(61),
            SampleRateHz = 96_000,
            BitsPerSample = 24,
            MasterGainDb = 2,
            ReverbSeconds = 3.2,
        };
    }
}
