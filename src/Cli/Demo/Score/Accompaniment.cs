namespace Delivery.Cli.Demo.Score;

/// <summary>Turns a chord chart into playing: held chords, arpeggios, bass lines, struck rhythms and drum grids.</summary>
internal static class Accompaniment
{
    /// <summary>Held chords; a tone that the next chord shares is tied over, not struck again.</summary>
    public static IEnumerable<Note> Hold(IEnumerable<ChordSpan> spans, int low, int high, double velocity = 0.6)
    {
        var sounding = new Dictionary<int, Note>();
        var notes = new List<Note>();
        foreach (var (span, voicing) in Voiced(spans, low, high))
        {
            var next = voicing.Distinct().ToDictionary(pitch => pitch, pitch => sounding.TryGetValue(pitch, out var held) && held.Beats < 12
                ? held with { Beats = held.Beats + span.Beats }
                : new Note(span.Beat, span.Beats, pitch, velocity));
            notes.AddRange(sounding.Values.Where(held => !next.TryGetValue(held.Pitch, out var tied) || tied.Beat != held.Beat));
            sounding = next;
        }
        notes.AddRange(sounding.Values);
        return notes.OrderBy(note => note.Beat).ThenBy(note => note.Pitch);
    }

    /// <summary>One chord tone per step, in the given order of voices, where an index past the top goes up an octave.</summary>
    public static IEnumerable<Note> Arpeggio(IEnumerable<ChordSpan> spans, int low, int high, double step, int[] order, double velocity = 0.6, double ring = 2)
    {
        foreach (var (span, voicing) in Voiced(spans, low, high))
        {
            for (var i = 0; i * step < span.Beats - 1e-9; i++)
            {
                var index = order[i % order.Length];
                var pitch = voicing[index % voicing.Length] + 12 * (index / voicing.Length);
                yield return new Note(span.Beat + i * step, step * ring, pitch, velocity * (i % 4 == 0 ? 1.1 : i % 2 == 0 ? 0.95 : 0.84));
            }
        }
    }

    /// <summary>The chord struck at the given beats of each bar's chord.</summary>
    public static IEnumerable<Note> Strike(IEnumerable<ChordSpan> spans, int low, int high, (double At, double Beats)[] rhythm, double velocity = 0.6) =>
        from chord in Voiced(spans, low, high)
        from hit in rhythm
        where hit.At < chord.Span.Beats
        from pitch in chord.Voicing
        select new Note(chord.Span.Beat + hit.At, Math.Min(hit.Beats, chord.Span.Beats - hit.At), pitch, velocity);

    /// <summary>The bass in its octave from <paramref name="low"/>; <c>Step</c> is added to the bass note (7 a fifth, 12 an octave).</summary>
    public static IEnumerable<Note> Bass(IEnumerable<ChordSpan> spans, int low, (double At, double Beats, int Step)[] rhythm, double velocity = 0.75) =>
        from span in spans
        let bass = low + ((span.Chord.Bass - low) % 12 + 12) % 12
        from hit in rhythm
        where hit.At < span.Beats
        // A fifth over a bass that is not the root (C/E) is outside the chord: the octave is safe.
        let step = hit.Step == 7 && !span.Chord.Classes.Contains((bass + 7) % 12) ? 12 : hit.Step
        select new Note(span.Beat + hit.At, Math.Min(hit.Beats, span.Beats - hit.At), bass + step, velocity * (hit.At == 0 ? 1 : 0.88));

    /// <summary>One bar per grid, repeated: <c>X</c> accent, <c>x</c> stroke, <c>o</c> soft, <c>g</c> ghost, <c>.</c> nothing.</summary>
    public static IEnumerable<Note> Grid(int fromBar, int toBar, int beatsPerBar, string grid, double velocity = 0.7)
    {
        var step = (double)beatsPerBar / grid.Length;
        for (var bar = fromBar; bar < toBar; bar++)
        {
            for (var i = 0; i < grid.Length; i++)
            {
                var level = grid[i] switch { 'X' => 1.15, 'x' => 0.9, 'o' => 0.6, 'g' => 0.3, _ => 0 };
                if (level > 0)
                    yield return new Note(bar * beatsPerBar + i * step, step, 60, velocity * level);
            }
        }
    }

    private static IEnumerable<(ChordSpan Span, int[] Voicing)> Voiced(IEnumerable<ChordSpan> spans, int low, int high)
    {
        int[]? voicing = null;
        foreach (var span in spans)
            yield return (span, voicing = span.Chord.VoiceNear(voicing, low, high));
    }
}
