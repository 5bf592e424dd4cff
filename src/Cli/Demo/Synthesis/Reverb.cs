using System.Runtime.Intrinsics;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>
/// A hall as a feedback delay network (Jot and Chaigne 1991): eight delays of mutually prime lengths feed each other through
/// a Householder matrix, each losing highs faster than lows. Two all-pass filters in front smear the onsets.
/// </summary>
internal sealed class Reverb
{
    private const float PreDelaySeconds = 0.018f;
    private static readonly int[] LengthsAt44100 = [1249, 1481, 1693, 1949, 2213, 2467, 2687, 2903];
    private static readonly int[] DiffuserLengthsAt44100 = [142, 379, 107, 277];
    private readonly float[][] _lines;
    private readonly int[] _positions = new int[8];
    private readonly Vector256<float> _gains, _damping;
    private readonly Allpass[] _diffusers;
    private readonly float[] _preDelay;
    private Vector256<float> _dull;
    private int _preAt;

    public Reverb(double seconds, int sampleRateHz)
    {
        var scale = sampleRateHz / 44_100.0;
        _lines = [.. LengthsAt44100.Select(length => new float[(int)(length * scale)])];
        for (var i = 0; i < 8; i++)
            _gains = _gains.WithElement(i, (float)Math.Pow(10, -3.0 * _lines[i].Length / (seconds * sampleRateHz)));
        _damping = Vector256.Create((float)(1 - Math.Exp(-2 * Math.PI * 5200 / sampleRateHz)));
        _diffusers = [.. DiffuserLengthsAt44100.Select(length => new Allpass((int)(length * scale)))];
        _preDelay = new float[2 * (int)(PreDelaySeconds * sampleRateHz)];
    }

    /// <summary>Replaces the send with the reverberation of it.</summary>
    public void Process(Span<float> left, Span<float> right)
    {
        for (var n = 0; n < left.Length; n++)
        {
            var inLeft = _diffusers[1].Process(_diffusers[0].Process(_preDelay[_preAt]));
            var inRight = _diffusers[3].Process(_diffusers[2].Process(_preDelay[_preAt + 1]));
            (_preDelay[_preAt], _preDelay[_preAt + 1]) = (left[n], right[n]);
            _preAt = _preAt + 2 == _preDelay.Length ? 0 : _preAt + 2;

            var taps = Vector256.Create(
                _lines[0][_positions[0]], _lines[1][_positions[1]], _lines[2][_positions[2]], _lines[3][_positions[3]],
                _lines[4][_positions[4]], _lines[5][_positions[5]], _lines[6][_positions[6]], _lines[7][_positions[7]]);
            _dull += (taps - _dull) * _damping;
            var decayed = _dull * _gains;
            var mixed = decayed - Vector256.Create(Vector256.Sum(decayed) * 0.25f)
                + Vector256.Create(inLeft, inRight, inLeft, inRight, inLeft, inRight, inLeft, inRight) * 0.35f;
            for (var i = 0; i < 8; i++)
            {
                _lines[i][_positions[i]] = mixed[i];
                if (++_positions[i] == _lines[i].Length)
                    _positions[i] = 0;
            }
            // Alternate signs keep the sides unlike each other, which is what makes a hall wide.
            left[n] = 0.5f * (_dull[0] - _dull[2] + _dull[4] - _dull[6]);
            right[n] = 0.5f * (_dull[1] - _dull[3] + _dull[5] - _dull[7]);
        }
    }

    private sealed class Allpass(int length)
    {
        private readonly float[] _line = new float[length];
        private int _at;

        public float Process(float input)
        {
            var delayed = _line[_at];
            var stored = input - 0.6f * delayed;
            _line[_at] = stored;
            if (++_at == _line.Length)
                _at = 0;
            return delayed + 0.6f * stored;
        }
    }
}
