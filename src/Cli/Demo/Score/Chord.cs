namespace Delivery.Cli.Demo.Score;

/// <summary>A chord as pitch classes with its bass: <c>Gm7</c>, <c>C/E</c>, <c>D7sus4</c>.</summary>
internal sealed record Chord(int Root, IReadOnlyList<int> Classes, int Bass)
{
    private static readonly Dictionary<string, int[]> Qualities = new()
    {
        [""] = [0, 4, 7],
        ["m"] = [0, 3, 7],
        ["6"] = [0, 4, 7, 9],
        ["m6"] = [0, 3, 7, 9],
        ["add9"] = [0, 2, 4, 7],
        ["7"] = [0, 4, 7, 10],
        ["maj7"] = [0, 4, 7, 11],
        ["m7"] = [0, 3, 7, 10],
        ["m7b5"] = [0, 3, 6, 10],
        ["7sus4"] = [0, 5, 7, 10],
        ["9"] = [2, 4, 7, 10],
        ["m9"] = [2, 3, 7, 10],
        ["maj9"] = [2, 4, 7, 11],
        ["7b9"] = [1, 4, 7, 10],
        ["9sus4"] = [2, 5, 7, 10],
        ["13"] = [2, 4, 9, 10],
    };

    public static Chord Parse(string symbol)
    {
        ReadOnlySpan<char> rest = symbol;
        var root = Pitch.ReadClass(ref rest);
        var slash = rest.IndexOf('/');
        var quality = Qualities[(slash < 0 ? rest : rest[..slash]).ToString()];
        var bass = root;
        if (slash >= 0)
        {
            rest = rest[(slash + 1)..];
            bass = Pitch.ReadClass(ref rest);
        }
        return new Chord(Modulo(root), [.. quality.Select(step => Modulo(root + step))], Modulo(bass));
    }

    /// <summary>
    /// The voicing with every class of the chord, within the register, whose voices move least from the one before:
    /// common tones stay and the others step, as a keyboard player's hand does.
    /// </summary>
    public int[] VoiceNear(int[]? previous, int low, int high)
    {
        int[]? best = null;
        var bestCost = double.MaxValue;
        foreach (var candidate in Voicings(low, high))
        {
            var cost = previous is null
                ? Math.Abs(candidate.Average() - (low + high) / 2.0)
                : candidate.Sum(pitch => (double)previous.Min(was => Math.Abs(was - pitch))) + 0.3 * Math.Abs(candidate[^1] - previous[^1])
                    + 0.15 * Math.Abs(candidate.Average() - (low + high) / 2.0);
            // Seconds and thirds low in the register turn to mud; a wide stack stops to sound as one hand.
            cost += candidate[^1] - candidate[0] > 16 ? 4 : 0;
            cost += candidate[1] - candidate[0] < 3 && candidate[0] < 55 ? 3 : 0;
            if (cost < bestCost)
                (best, bestCost) = (candidate, cost);
        }
        return best ?? throw new InvalidOperationException($"No voicing between {low} and {high}.");
    }

    private IEnumerable<int[]> Voicings(int low, int high)
    {
        IEnumerable<int[]> partial = [[]];
        foreach (var pitchClass in Classes)
        {
            var choices = Enumerable.Range(low, high - low + 1).Where(pitch => pitch % 12 == pitchClass).ToArray();
            partial = [.. partial.SelectMany(chosen => choices, (chosen, pitch) => (int[])[.. chosen, pitch])];
        }
        return partial.Select(pitches => pitches.Order().ToArray());
    }

    private static int Modulo(int pitchClass) => ((pitchClass % 12) + 12) % 12;
}
