using System.Globalization;

namespace Delivery.Cli.Demo.Score;

/// <summary>
/// Reads lines such as <c>C5:1.5 _:.5 A5:2 | G5:4</c>: pitch and length in beats, <c>_</c> for a rest. Bar lines are
/// checked, so that a wrong sum is found at the bar where it happens.
/// </summary>
internal static class Melody
{
    public static IEnumerable<Note> Sing(string line, double startBeat, double beatsPerBar, double velocity = 0.7, int transpose = 0)
    {
        var notes = new List<Note>();
        var beat = startBeat;
        foreach (var bar in line.Split('|'))
        {
            var barStart = beat;
            foreach (var word in bar.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            {
                var colon = word.IndexOf(':', StringComparison.Ordinal);
                var beats = double.Parse(word.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture);
                if (word[0] != '_')
                    notes.Add(new Note(beat, beats, Pitch.Parse(word.AsSpan(0, colon)) + transpose, velocity * Accent(beat - barStart, notes, word)));
                beat += beats;
            }
            if (Math.Abs(beat - barStart - beatsPerBar) > 1e-9)
                throw new FormatException($"The bar '{bar.Trim()}' has {beat - barStart} beats, not {beatsPerBar}.");
        }
        return notes;
    }

    /// <summary>Players lean on the downbeat and lighten the off-beats; without it a line sounds typed.</summary>
    private static double Accent(double beatInBar, List<Note> before, string word)
    {
        var accent = beatInBar == 0 ? 1.08 : beatInBar % 1 == 0 ? 1.0 : 0.92;
        var rises = before.Count > 0 && Pitch.Parse(word.AsSpan(0, word.IndexOf(':', StringComparison.Ordinal))) > before[^1].Pitch;
        return rises ? accent * 1.04 : accent;
    }
}
