namespace Delivery.Cli.Demo.Synthesis;

/// <summary>A ping-pong echo: each repeat crosses to the other side, quieter and duller.</summary>
internal sealed class Echo(double seconds, int sampleRateHz)
{
    private const float Feedback = 0.38f;
    private readonly float[] _left = new float[(int)(seconds * sampleRateHz)], _right = new float[(int)(seconds * sampleRateHz)];
    private readonly float _damping = 1 - MathF.Exp(-2 * MathF.PI * 2800 / sampleRateHz);
    private float _dullLeft, _dullRight;
    private int _at;

    /// <summary>Replaces the send with the echoes of it.</summary>
    public void Process(Span<float> left, Span<float> right)
    {
        for (var n = 0; n < left.Length; n++)
        {
            var (outLeft, outRight) = (_left[_at], _right[_at]);
            _dullLeft += (outLeft - _dullLeft) * _damping;
            _dullRight += (outRight - _dullRight) * _damping;
            _left[_at] = 0.5f * (left[n] + right[n]) + Feedback * _dullRight;
            _right[_at] = Feedback * 1.6f * _dullLeft;
            (left[n], right[n]) = (_dullLeft, _dullRight);
            if (++_at == _left.Length)
                _at = 0;
        }
    }
}
