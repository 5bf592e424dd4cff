using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>A few harmonics that breathe: louder is brighter, the vibrato arrives late, and air hisses around the pitch.</summary>
internal sealed class Flute : IInstrument
{
    public Voice Start(in Stroke stroke, int sampleRateHz) => new FluteVoice(stroke, sampleRateHz);

    private sealed class FluteVoice : Voice
    {
        private static readonly float[] Harmonics = [1, 0.42f, 0.2f, 0.07f, 0.03f];
        private readonly float[] _levels = new float[Harmonics.Length];
        private readonly float _step, _velocity, _secondsPerSample;
        private Envelope _envelope;
        private Noise _noise;
        private Filter _breath;
        private float _phase, _age;

        public FluteVoice(in Stroke stroke, int sampleRateHz)
        {
            var hertz = Pitch.ToHertz(stroke.Pitch);
            _step = (float)(hertz / sampleRateHz);
            _secondsPerSample = 1f / sampleRateHz;
            _velocity = (float)Math.Pow(stroke.Velocity, 1.2) * 0.24f;
            for (var i = 0; i < _levels.Length; i++)
                _levels[i] = Harmonics[i] * (float)Math.Pow(0.4 + 0.6 * stroke.Velocity, i);
            _noise = new Noise(stroke.Seed);
            _breath.Tune(hertz * 2, 1.2, sampleRateHz);
            _envelope = new Envelope(new(0.07, 1.5, 0.9, 0.22), stroke.HeldSeconds * 0.97, sampleRateHz);
        }

        public override bool Render(Span<float> block)
        {
            for (var n = 0; n < block.Length; n++)
            {
                _age += _secondsPerSample;
                var vibrato = Oscillator.Sine(_age * 5) * Math.Clamp((_age - 0.2f) * 1.6f, 0, 1);
                _phase += _step * (1 + 0.0042f * vibrato);
                _phase -= MathF.Floor(_phase);
                var tone = 0f;
                for (var i = 0; i < _levels.Length; i++)
                    tone += _levels[i] * Oscillator.Sine(_phase * (i + 1));
                _breath.Process(_noise.Next());
                var envelope = _envelope.Next();
                // A breathy start: the air speaks before the tone does.
                var air = _breath.Band * (0.02f + 0.05f * Math.Max(0, 1 - _age * 12));
                block[n] = (tone * (1 + 0.1f * vibrato) * envelope + air) * envelope * _velocity;
            }
            return !_envelope.Done;
        }
    }
}
