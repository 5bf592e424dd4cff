namespace Delivery.Cli.Demo.Synthesis;

/// <summary>State-variable filter in Simper's trapezoidal form: stable while its cutoff moves.</summary>
internal struct Filter
{
    private float _a1, _a2, _a3, _k, _s1, _s2;

    public float Low { get; private set; }
    public float Band { get; private set; }
    public float High { get; private set; }

    public void Tune(double cutoffHz, double resonance, int sampleRateHz)
    {
        var g = Math.Tan(Math.PI * Math.Min(cutoffHz, 0.45 * sampleRateHz) / sampleRateHz);
        var k = 1 / resonance;
        var a1 = 1 / (1 + g * (g + k));
        (_a1, _a2, _a3, _k) = ((float)a1, (float)(g * a1), (float)(g * g * a1), (float)k);
    }

    public void Process(float input)
    {
        var v3 = input - _s2;
        var v1 = _a1 * _s1 + _a2 * v3;
        var v2 = _s2 + _a2 * _s1 + _a3 * v3;
        _s1 = 2 * v1 - _s1;
        _s2 = 2 * v2 - _s2;
        (Low, Band, High) = (v2, v1 * _k, input - _k * v1 - v2);
    }
}
