using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>
/// A tine piano by frequency modulation (Chowning 1973): one pair for the body, whose brightness follows the touch and
/// fades, and a short high pair for the tine.
/// </summary>
internal sealed class ElectricPiano : IInstrument
{
    public Voice Start(in Stroke stroke, int sampleRateHz) => new TineVoice(stroke, sampleRateHz);

    private sealed class TineVoice : Voice
    {
        private readonly float _step, _tineStep, _index, _indexDecay, _tineDecay, _decay, _velocity;
        private Envelope _envelope;
        private float _phase, _tinePhase, _brightness = 1, _tine = 1, _body = 1;

        public TineVoice(in Stroke stroke, int sampleRateHz)
        {
            var hertz = Pitch.ToHertz(stroke.Pitch);
            _step = (float)(hertz / sampleRateHz);
            // The tine's own pitch hardly follows the key; kept under 7 kHz its sidebands stay far from folding.
            _tineStep = (float)(Math.Min(hertz * 14, 7000) / sampleRateHz);
            _velocity = (float)Math.Pow(stroke.Velocity, 1.3) * 0.26f;
            _index = (float)((0.06 + 0.24 * stroke.Velocity * stroke.Velocity) * Math.Min(1, 500 / hertz));
            float Fall(double seconds) => (float)Math.Exp(-6.9 / (seconds * sampleRateHz));
            (_indexDecay, _tineDecay, _decay) = (Fall(2.2), Fall(0.35), Fall(Math.Clamp(9 * Math.Pow(220 / hertz, 0.5), 2, 12)));
            _envelope = new Envelope(new(0.002, 1, 1, 0.35), stroke.HeldSeconds, sampleRateHz);
        }

        public override bool Render(Span<float> block)
        {
            for (var n = 0; n < block.Length; n++)
            {
                _phase += _step;
                _phase -= MathF.Floor(_phase);
                _tinePhase += _tineStep;
                _tinePhase -= MathF.Floor(_tinePhase);
                var body = Oscillator.Sine(_phase + _index * _brightness * Oscillator.Sine(_phase));
                var tine = Oscillator.Sine(_phase + 0.05f * _tine * Oscillator.Sine(_tinePhase));
                _brightness *= _indexDecay;
                _tine *= _tineDecay;
                _body *= _decay;
                block[n] = (0.75f * body + 0.35f * tine) * _velocity * _body * _envelope.Next();
            }
            return !_envelope.Done && _body > 1e-4f;
        }
    }
}
