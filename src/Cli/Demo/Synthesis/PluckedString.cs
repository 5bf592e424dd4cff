using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>
/// Karplus and Strong's string (1983) with Jaffe and Smith's refinements: a burst of noise, softer for a softer touch and
/// combed by the place of the pluck, runs round a damped delay line that an all-pass tunes between samples.
/// </summary>
internal sealed class PluckedString(double ringSeconds = 3.5, double brightness = 0.55) : IInstrument
{
    public Voice Start(in Stroke stroke, int sampleRateHz) => new StringVoice(stroke, ringSeconds, brightness, sampleRateHz);

    private sealed class StringVoice : Voice
    {
        private readonly float[] _line;
        private readonly float _loss, _blend, _allpass;
        private Envelope _envelope;
        private int _at;
        private float _last, _allpassIn, _allpassOut;

        public StringVoice(in Stroke stroke, double ringSeconds, double brightness, int sampleRateHz)
        {
            var hertz = Pitch.ToHertz(stroke.Pitch);
            // The two-point loop filter is (1 - b) + b·z⁻¹: its delay at low frequency is b samples. At a higher rate the same
            // b would damp less per second, so it grows with the rate.
            _blend = (float)Math.Clamp((0.5 - 0.42 * brightness) * sampleRateHz / 44_100, 0.02, 0.5);
            var period = sampleRateHz / hertz - _blend;
            var length = (int)(period - 0.3);
            var fraction = period - length;
            _allpass = (float)((1 - fraction) / (1 + fraction));
            _loss = (float)Math.Exp(-6.9 / (ringSeconds * hertz * Math.Clamp(220 / hertz, 0.35, 1.2)));
            _line = new float[length];
            Excite(stroke, sampleRateHz);
            _envelope = new Envelope(new(0.001, 1, 1, 0.5), stroke.HeldSeconds, sampleRateHz);
        }

        private void Excite(in Stroke stroke, int sampleRateHz)
        {
            var noise = new Noise(stroke.Seed);
            var softener = new Filter();
            softener.Tune(900 + 6500 * stroke.Velocity * stroke.Velocity, 0.6, sampleRateHz);
            var raw = new float[_line.Length];
            for (var pass = 0; pass < 2; pass++)
            {
                // The second pass is the steady state of a repeating burst, so that the line has no step where it wraps.
                var burst = noise;
                for (var i = 0; i < raw.Length; i++)
                {
                    softener.Process(burst.Next());
                    raw[i] = softener.Low;
                }
            }
            var pluck = Math.Max(1, (int)(raw.Length * 0.19));
            var energy = 1e-9f;
            for (var i = 0; i < raw.Length; i++)
            {
                _line[i] = raw[i] - raw[(i + raw.Length - pluck) % raw.Length];
                energy += _line[i] * _line[i];
            }
            var scale = (float)(0.2 * Math.Pow(stroke.Velocity, 1.3)) / MathF.Sqrt(energy / _line.Length);
            for (var i = 0; i < _line.Length; i++)
                _line[i] *= scale;
        }

        public override bool Render(Span<float> block)
        {
            var peak = 0f;
            for (var n = 0; n < block.Length; n++)
            {
                var sample = _line[_at];
                var damped = _loss * ((1 - _blend) * sample + _blend * _last);
                _last = sample;
                _allpassOut = _allpass * damped + _allpassIn - _allpass * _allpassOut;
                _allpassIn = damped;
                _line[_at] = _allpassOut;
                if (++_at == _line.Length)
                    _at = 0;
                block[n] = sample * _envelope.Next();
                peak = Math.Max(peak, Math.Abs(block[n]));
            }
            return !_envelope.Done && (peak > 2e-5f || block.Length < 64);
        }
    }
}
