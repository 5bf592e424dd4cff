using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo.Score;

/// <summary>A miniature waltz in G for tine piano and celesta: twelve bars, one arch, out on a minor subdominant and home.</summary>
internal static class PaperLanterns
{
    public static Piece Compose()
    {
        const int Beats = 3;
        var chart = new Harmony(Beats,
            "Gmaj7 | Em7 | Am9 | D13",
            "Gmaj7 | Bm7 | Am7 | Cm6",
            "G/D | E7b9 | Am7 | D7sus4", "Gmaj9");
        var whole = chart.Bars(0, 12).ToArray();
        var final = chart.Bars(12, 13).ToArray();
        var tune = Melody.Sing(
            "D5:1.5 B5:1 A5:.5 | G5:2 E5:.5 F#5:.5 | G5:1 C6:1.5 B5:.5 | A5:2 F#5:.5 E5:.5 |" +
            "D5:1.5 B5:1 C6:.5 | D6:2 A5:.5 B5:.5 | C6:1 E6:1 D6:.5 C6:.5 | Eb6:1.5 D6:.5 C6:.5 A5:.5 |" +
            "B5:1.5 D6:1 B5:.5 | G#5:1 B5:1 D6:1 | C6:1 E5:.5 F#5:.5 G5:1 | A5:1.5 G5:.5 F#5:1 | G5:3",
            0, Beats, 0.72);
        (double, double)[] chords = [(1, 0.7), (2, 0.8)];
        return new Piece("Paper Lanterns", new Tempo((0, 132), (27, 134), (33, 112), (36, 84)), Beats,
        [
            new Part("celesta", ModalInstrument.Celesta, [.. tune]) { GainDb = 0, Pan = 0.15, Spread = 0.15, Reverb = 0.34, Echo = 0.1, Dynamics = Arch(1) },
            new Part("left hand", new ElectricPiano(), [.. Accompaniment.Bass(whole, 38, [(0, 2.8, 0)], 0.62), .. Accompaniment.Bass(final, 31, [(0, 3, 0), (0.06, 3, 12)], 0.6)])
                { GainDb = 1, Pan = -0.2, Reverb = 0.16, Chorus = true, Dynamics = Arch(0.95) },
            new Part("right hand", new ElectricPiano(), [.. Accompaniment.Strike(whole, 55, 69, chords, 0.46), .. Accompaniment.Arpeggio(final, 55, 72, 0.18, [0, 1, 2, 3, 4, 5, 6, 7], 0.5, 20).Take(8)])
                { GainDb = -2, Pan = -0.1, Spread = 0.5, Reverb = 0.22, Chorus = true, Dynamics = Arch(0.95) },
            new Part("halo", Subtractive.Pad, [.. Accompaniment.Hold(chart.Bars(4, 13), 57, 74, 0.5)]) { GainDb = -7, Spread = 0.8, Reverb = 0.5, Chorus = true, Dynamics = [(4, 0.3), (8, 1), (13, 0.6)] },
        ])
        {
            Duration = TimeSpan.FromSeconds(20.2),
            SampleRateHz = 44_100,
            BitsPerSample = 16,
            MasterGainDb = 4.8,
            ReverbSeconds = 2.4,
        };
    }

    private static (double Bar, double Factor)[] Arch(double level) => [(0, 0.86 * level), (4, 0.95 * level), (7.5, 1.12 * level), (10, 0.92 * level), (12, 0.78 * level)];
}
