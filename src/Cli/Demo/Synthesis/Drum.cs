using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>A falling tone and a filtered burst of noise: with the right figures, most of a drum kit.</summary>
internal sealed record Drum : IInstrument
{
    public double ToneFromHz { get; init; } = 100;
    public double ToneToHz { get; init; } = 100;
    public double ToneSeconds { get; init; } = 0.2;
    public double ToneLevel { get; init; }
    public double NoiseHz { get; init; } = 5000;
    public double NoiseResonance { get; init; } = 0.7;
    public bool NoiseIsHigh { get; init; }
    public double NoiseAttack { get; init; } = 0.0008;
    public double NoiseSeconds { get; init; } = 0.1;
    public double NoiseLevel { get; init; }

    public static Drum Kick { get; } = new() { ToneFromHz = 135, ToneToHz = 49, ToneSeconds = 0.42, ToneLevel = 0.75, NoiseHz = 1800, NoiseSeconds = 0.02, NoiseLevel = 0.1 };
    public static Drum Snare { get; } = new() { ToneFromHz = 230, ToneToHz = 178, ToneSeconds = 0.16, ToneLevel = 0.22, NoiseHz = 3400, NoiseResonance = 0.5, NoiseSeconds = 0.24, NoiseLevel = 0.3 };
    public static Drum Brush { get; } = new() { ToneFromHz = 210, ToneToHz = 180, ToneSeconds = 0.1, ToneLevel = 0.05, NoiseHz = 4200, NoiseResonance = 0.5, NoiseAttack = 0.012, NoiseSeconds = 0.28, NoiseLevel = 0.22 };
    public static Drum Hat { get; } = new() { NoiseHz = 8200, NoiseIsHigh = true, NoiseSeconds = 0.09, NoiseLevel = 0.14 };
    public static Drum Shaker { get; } = new() { NoiseHz = 6500, NoiseResonance = 1.1, NoiseAttack = 0.025, NoiseSeconds = 0.11, NoiseLevel = 0.2 };
    public static Drum Ride { get; } = new() { ToneFromHz = 3190, ToneToHz = 3180, ToneSeconds = 0.9, ToneLevel = 0.012, NoiseHz = 6800, NoiseIsHigh = true, NoiseSeconds = 1.1, NoiseLevel = 0.06 };
    public static Drum Crash { get; } = new() { NoiseHz = 4200, NoiseIsHigh = true, NoiseAttack = 0.002, NoiseSeconds = 3.4, NoiseLevel = 0.2 };
    public static Drum Swell { get; } = new() { NoiseHz = 5200, NoiseResonance = 0.5, NoiseAttack = 4.5, NoiseSeconds = 0.9, NoiseLevel = 0.25 };

    public Voice Start(in Stroke stroke, int sampleRateHz) => new DrumVoice(this, stroke, sampleRateHz);

    private sealed class DrumVoice : Voice
    {
        private readonly bool _noiseIsHigh;
        private readonly float _toneLevel, _noiseLevel, _toneDecay, _glide, _target, _attack;
        private Envelope _noiseEnvelope;
        private Noise _noise;
        private Filter _filter;
        private float _phase, _step, _tone = 1, _rise;

        public DrumVoice(Drum drum, in Stroke stroke, int sampleRateHz)
        {
            var touch = (float)Math.Pow(stroke.Velocity, 1.4);
            _noiseIsHigh = drum.NoiseIsHigh;
            (_toneLevel, _noiseLevel) = ((float)drum.ToneLevel * touch, (float)drum.NoiseLevel * touch);
            _toneDecay = drum.ToneLevel > 0 ? (float)Math.Exp(-6.9 / (drum.ToneSeconds * sampleRateHz)) : 0;
            (_step, _target) = ((float)(drum.ToneFromHz / sampleRateHz), (float)(drum.ToneToHz / sampleRateHz));
            _glide = 1 - (float)Math.Exp(-1 / (0.028 * sampleRateHz));
            _attack = 1f / (0.001f * sampleRateHz);
            // A softer stroke is darker and shorter as well as quieter.
            _filter.Tune(drum.NoiseHz * (0.8 + 0.25 * stroke.Velocity), drum.NoiseResonance, sampleRateHz);
            _noise = new Noise(stroke.Seed);
            _noiseEnvelope = new Envelope(new(drum.NoiseAttack, 1, 1, drum.NoiseSeconds * (0.7 + 0.4 * stroke.Velocity)), drum.NoiseAttack, sampleRateHz);
        }

        public override bool Render(Span<float> block)
        {
            for (var n = 0; n < block.Length; n++)
            {
                _step += (_target - _step) * _glide;
                _phase += _step;
                _phase -= MathF.Floor(_phase);
                _tone *= _toneDecay;
                _rise = Math.Min(1, _rise + _attack);
                _filter.Process(_noise.Next());
                block[n] = _toneLevel * _tone * _rise * Oscillator.Sine(_phase)
                    + _noiseLevel * _noiseEnvelope.Next() * (_noiseIsHigh ? _filter.High : _filter.Band);
            }
            return !_noiseEnvelope.Done || _tone > 1e-4f;
        }
    }
}
