using System.Buffers.Binary;

namespace Delivery.Transcoder.Waveforms;

/// <summary>Makes a waveform of a stream of mono PCM (signed 16 bits, little-endian) in memory that grows with the points alone.</summary>
/// <param name="sampleRate">Hz.</param>
/// <param name="samples">How many samples are expected; decides the samples per point. No more than <see cref="Waveform.MaxPoints"/> points are kept.</param>
internal sealed class WaveformBuilder(int sampleRate, long samples)
{
    private readonly int _perPoint = Waveform.SamplesPerPointOf(samples);
    private readonly List<byte> _points = [];
    private int _inPoint;
    private short _low = short.MaxValue, _high = short.MinValue;
    private int _oddByte = -1;

    /// <summary>Samples seen.</summary>
    public long Samples { get; private set; }

    /// <summary>Takes bytes in order; a sample may be divided between two calls.</summary>
    public void Add(ReadOnlySpan<byte> pcm)
    {
        if (_oddByte >= 0 && pcm.Length > 0)
        {
            AddSamples([(byte)_oddByte, pcm[0]]);
            _oddByte = -1;
            pcm = pcm[1..];
        }

        while (pcm.Length >= 2)
        {
            var bytes = 2 * Math.Min(pcm.Length / 2, _perPoint - _inPoint);
            AddSamples(pcm[..bytes]);
            pcm = pcm[bytes..];
        }

        if (pcm.Length == 1)
            _oddByte = pcm[0];
    }

    /// <summary>The waveform of all samples so far; the last point may stand for fewer than the others.</summary>
    public Waveform Build()
    {
        if (_inPoint > 0)
            EndPoint();
        return Waveform.Of(sampleRate, _perPoint, _points.ToArray());
    }

    /// <summary>No more than the point still takes.</summary>
    private void AddSamples(ReadOnlySpan<byte> pcm)
    {
        var (low, high) = (_low, _high);
        for (var at = 0; at < pcm.Length; at += 2)
        {
            var sample = BinaryPrimitives.ReadInt16LittleEndian(pcm[at..]);
            low = Math.Min(low, sample);
            high = Math.Max(high, sample);
        }

        (_low, _high) = (low, high);
        Samples += pcm.Length / 2;
        _inPoint += pcm.Length / 2;
        if (_inPoint == _perPoint)
            EndPoint();
    }

    private void EndPoint()
    {
        // Towards zero, as audiowaveform does: the noise of the last bit draws no line below silence.
        if (_points.Count < 2 * Waveform.MaxPoints)
        {
            _points.Add((byte)(sbyte)(_low / 256));
            _points.Add((byte)(sbyte)(_high / 256));
        }

        (_inPoint, _low, _high) = (0, short.MaxValue, short.MinValue);
    }
}
