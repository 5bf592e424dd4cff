using System.Runtime.Intrinsics;
using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>One resonance of a struck body; decay is the time to fall by 60 dB.</summary>
internal readonly record struct Mode(double Hertz, double Level, double DecaySeconds);

/// <summary>
/// Struck strings, bars and bells as a bank of decaying resonances: each mode is a rotating phasor that shrinks, eight to a
/// vector. Pianos, celestas and vibraphones differ only in their table of modes.
/// </summary>
internal sealed class ModalInstrument(Func<Stroke, IEnumerable<Mode>> modes, double damperSeconds, double thump = 0) : IInstrument
{
    /// <summary>Stiff strings in pairs: the second of each is a hair off and rings longer, which gives the double decay.</summary>
    public static ModalInstrument Piano { get; } = new(PianoModes, damperSeconds: 0.35, thump: 0.05);

    public static ModalInstrument Celesta { get; } = new(
        stroke => Bar(stroke, 2.6, (1, 1, 1), (2.0, 0.12, 0.6), (4.02, 0.22, 0.28), (6.7, 0.08, 0.12), (9.1, 0.04, 0.06)), damperSeconds: 1.4, thump: 0.015);

    public static ModalInstrument Vibraphone { get; } = new(
        stroke => Bar(stroke, 4.5, (1, 1, 1), (3.98, 0.18, 0.22), (9.9, 0.05, 0.05)), damperSeconds: 0.7, thump: 0.01);

    public static ModalInstrument Glass { get; } = new(
        stroke => Bar(stroke, 5, (1, 1, 1), (1.003, 0.5, 1.2), (2.76, 0.22, 0.5), (5.4, 0.1, 0.3), (8.93, 0.04, 0.15)), damperSeconds: 2.5);

    public Voice Start(in Stroke stroke, int sampleRateHz) =>
        new ModalVoice([.. modes(stroke).Where(mode => mode.Hertz < 16_000)], stroke, damperSeconds, thump, sampleRateHz);

    private static IEnumerable<Mode> PianoModes(Stroke stroke)
    {
        var f0 = Pitch.ToHertz(stroke.Pitch);
        var stiffness = 0.00018 * Math.Pow(f0 / 220, 1.3);
        var ringing = 9 * Math.Pow(220 / f0, 0.6);
        // A harder blow shortens the hammer's contact, so that more high partials survive it.
        var brightness = 700 + 3200 * stroke.Velocity * stroke.Velocity + f0;
        for (var n = 1; n <= 16; n++)
        {
            var hertz = n * f0 * Math.Sqrt(1 + stiffness * n * n);
            var level = 0.34 * Math.Abs(Math.Sin(Math.PI * n / 7.3)) / Math.Pow(n, 0.7) * Math.Exp(-hertz / brightness);
            var decay = ringing / (1 + 0.22 * (n - 1) + hertz / 4000);
            yield return new Mode(hertz * 0.9998, level * 0.62, decay * 0.55);
            yield return new Mode(hertz * 1.0003, level * 0.38, decay);
        }
    }

    private static IEnumerable<Mode> Bar(Stroke stroke, double seconds, params (double Ratio, double Level, double Decay)[] modes)
    {
        var f0 = Pitch.ToHertz(stroke.Pitch);
        var ringing = seconds * Math.Pow(440 / f0, 0.4);
        return modes.Select(mode => new Mode(f0 * mode.Ratio,
            0.24 * mode.Level * (mode.Ratio > 1.5 ? 0.3 + stroke.Velocity : 1), ringing * mode.Decay));
    }

    private sealed class ModalVoice : Voice
    {
        private readonly Vector256<float>[] _cos, _sin, _real, _imaginary;
        private readonly float _velocity, _damper, _thump, _attackStep, _thumpDecay;
        private Noise _noise;
        private Filter _thumpFilter;
        private long _untilDamped;
        private float _damping = 1, _attack, _thumpLevel = 1;

        public ModalVoice(Mode[] modes, in Stroke stroke, double damperSeconds, double thump, int sampleRateHz)
        {
            var vectors = (modes.Length + 7) / 8;
            (_cos, _sin, _real, _imaginary) = (new Vector256<float>[vectors], new Vector256<float>[vectors], new Vector256<float>[vectors], new Vector256<float>[vectors]);
            for (var i = 0; i < modes.Length; i++)
            {
                var shrink = Math.Exp(-6.9 / (modes[i].DecaySeconds * sampleRateHz));
                var angle = 2 * Math.PI * modes[i].Hertz / sampleRateHz;
                _cos[i / 8] = _cos[i / 8].WithElement(i % 8, (float)(shrink * Math.Cos(angle)));
                _sin[i / 8] = _sin[i / 8].WithElement(i % 8, (float)(shrink * Math.Sin(angle)));
                _imaginary[i / 8] = _imaginary[i / 8].WithElement(i % 8, (float)modes[i].Level);
            }
            _velocity = (float)Math.Pow(stroke.Velocity, 1.4);
            _untilDamped = (long)(stroke.HeldSeconds * sampleRateHz);
            _damper = (float)Math.Exp(-6.9 / (damperSeconds * sampleRateHz));
            _attackStep = 1f / (0.0015f * sampleRateHz);
            _noise = new Noise(stroke.Seed);
            _thump = (float)(thump * (0.4 + stroke.Velocity));
            _thumpDecay = (float)Math.Exp(-6.9 / (0.06 * sampleRateHz));
            _thumpFilter.Tune(900, 0.7, sampleRateHz);
        }

        public override bool Render(Span<float> block)
        {
            for (var n = 0; n < block.Length; n++)
            {
                var sum = Vector256<float>.Zero;
                for (var i = 0; i < _real.Length; i++)
                {
                    var (re, im) = (_real[i], _imaginary[i]);
                    _real[i] = _cos[i] * re + _sin[i] * im;
                    _imaginary[i] = _cos[i] * im - _sin[i] * re;
                    sum += _real[i];
                }
                var sample = Vector256.Sum(sum);
                if (_thumpLevel > 1e-3f)
                {
                    _thumpFilter.Process(_noise.Next() * _thumpLevel * _thump);
                    _thumpLevel *= _thumpDecay;
                    sample += _thumpFilter.Low;
                }
                if (--_untilDamped < 0)
                    _damping *= _damper;
                _attack = Math.Min(1, _attack + _attackStep);
                block[n] = sample * _velocity * _damping * _attack;
            }
            var energy = 0f;
            for (var i = 0; i < _real.Length; i++)
                energy += Vector256.Sum(_real[i] * _real[i] + _imaginary[i] * _imaginary[i]);
            return energy * _damping * _damping > 1e-9f;
        }
    }
}
