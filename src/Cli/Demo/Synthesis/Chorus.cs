namespace Delivery.Cli.Demo.Synthesis;

/// <summary>Two slow, opposite moving delays, one per side: it widens pads and gives an electric piano its shimmer.</summary>
internal sealed class Chorus(int sampleRateHz)
{
    private readonly float[] _left = new float[sampleRateHz / 20], _right = new float[sampleRateHz / 20];
    private float _phase;
    private int _at;

    public void Process(Span<float> left, Span<float> right)
    {
        for (var n = 0; n < left.Length; n++)
        {
            (_left[_at], _right[_at]) = (left[n], right[n]);
            _phase += 0.55f / sampleRateHz;
            _phase -= MathF.Floor(_phase);
            var sway = 0.0035f * Oscillator.Sine(_phase);
            left[n] = 0.75f * left[n] + 0.55f * Read(_left, 0.014f + sway);
            right[n] = 0.75f * right[n] + 0.55f * Read(_right, 0.017f - sway);
            if (++_at == _left.Length)
                _at = 0;
        }
    }

    private float Read(float[] line, float seconds)
    {
        var position = _at - seconds * sampleRateHz;
        if (position < 0)
            position += line.Length;
        // A hair below zero plus the length rounds to the length itself.
        var index = Math.Min((int)position, line.Length - 1);
        var next = index + 1 == line.Length ? 0 : index + 1;
        return line[index] + (line[next] - line[index]) * (position - index);
    }
}
