namespace Delivery.Cli.Demo.Synthesis;

/// <summary>
/// The end of the chain: DC and rumble out, a gentle compressor that holds the mix together, then a look-ahead limiter.
/// </summary>
internal sealed class MasterBus
{
    /// <summary>-2 dBFS in samples leaves room for what a player's filter makes between them: true peak stays under -1 dBTP.</summary>
    private const float Ceiling = 0.794f;

    private const float Threshold = 0.2f;
    private const float Slope = 0.35f;

    private readonly float _gain, _highPass, _detector, _release;
    private readonly float[] _left, _right, _wanted;
    private float _inLeft, _inRight, _outLeft, _outRight, _level, _held = 1, _smoothed = 1;
    private int _at;

    public MasterBus(double gainDb, int sampleRateHz)
    {
        _gain = (float)Math.Pow(10, gainDb / 20);
        _highPass = (float)Math.Exp(-2 * Math.PI * 22 / sampleRateHz);
        _detector = 1 - (float)Math.Exp(-1 / (0.12 * sampleRateHz));
        _release = 1 - (float)Math.Exp(-1 / (0.15 * sampleRateHz));
        LatencySamples = (int)(0.004 * sampleRateHz);
        (_left, _right, _wanted) = (new float[LatencySamples], new float[LatencySamples], new float[LatencySamples]);
        Array.Fill(_wanted, 1);
    }

    public int LatencySamples { get; }

    public void Process(Span<float> left, Span<float> right)
    {
        for (var n = 0; n < left.Length; n++)
        {
            _outLeft = left[n] - _inLeft + _highPass * _outLeft;
            _outRight = right[n] - _inRight + _highPass * _outRight;
            (_inLeft, _inRight) = (left[n], right[n]);
            var (l, r) = (_outLeft * _gain, _outRight * _gain);

            _level += (0.5f * (l * l + r * r) - _level) * _detector;
            var rms = MathF.Sqrt(_level);
            var squeeze = rms > Threshold ? MathF.Pow(Threshold / rms, Slope) : 1;
            Limit(l * squeeze, r * squeeze, out left[n], out right[n]);
        }
    }

    /// <summary>The gain falls as a straight line over the look-ahead, so that it has arrived when the peak comes out of the delay.</summary>
    private void Limit(float l, float r, out float left, out float right)
    {
        (left, right) = (_left[_at], _right[_at]);
        (_left[_at], _right[_at]) = (l, r);
        var peak = Math.Max(Math.Abs(l), Math.Abs(r));
        var wanted = peak > Ceiling ? Ceiling / peak : 1;
        var leaving = _wanted[_at];
        _wanted[_at] = wanted;
        if (++_at == _left.Length)
            _at = 0;
        if (wanted < _held)
            _held = wanted;
        else if (leaving <= _held)
            _held = Minimum();
        // Between limits the held gain is followed down within the look-ahead, and up slowly.
        _smoothed = _held < _smoothed
            ? Math.Max(_held, _smoothed - (1 - _held) / (0.9f * _left.Length))
            : _smoothed + (_held - _smoothed) * _release;
        left = Math.Clamp(left * _smoothed, -Ceiling, Ceiling);
        right = Math.Clamp(right * _smoothed, -Ceiling, Ceiling);
    }

    private float Minimum()
    {
        var minimum = 1f;
        foreach (var gain in _wanted)
            minimum = Math.Min(minimum, gain);
        return minimum;
    }
}
