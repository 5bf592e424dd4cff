namespace Delivery.Cli.Demo.Synthesis;

/// <summary>Attack, decay, sustain, release; times in seconds, the exponential ones to a fall of 60 dB.</summary>
internal sealed record EnvelopeShape(double Attack, double Decay, double Sustain, double Release);

internal struct Envelope
{
    private readonly float _attack, _decay, _sustain, _release;
    private long _untilRelease;
    private float _value;
    private bool _rising = true;

    public Envelope(EnvelopeShape shape, double heldSeconds, int sampleRateHz)
    {
        // The attack aims past 1 so that it arrives in its time with a rounded shoulder instead of a corner.
        _attack = 1 - (float)Math.Exp(-Math.Log(4) / Math.Max(1, shape.Attack * sampleRateHz));
        _decay = 1 - (float)Math.Exp(-6.9 / Math.Max(1, shape.Decay * sampleRateHz));
        _release = (float)Math.Exp(-6.9 / Math.Max(1, shape.Release * sampleRateHz));
        _sustain = (float)shape.Sustain;
        _untilRelease = (long)(heldSeconds * sampleRateHz);
    }

    public readonly bool Done => _untilRelease <= 0 && _value < 1e-4f;

    public float Next()
    {
        if (--_untilRelease < 0)
            return _value *= _release;
        if (!_rising)
            return _value += (_sustain - _value) * _decay;
        _value += (4f / 3f - _value) * _attack;
        _rising = _value < 1;
        return _value;
    }
}
