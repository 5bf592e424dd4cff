namespace Delivery.Cli.Demo.Synthesis;

internal static class Oscillator
{
    /// <summary>sin(2π·turns), by its Taylor series on a quarter turn: error below -108 dB, a fraction of the time of <see cref="MathF.Sin"/>.</summary>
    public static float Sine(float turns)
    {
        var x = turns - MathF.Floor(turns) - 0.5f;
        if (x > 0.25f)
            x = 0.5f - x;
        else if (x < -0.25f)
            x = -0.5f - x;
        var x2 = x * x;
        return -x * (6.2831853f - x2 * (41.341702f - x2 * (81.605249f - x2 * (76.705860f - x2 * 42.058694f))));
    }

    /// <summary>
    /// A sawtooth with its step rounded by a two-sample polynomial (PolyBLEP, Välimäki and Huovilainen 2007): aliasing falls
    /// far below what the low-pass filters after it let through.
    /// </summary>
    public static float Saw(float phase, float step)
    {
        var value = 2 * phase - 1;
        if (phase < step)
        {
            var t = phase / step;
            return value - (t + t - t * t - 1);
        }
        if (phase > 1 - step)
        {
            var t = (phase - 1) / step;
            return value - (t * t + t + t + 1);
        }
        return value;
    }
}
