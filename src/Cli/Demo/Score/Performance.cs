using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo.Score;

/// <summary>One note as played.</summary>
internal readonly record struct Stroke(double StartSeconds, double HeldSeconds, double Pitch, double Velocity, uint Seed);

/// <summary>
/// Plays a part: dynamics, and the small unevenness of hands in time and touch. The generator is seeded by the part's
/// place in the piece, so that every rendering is the same performance.
/// </summary>
internal static class Performance
{
    public static IReadOnlyList<Stroke> Play(Piece piece, int partIndex)
    {
        var part = piece.Parts[partIndex];
        var random = new Noise((uint)(partIndex + 1) * 2654435761u);
        var strokes = new List<Stroke>(part.Notes.Count);
        foreach (var note in part.Notes.OrderBy(note => note.Beat).ThenBy(note => note.Pitch))
        {
            var start = piece.Tempo.ToSeconds(note.Beat) + random.Next() * part.LoosenessSeconds;
            var velocity = note.Velocity * part.DynamicAt(note.Beat / piece.BeatsPerBar) * (1 + 0.06 * random.Next());
            var held = piece.Tempo.ToSeconds(note.Beat + note.Beats) - piece.Tempo.ToSeconds(note.Beat);
            if (velocity > 0.01)
                strokes.Add(new Stroke(Math.Max(0, start), held, note.Pitch, Math.Clamp(velocity, 0, 1), random.NextBits()));
        }
        strokes.Sort((a, b) => a.StartSeconds.CompareTo(b.StartSeconds));
        return strokes;
    }
}
