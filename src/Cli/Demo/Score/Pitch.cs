namespace Delivery.Cli.Demo.Score;

/// <summary>Pitch names as MIDI numbers: <c>C4</c> is 60, <c>A4</c> (440 Hz) is 69.</summary>
internal static class Pitch
{
    /// <summary>Reads a letter with its accidentals (<c>Bb</c>, <c>F#</c>) off the front of the text.</summary>
    /// <returns>The pitch class, not reduced to an octave: <c>Cb</c> is -1, so that <c>Cb4</c> is 59.</returns>
    public static int ReadClass(ref ReadOnlySpan<char> text)
    {
        if (text.IsEmpty || text[0] is < 'A' or > 'G')
            throw new FormatException($"'{text}' does not start with a note name.");
        var pitchClass = "C D EF G A B".IndexOf(text[0]);
        text = text[1..];
        for (; text is ['#' or 'b', ..]; text = text[1..])
            pitchClass += text[0] == '#' ? 1 : -1;
        return pitchClass;
    }

    public static int Parse(ReadOnlySpan<char> text)
    {
        var pitchClass = ReadClass(ref text);
        return (int.Parse(text) + 1) * 12 + pitchClass;
    }

    public static double ToHertz(double pitch) => 440 * Math.Pow(2, (pitch - 69) / 12);
}
