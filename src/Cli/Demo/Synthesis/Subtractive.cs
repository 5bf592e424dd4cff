using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>Detuned saws and a sine an octave or a unison below, through a low-pass filter that an envelope opens.</summary>
internal sealed record Subtractive(EnvelopeShape Loudness, double CutoffHz) : IInstrument
{
    public int Saws { get; init; } = 3;
    public double DetuneCents { get; init; } = 9;
    public double SineLevel { get; init; }
    public double SineRatio { get; init; } = 1;
    public double Resonance { get; init; } = 0.7;

    /// <summary>How far velocity and envelope open the filter above <see cref="CutoffHz"/>.</summary>
    public double OpenHz { get; init; } = 1500;

    public double VibratoCents { get; init; }
    public double Level { get; init; } = 0.1;

    public static Subtractive Pad { get; } = new(new(0.9, 3, 0.85, 2.2), 420) { OpenHz = 900, DetuneCents = 11, Level = 0.07 };
    public static Subtractive Strings { get; } = new(new(0.18, 2, 0.85, 0.6), 900) { OpenHz = 2600, DetuneCents = 8, VibratoCents = 9, Level = 0.085 };
    public static Subtractive Bass { get; } = new(new(0.008, 1.6, 0.55, 0.16), 160) { Saws = 1, SineLevel = 1.6, OpenHz = 700, Level = 0.17 };

    public Voice Start(in Stroke stroke, int sampleRateHz) => new SawVoice(this, stroke, sampleRateHz);

    private sealed class SawVoice : Voice
    {
        // The filter and the vibrato move slowly: 16 samples at a time are below hearing and a fraction of the work.
        private const int ControlSamples = 16;

        private readonly Subtractive _patch;
        private readonly int _sampleRateHz;
        private readonly float[] _phases, _steps;
        private readonly float _sineStep, _level;
        private readonly double _open;
        private Envelope _envelope;
        private Filter _filter;
        private float _sinePhase, _bend = 1, _age;
        private int _sample;

        public SawVoice(Subtractive patch, in Stroke stroke, int sampleRateHz)
        {
            (_patch, _sampleRateHz) = (patch, sampleRateHz);
            var noise = new Noise(stroke.Seed);
            var step = Pitch.ToHertz(stroke.Pitch) / sampleRateHz;
            (_phases, _steps) = (new float[patch.Saws], new float[patch.Saws]);
            for (var i = 0; i < patch.Saws; i++)
            {
                _phases[i] = 0.5f + 0.5f * noise.Next();
                _steps[i] = (float)(step * Math.Pow(2, patch.DetuneCents * (i - (patch.Saws - 1) / 2.0) / 1200));
            }
            _sineStep = (float)(step * patch.SineRatio);
            _level = (float)(patch.Level * Math.Pow(stroke.Velocity, 1.2));
            // Keys above middle C need a higher cutoff to sound as bright.
            _open = stroke.Velocity * patch.OpenHz * Math.Pow(2, (stroke.Pitch - 60) / 24);
            _envelope = new Envelope(patch.Loudness, stroke.HeldSeconds, sampleRateHz);
        }

        public override bool Render(Span<float> block)
        {
            var envelope = 0f;
            for (var n = 0; n < block.Length; n++)
            {
                if (_sample++ % ControlSamples == 0)
                    Control(envelope);
                envelope = _envelope.Next();
                var sum = 0f;
                for (var i = 0; i < _phases.Length; i++)
                {
                    var step = _steps[i] * _bend;
                    var phase = _phases[i] + step;
                    phase = phase >= 1 ? phase - 1 : phase;
                    _phases[i] = phase;
                    sum += Oscillator.Saw(phase, step);
                }
                _filter.Process(sum);
                var output = _filter.Low;
                if (_patch.SineLevel > 0)
                {
                    _sinePhase += _sineStep;
                    _sinePhase -= MathF.Floor(_sinePhase);
                    output += (float)_patch.SineLevel * Oscillator.Sine(_sinePhase);
                }
                block[n] = output * envelope * _level;
            }
            return !_envelope.Done;
        }

        private void Control(float envelope)
        {
            _age += ControlSamples / (float)_sampleRateHz;
            _filter.Tune(_patch.CutoffHz + _open * (0.25 + 0.75 * envelope), _patch.Resonance, _sampleRateHz);
            if (_patch.VibratoCents > 0)
            {
                // Vibrato comes after the note has settled.
                var depth = (float)_patch.VibratoCents * Math.Clamp((_age - 0.25f) * 2, 0, 1) / 1731f;
                _bend = 1 + depth * Oscillator.Sine(_age * 5.3f + _phases[0] * 0.02f);
            }
        }
    }
}
