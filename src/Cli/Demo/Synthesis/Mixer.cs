using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>
/// Renders a piece as a stream of blocks, in constant memory: voices start as their strokes come due, each part is placed
/// in stereo and sent to the effects, and the sum goes through the master bus.
/// </summary>
internal sealed class Mixer
{
    /// <summary>Frames per block: small enough for the processor's cache.</summary>
    public const int BlockFrames = 1024;

    private const double FadeOutSeconds = 2;

    private readonly Piece _piece;
    private readonly Channel[] _channels;
    private readonly Reverb _reverb;
    private readonly Echo _echo;
    private readonly MasterBus _master;
    private readonly float[] _left = new float[BlockFrames], _right = new float[BlockFrames];
    private readonly float[] _reverbLeft = new float[BlockFrames], _reverbRight = new float[BlockFrames];
    private readonly float[] _echoLeft = new float[BlockFrames], _echoRight = new float[BlockFrames];
    private long _frame;

    public Mixer(Piece piece)
    {
        _piece = piece;
        _channels = [.. piece.Parts.Select((part, index) => new Channel(part, Performance.Play(piece, index), piece.SampleRateHz))];
        _reverb = new Reverb(piece.ReverbSeconds, piece.SampleRateHz);
        _echo = new Echo(piece.Tempo.ToSeconds(piece.EchoBeats), piece.SampleRateHz);
        _master = new MasterBus(piece.MasterGainDb, piece.SampleRateHz);
        // The limiter's delay is taken off the front, so that the music starts where the file does.
        Mix(_master.LatencySamples);
    }

    /// <summary>The next block, as left and right; shorter at the end of the piece, then empty. Valid until the next call.</summary>
    public int Next(out ReadOnlySpan<float> left, out ReadOnlySpan<float> right)
    {
        var frames = (int)Math.Min(BlockFrames, _piece.FrameCount - (_frame - _master.LatencySamples));
        var first = _frame - _master.LatencySamples;
        if (frames > 0)
            Mix(frames);
        for (var n = 0; n < frames; n++)
        {
            var fade = (float)Math.Min(1, (_piece.FrameCount - 1 - first - n) / (FadeOutSeconds * _piece.SampleRateHz));
            if (fade >= 1)
                continue;
            fade *= fade * (3 - 2 * fade);
            _left[n] *= fade;
            _right[n] *= fade;
        }
        left = _left.AsSpan(0, frames);
        right = _right.AsSpan(0, frames);
        return frames;
    }

    private void Mix(int frames)
    {
        var bus = new Buses(_left.AsSpan(0, frames), _right.AsSpan(0, frames), _reverbLeft.AsSpan(0, frames), _reverbRight.AsSpan(0, frames),
            _echoLeft.AsSpan(0, frames), _echoRight.AsSpan(0, frames));
        bus.Clear();
        foreach (var channel in _channels)
            channel.Play(_frame, bus);
        _echo.Process(bus.EchoLeft, bus.EchoRight);
        // Echoes sound in the same room as what they repeat.
        Add(bus.EchoLeft, bus.ReverbLeft, 0.3f);
        Add(bus.EchoRight, bus.ReverbRight, 0.3f);
        _reverb.Process(bus.ReverbLeft, bus.ReverbRight);
        Add(bus.EchoLeft, bus.Left, 1);
        Add(bus.EchoRight, bus.Right, 1);
        Add(bus.ReverbLeft, bus.Left, 1);
        Add(bus.ReverbRight, bus.Right, 1);
        _master.Process(bus.Left, bus.Right);
        _frame += frames;
    }

    private static void Add(ReadOnlySpan<float> from, Span<float> to, float gain)
    {
        for (var n = 0; n < from.Length; n++)
            to[n] += gain * from[n];
    }

    private readonly ref struct Buses(Span<float> left, Span<float> right, Span<float> reverbLeft, Span<float> reverbRight, Span<float> echoLeft, Span<float> echoRight)
    {
        public Span<float> Left { get; } = left;
        public Span<float> Right { get; } = right;
        public Span<float> ReverbLeft { get; } = reverbLeft;
        public Span<float> ReverbRight { get; } = reverbRight;
        public Span<float> EchoLeft { get; } = echoLeft;
        public Span<float> EchoRight { get; } = echoRight;

        public void Clear()
        {
            Left.Clear();
            Right.Clear();
            ReverbLeft.Clear();
            ReverbRight.Clear();
            EchoLeft.Clear();
            EchoRight.Clear();
        }
    }

    /// <summary>One part's strip of the desk: its sounding voices, their places, its chorus and its sends.</summary>
    private sealed class Channel(Part part, IReadOnlyList<Stroke> strokes, int sampleRateHz)
    {
        private readonly List<(Voice Voice, float Left, float Right)> _voices = [];
        private readonly Chorus? _chorus = part.Chorus ? new Chorus(sampleRateHz) : null;
        private readonly float[] _left = new float[BlockFrames], _right = new float[BlockFrames], _mono = new float[BlockFrames];
        private readonly float _gain = (float)Math.Pow(10, part.GainDb / 20);
        private int _next;
        private double _idleSeconds;

        public void Play(long frame, in Buses bus)
        {
            var frames = bus.Left.Length;
            var left = _left.AsSpan(0, frames);
            var right = _right.AsSpan(0, frames);
            left.Clear();
            right.Clear();
            var alreadySounding = _voices.Count;
            for (; _next < strokes.Count && StartFrame(_next) < frame + frames; _next++)
            {
                var pan = Math.Clamp(part.Pan + part.Spread * (strokes[_next].Pitch - 60) / 24, -1, 1);
                var angle = (pan + 1) * Math.PI / 4;
                var started = (part.Instrument.Start(strokes[_next], sampleRateHz), (float)Math.Cos(angle) * _gain, (float)Math.Sin(angle) * _gain);
                _voices.Add(started);
                if (!Render(started, (int)(StartFrame(_next) - frame), left, right))
                    _voices.RemoveAt(_voices.Count - 1);
            }
            for (var i = alreadySounding - 1; i >= 0; i--)
            {
                if (!Render(_voices[i], 0, left, right))
                    _voices.RemoveAt(i);
            }
            _idleSeconds = _voices.Count > 0 ? 0 : _idleSeconds + (double)frames / sampleRateHz;
            // A strip that has been silent for longer than its chorus rings has nothing to add.
            if (_idleSeconds > 0.1)
                return;
            _chorus?.Process(left, right);
            Send(left, right, bus);
        }

        private void Send(Span<float> left, Span<float> right, in Buses bus)
        {
            Add(left, bus.Left, 1);
            Add(right, bus.Right, 1);
            Add(left, bus.ReverbLeft, (float)part.Reverb);
            Add(right, bus.ReverbRight, (float)part.Reverb);
            if (part.Echo > 0)
            {
                Add(left, bus.EchoLeft, (float)part.Echo);
                Add(right, bus.EchoRight, (float)part.Echo);
            }
        }

        private bool Render((Voice Voice, float Left, float Right) voice, int offset, Span<float> left, Span<float> right)
        {
            var mono = _mono.AsSpan(offset, left.Length - offset);
            var alive = voice.Voice.Render(mono);
            for (var n = 0; n < mono.Length; n++)
            {
                left[offset + n] += voice.Left * mono[n];
                right[offset + n] += voice.Right * mono[n];
            }
            return alive;
        }

        private long StartFrame(int index) => (long)(strokes[index].StartSeconds * sampleRateHz);
    }
}
